//! What the log says of one object, and how the entries of a range are packed.

use schemas::Millis;

/// How entries are packed: see [`pack`].
pub(crate) const LAYOUT: i32 = 1;

/// Bytes of the packed form beside the varints: hash and flags.
const HASH_BYTES: usize = 8;

const ARCHIVED: u8 = 1;
const DELETED: u8 = 2;
const SUSPECTED: u8 = 4;
const CONFIRMED: u8 = 8;
/// Never in a message.
const LOOSE: u8 = 16;

/// Whether HubSpot still has an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Absence {
    /// As far as is known it has.
    #[default]
    None,
    /// A list or a search lacked it, or another object says that it was merged.
    Suspected,
    /// A read by id did not find it either.
    Confirmed,
}

/// What the log says of one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// HubSpot's id.
    pub(crate) id: i64,
    /// Last-modified time of the version in the log.
    pub(crate) updated_at: Millis,
    /// Content hash of that version; 0 if it is not known.
    pub(crate) content_hash: u64,
    /// Fetch sequence of the read that this entry is due to. Of two entries of an
    /// object the one with the larger counts.
    pub(crate) sequence: i64,
    /// Whether the version says that the object is in the recycle bin.
    pub(crate) archived: bool,
    /// Whether the version is a deletion.
    pub(crate) deleted: bool,
    /// Whether HubSpot seems to have it no longer.
    pub(crate) absence: Absence,
    /// Whether it has a message of its own that no pack repeats.
    pub(crate) loose: bool,
}

/// Bytes that are not packed entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entries of the index cannot be unpacked")]
pub(crate) struct Damaged;

/// Packs entries: of each the difference of its id to the one before, of its time and
/// of its sequence, as zigzag varints, then the hash, little-endian, and the flags.
pub(super) fn pack(entries: &[Entry], keep_loose: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 20);
    let mut before = Entry::default();
    for entry in entries {
        put_varint(entry.id.wrapping_sub(before.id), &mut out);
        put_varint(entry.updated_at.wrapping_sub(before.updated_at), &mut out);
        put_varint(entry.sequence.wrapping_sub(before.sequence), &mut out);
        out.extend_from_slice(&entry.content_hash.to_le_bytes());
        out.push(entry.flags(keep_loose));
        before = *entry;
    }
    out
}

/// Unpacks entries.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<Entry>, Damaged> {
    let mut entries = Vec::with_capacity(bytes.len() / 16);
    let mut rest = bytes;
    let mut before = Entry::default();
    while !rest.is_empty() {
        let id = before.id.wrapping_add(take_varint(&mut rest)?);
        let updated_at = before.updated_at.wrapping_add(take_varint(&mut rest)?);
        let sequence = before.sequence.wrapping_add(take_varint(&mut rest)?);
        let (hash, after) = rest.split_first_chunk::<HASH_BYTES>().ok_or(Damaged)?;
        let (flags, after) = after.split_first().ok_or(Damaged)?;
        rest = after;
        let mut entry = Entry {
            id,
            updated_at,
            sequence,
            content_hash: u64::from_le_bytes(*hash),
            ..Entry::default()
        };
        entry.set_flags(*flags)?;
        entries.push(entry);
        before = entry;
    }
    Ok(entries)
}

impl Entry {
    fn flags(&self, keep_loose: bool) -> u8 {
        let mut flags = match self.absence {
            Absence::None => 0,
            Absence::Suspected => SUSPECTED,
            Absence::Confirmed => CONFIRMED,
        };
        for (is_set, flag) in [
            (self.archived, ARCHIVED),
            (self.deleted, DELETED),
            (self.loose && keep_loose, LOOSE),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        flags
    }

    fn set_flags(&mut self, flags: u8) -> Result<(), Damaged> {
        if flags >= LOOSE * 2 {
            return Err(Damaged);
        }
        self.archived = flags & ARCHIVED != 0;
        self.deleted = flags & DELETED != 0;
        self.loose = flags & LOOSE != 0;
        self.absence = match flags & (SUSPECTED | CONFIRMED) {
            0 => Absence::None,
            SUSPECTED => Absence::Suspected,
            _ => Absence::Confirmed,
        };
        Ok(())
    }
}

/// Zigzag, then seven bits a byte, the lowest first.
fn put_varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = rest.to_le_bytes()[0] & 0x7f;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take_varint(bytes: &mut &[u8]) -> Result<i64, Damaged> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Damaged)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(Damaged)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_entry()(
            id in any::<i64>(),
            updated_at in any::<i64>(),
            content_hash in any::<u64>(),
            sequence in any::<i64>(),
            archived in any::<bool>(),
            deleted in any::<bool>(),
            absence in proptest::sample::select(&[Absence::None, Absence::Suspected, Absence::Confirmed][..]),
        ) -> Entry {
            Entry { id, updated_at, content_hash, sequence, archived, deleted, absence, loose: false }
        }
    }

    proptest! {
        #[test]
        fn entries_are_the_same_after_packing_and_unpacking(
            entries in proptest::collection::vec(any_entry(), 0..50),
        ) {
            prop_assert_eq!(unpack(&pack(&entries, true)), Ok(entries));
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(unpack(&bytes));
        }

        #[test]
        fn a_pack_that_was_cut_is_refused_or_has_whole_entries(
            entries in proptest::collection::vec(any_entry(), 1..20),
            cut in any::<proptest::sample::Index>(),
        ) {
            let bytes = pack(&entries, true);
            if let Ok(read) = unpack(&bytes[..cut.index(bytes.len())]) {
                prop_assert_eq!(&read[..], &entries[..read.len()]);
            }
        }
    }

    #[test]
    fn an_entry_of_a_page_takes_some_eighteen_bytes() {
        let entries: Vec<_> = (0..100)
            .map(|index| Entry {
                id: 40_000_000_000 + index * 137,
                updated_at: 1_790_000_000_000 + index * index * 977,
                content_hash: 0xdead_beef,
                sequence: 1_800_000_000_000,
                ..Entry::default()
            })
            .collect();
        let bytes = pack(&entries, true).len() / entries.len();
        assert!(bytes <= 18, "{bytes}");
    }
}
