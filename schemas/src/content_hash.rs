//! The content hash: what a version of an object says, in 64 bits.
//!
//! It is the xxh3-64 of one byte of flags (1 archived, 2 deleted) and, for each
//! property that is set, by the bytes of their names: length of the name, name,
//! length of the value, value; lengths are in bytes, as `u32`, little-endian.
//! Volatile properties are left out, since they change without a change of the
//! object. [`UNKNOWN`] stands for a hash that is not known.

use twox_hash::XxHash3_64;

use crate::{CrmRecord, Definitions, Properties, PropertyMap};

/// Not the hash of any content: the hash is not known, because a former version
/// wrote the record.
pub const UNKNOWN: u64 = 0;

/// Bit of an object in the recycle bin.
const ARCHIVED: u8 = 1;
/// Bit of an object that is deleted.
const DELETED: u8 = 2;

/// Room for the properties of most objects, so that they are collected without a
/// reallocation.
const USUAL_PROPERTIES: usize = 128;

/// Computes the content hashes of the records of one version of definitions.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher {
    /// Names of the properties that are left out, sorted.
    volatile: Vec<Box<[u8]>>,
    /// What is hashed. Kept, so that a record costs no allocation for it.
    content: Vec<u8>,
}

impl ContentHasher {
    /// Leaves out the properties that are volatile by these definitions.
    pub fn new(definitions: &Definitions) -> Self {
        let volatile = definitions.properties.iter().filter(|it| it.is_volatile());
        let mut volatile: Vec<Box<[u8]>> = volatile.map(|it| it.name.as_bytes().into()).collect();
        volatile.sort_unstable();
        Self {
            volatile,
            content: Vec::new(),
        }
    }

    /// Hash of an object that is not deleted, never [`UNKNOWN`].
    pub fn of_object(&mut self, archived: bool, properties: &PropertyMap) -> u64 {
        self.hash(flags(archived, false), properties.bytes())
    }

    /// Hash of a record as it was decoded, never [`UNKNOWN`]. A record that is not
    /// of a former version carries the same, if the definitions are those that it
    /// names.
    pub fn of_record<'a>(&mut self, record: &CrmRecord<'a, Properties<'a>>) -> u64 {
        let properties = record.properties.bytes();
        let set = properties.filter_map(|(name, value)| Some((name, value?)));
        self.hash(flags(record.archived, record.deleted), set)
    }

    fn hash<'a>(
        &mut self,
        flags: u8,
        properties: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> u64 {
        let mut set = Vec::with_capacity(USUAL_PROPERTIES);
        set.extend(properties.filter(|(_, value)| !value.is_empty()));
        // HubSpot mostly sends them sorted.
        if !set.is_sorted_by(|(a, _), (b, _)| a < b) {
            set.sort_by_key(|(name, _)| *name);
            // Of two values under one name, maps keep the last.
            set.dedup_by(|later, kept| {
                let is_same = later.0 == kept.0;
                if is_same {
                    *kept = *later;
                }
                is_same
            });
        }
        self.content.clear();
        self.content.push(flags);
        let mut volatile = self.volatile.iter().peekable();
        for (name, value) in set {
            while volatile.next_if(|it| ***it < *name).is_some() {}
            if volatile.peek().is_some_and(|it| ***it == *name) {
                continue;
            }
            for text in [name, value] {
                // INVARIANT: no message is longer than 32 MiB.
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                self.content.extend_from_slice(&length.to_le_bytes());
                self.content.extend_from_slice(text);
            }
        }
        known(XxHash3_64::oneshot(&self.content))
    }
}

/// Hash of a deletion, which has no properties; never [`UNKNOWN`]. `archived` is
/// what the record says beside `deleted`.
pub fn deletion_hash(archived: bool) -> u64 {
    known(XxHash3_64::oneshot(&[flags(archived, true)]))
}

fn flags(archived: bool, deleted: bool) -> u8 {
    let archived = if archived { ARCHIVED } else { 0 };
    let deleted = if deleted { DELETED } else { 0 };
    archived | deleted
}

/// A hash that comes out as [`UNKNOWN`] is 1.
fn known(hash: u64) -> u64 {
    if hash == UNKNOWN { 1 } else { hash }
}

#[cfg(test)]
mod tests;
