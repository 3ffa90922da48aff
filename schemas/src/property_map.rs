//! A record's properties. They stay in their Avro encoding from the parser to
//! the broker and from the broker to the column, so that no value is copied into
//! a `String`.

use bytes::{Bytes, BytesMut};

use crate::codec::{DecodeError, Reader, write_bytes, write_long};

/// Maximum size of a buffer that maps share, in bytes. Allocators request larger
/// ones from the system each time.
const LARGEST_BUFFER: usize = 64 * 1024;

/// Encoded entries of a `map<[null,string]>`, without the block framing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyMap {
    count: u32,
    entries: Bytes,
}

/// Builds [`PropertyMap`]s one after the other, entry by entry. The maps of one
/// builder share buffers; a buffer is freed when its last map is dropped.
#[derive(Debug, Default)]
pub struct PropertyMapBuilder {
    count: u32,
    entries: Vec<u8>,
    /// Finished maps were split off from its front.
    buffer: BytesMut,
    buffer_size: usize,
}

/// An encoded property name, with the union branch of a value that is set. For
/// names that many maps have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyName(Box<[u8]>);

impl PropertyName {
    /// Encodes a name.
    pub fn new(name: &str) -> Self {
        let mut encoded = Vec::with_capacity(name.len() + 2);
        write_bytes(&mut encoded, name.as_bytes());
        write_long(&mut encoded, 1);
        Self(encoded.into_boxed_slice())
    }
}

impl PropertyMapBuilder {
    /// A builder for maps of about this many bytes in total.
    pub fn for_bytes(bytes: usize) -> Self {
        Self {
            buffer_size: bytes.min(LARGEST_BUFFER),
            ..Self::default()
        }
    }

    /// Adds a property by its encoded name. An empty value means unset and is
    /// omitted.
    #[inline]
    pub fn push_named(&mut self, name: &PropertyName, value: &str) {
        if value.is_empty() {
            return;
        }
        self.entries.extend_from_slice(&name.0);
        write_bytes(&mut self.entries, value.as_bytes());
        self.count += 1;
    }

    /// Adds a property. An empty value means unset and is omitted.
    pub fn push(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        write_bytes(&mut self.entries, name.as_bytes());
        write_long(&mut self.entries, 1);
        write_bytes(&mut self.entries, value.as_bytes());
        self.count += 1;
    }

    /// Finishes the map; the builder is empty then.
    pub fn finish(&mut self) -> PropertyMap {
        if self.entries.is_empty() {
            return PropertyMap::default();
        }
        // A buffer for each map would cost more than this copy.
        let left = self.buffer.capacity() - self.buffer.len();
        if left < self.entries.len() {
            self.buffer = BytesMut::with_capacity(self.buffer_size.max(self.entries.len()));
        }
        self.buffer.extend_from_slice(&self.entries);
        let entries = self.buffer.split().freeze();
        self.entries.clear();
        PropertyMap {
            count: std::mem::take(&mut self.count),
            entries,
        }
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for PropertyMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(properties: I) -> Self {
        let mut builder = PropertyMapBuilder::default();
        for (name, value) in properties {
            builder.push(name.as_ref(), value.as_ref());
        }
        builder.finish()
    }
}

impl PropertyMap {
    /// Number of properties that are set.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no property is set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the encoded entries in bytes.
    pub fn encoded_len(&self) -> usize {
        self.entries.len()
    }

    /// Names and values in the order in which they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut reader = Reader::new(&self.entries);
        std::iter::from_fn(move || {
            // INVARIANT: the entries were written by the builder above, so they
            // decode; a failure would end the iteration.
            if reader.is_empty() {
                return None;
            }
            let name = reader.string().ok()?;
            reader.long().ok()?;
            Some((name, reader.string().ok()?))
        })
    }

    /// The same as UTF-8 bytes, which are not checked again.
    pub fn bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut reader = Reader::new(&self.entries);
        std::iter::from_fn(move || {
            // INVARIANT: as in `iter`.
            if reader.is_empty() {
                return None;
            }
            let name = reader.bytes().ok()?;
            reader.long().ok()?;
            Some((name, reader.bytes().ok()?))
        })
    }

    /// Appends the map in its Avro encoding.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        if self.count > 0 {
            write_long(out, i64::from(self.count));
            out.extend_from_slice(&self.entries);
        }
        out.push(0);
    }
}

/// Properties, borrowed from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties<'a> {
    blocks: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Reads the map at the reader's position and checks all of it, so that the
    /// iteration cannot fail.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::walk(reader, Reader::check_string)
    }

    /// Reads a map that was read before, without checking its texts again.
    pub(crate) fn read_again(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::walk(reader, |reader| reader.bytes().map(|_text| ()))
    }

    fn walk(
        reader: &mut Reader<'a>,
        text: impl Fn(&mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<Self, DecodeError> {
        let start = reader.rest();
        while let Some(count) = reader.block_count()? {
            for _ in 0..count {
                text(reader)?;
                match reader.long()? {
                    0 => {}
                    1 => text(reader)?,
                    branch => return Err(DecodeError::Union { branch }),
                }
            }
        }
        let used = start.len() - reader.rest().len();
        Ok(Self {
            blocks: start.get(..used).unwrap_or_default(),
        })
    }

    /// Names and values, `None` for a null.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        // INVARIANT: every text was checked when the map was read.
        self.bytes().filter_map(|(name, value)| {
            let name = std::str::from_utf8(name).ok()?;
            match value {
                Some(value) => Some((name, Some(std::str::from_utf8(value).ok()?))),
                None => Some((name, None)),
            }
        })
    }

    /// The same as UTF-8 bytes, for copying: checking each text again would cost
    /// as much as the copy.
    pub fn bytes(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.blocks);
        let mut left = 0;
        std::iter::from_fn(move || {
            if left == 0 {
                left = reader.block_count().ok()??;
            }
            left -= 1;
            // INVARIANT: `read` has walked the same bytes without an error.
            let name = reader.bytes().ok()?;
            let value = if reader.long().ok()? == 1 {
                Some(reader.bytes().ok()?)
            } else {
                None
            };
            Some((name, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn maps_of_one_builder_do_not_mix(
            size in 0_usize..200,
            maps in prop::collection::vec(prop::collection::vec(("[a-z]{1,9}", "\\PC{0,40}"), 0..6), 0..12),
        ) {
            let mut builder = PropertyMapBuilder::for_bytes(size);
            let mut built = Vec::new();
            for (number, map) in maps.iter().enumerate() {
                for (name, value) in map {
                    if number % 2 == 0 {
                        builder.push(name, value);
                    } else {
                        builder.push_named(&PropertyName::new(name), value);
                    }
                }
                built.push(builder.finish());
            }
            for (map, built) in maps.iter().zip(&built) {
                let set: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.as_str()))
                    .filter(|(_, value)| !value.is_empty()).collect();
                prop_assert_eq!(built.len(), set.len());
                prop_assert_eq!(built.iter().collect::<Vec<_>>(), set);
            }
        }
    }
}
