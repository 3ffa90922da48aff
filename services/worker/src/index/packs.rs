//! All entries of one stream, in packs by ranges of ids: in memory as they are in the
//! log.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{Bound, RangeInclusive},
};

use schemas::{DigestRange, IndexKey, verdict::OBJECTS_PER_RANGE};

use super::entry::{Absence, Damaged, Entry, pack, unpack};

/// Most entries in a pack. A pack that grows beyond it is divided.
const LARGEST: usize = 128;
/// A pack of so many entries is not appended to by a page: the page is a pack.
const FULL: usize = 64;
/// So many new entries beyond the last one are a pack of their own.
const WORTH_A_PACK: usize = 32;
/// A pack is written again when this share of its entries has messages of their own:
/// a message of one entry takes about four times the bytes of an entry in a pack.
const LOOSE_SHARE: usize = 4;
/// The first ids of fewer packs say little of how the ids are spread.
const FEW_PACKS: usize = 256;

/// How many objects a stream has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Neither archived nor deleted.
    pub(crate) live: usize,
    /// Archived and not deleted.
    pub(crate) archived: usize,
    /// Live ones that HubSpot seems to have no longer.
    pub(crate) live_suspects: usize,
    /// Archived ones that HubSpot seems to have no longer.
    pub(crate) archived_suspects: usize,
}

/// A message that keeps entries in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// What it has.
    pub(crate) key: IndexKey,
    /// The entries, packed; `None` for a tombstone.
    pub(crate) entries: Option<Vec<u8>>,
}

/// The entries of one stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamIndex {
    /// By their first possible id.
    packs: BTreeMap<i64, Box<[u8]>>,
    counts: Counts,
}

impl StreamIndex {
    /// How many objects there are.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it has no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// The entries of some objects, by their ids.
    pub(crate) fn find(&self, ids: impl IntoIterator<Item = i64>) -> HashMap<i64, Entry> {
        let ids: BTreeSet<i64> = ids.into_iter().collect();
        let mut found = HashMap::with_capacity(ids.len());
        let mut ids = ids.into_iter().peekable();
        while let Some(id) = ids.peek().copied() {
            let Some((start, bytes)) = self.packs.range(..=id).next_back() else {
                ids.next();
                continue;
            };
            let end = self.end_of(*start);
            let mut entries = read(bytes).into_iter().peekable();
            while let Some(id) = ids.next_if(|id| end.is_none_or(|end| *id < end)) {
                while entries.next_if(|entry| entry.id < id).is_some() {}
                found.extend(entries.next_if(|entry| entry.id == id).map(|it| (id, it)));
            }
        }
        found
    }

    /// The entries with ids in a range, ascending.
    pub(crate) fn range(&self, ids: RangeInclusive<i64>) -> Vec<Entry> {
        if ids.is_empty() {
            return Vec::new();
        }
        let first = self.packs.range(..=*ids.start()).next_back();
        let first = first.map_or(*ids.start(), |(start, _)| *start);
        let packs = self.packs.range(first..=*ids.end());
        let entries = packs.flat_map(|(_, bytes)| read(bytes));
        entries.filter(|entry| ids.contains(&entry.id)).collect()
    }

    /// The objects that HubSpot seems to have no longer, ascending.
    pub(crate) fn suspects(&self) -> Vec<Entry> {
        if self.counts.live_suspects + self.counts.archived_suspects == 0 {
            return Vec::new();
        }
        let entries = self.packs.values().flat_map(|bytes| read(bytes));
        entries.filter(Entry::is_suspect).collect()
    }

    /// Some ids, ascending, with about the same number of entries between any two of them:
    /// the first of each pack, or all if the packs are few.
    pub(crate) fn spread_ids(&self) -> Vec<i64> {
        if self.packs.len() >= FEW_PACKS {
            return self.packs.keys().copied().collect();
        }
        let entries = self.packs.values().flat_map(|bytes| read(bytes));
        entries.map(|entry| entry.id).collect()
    }

    /// The digest of all objects that are not deleted, in ranges of ids. There is at
    /// least one range.
    pub(crate) fn digest(&self) -> Vec<DigestRange> {
        let mut ranges = vec![DigestRange::default()];
        let entries = self.packs.values().flat_map(|bytes| read(bytes));
        for (index, entry) in entries.filter(|it| !it.deleted).enumerate() {
            if index > 0 && index.is_multiple_of(OBJECTS_PER_RANGE) {
                ranges.push(DigestRange {
                    first_id: entry.id,
                    ..DigestRange::default()
                });
            }
            if let Some(range) = ranges.last_mut() {
                range.add(entry.id, entry.content_hash);
            }
        }
        ranges
    }

    /// Keys of all messages that the log has of the stream.
    pub(crate) fn keys(&self) -> Vec<IndexKey> {
        let mut keys: Vec<_> = self.packs.keys().copied().map(IndexKey::Pack).collect();
        let entries = self.packs.values().flat_map(|bytes| read(bytes));
        keys.extend(
            entries
                .filter(|it| it.loose)
                .map(|it| IndexKey::Object(it.id)),
        );
        keys
    }

    /// Puts entries, and returns what has to be written in the same transaction as
    /// what they speak of.
    pub(crate) fn put(&mut self, mut changes: Vec<Entry>) -> Vec<Write> {
        changes.sort_by_key(|entry| (entry.id, entry.sequence));
        let mut writes = Vec::new();
        let mut rest = changes.into_iter().peekable();
        while let Some(first) = rest.peek() {
            let start = self.packs.range(..=first.id).next_back();
            let start = start.map_or(first.id, |(start, _)| *start);
            let end = self.end_of(start);
            let mut group = Vec::new();
            while let Some(entry) = rest.next_if(|it| end.is_none_or(|end| it.id < end)) {
                // Of an object that is named twice the later read counts.
                if group.last().is_some_and(|last: &Entry| last.id == entry.id) {
                    group.pop();
                }
                group.push(Entry {
                    loose: true,
                    ..entry
                });
            }
            self.put_group(start, group, &mut writes);
        }
        writes
    }

    /// Puts the entries of one pack's range.
    fn put_group(&mut self, start: i64, group: Vec<Entry>, writes: &mut Vec<Write>) {
        let known = self.packs.get(&start).map_or_else(Vec::new, |it| read(it));
        let is_beyond = known
            .last()
            .zip(group.first())
            .is_some_and(|(last, first)| last.id < first.id);
        if is_beyond && known.len() >= FULL && group.len() >= WORTH_A_PACK {
            self.write_packs(None, group, &[], writes);
            return;
        }
        let own_messages: Vec<i64> = known.iter().filter(|it| it.loose).map(|it| it.id).collect();
        let changed: Vec<i64> = group.iter().map(|it| it.id).collect();
        let merged = self.merge(known, group);
        let loose = merged.iter().filter(|it| it.loose).count();
        if merged.len() > LARGEST || loose * LOOSE_SHARE > merged.len() {
            self.write_packs(Some(start), merged, &own_messages, writes);
            return;
        }
        let mut changed = changed.into_iter().peekable();
        for entry in &merged {
            if changed.next_if(|id| *id == entry.id).is_some() {
                writes.push(Write {
                    key: IndexKey::Object(entry.id),
                    entries: Some(pack(&[*entry], false)),
                });
            }
        }
        self.packs.insert(start, pack(&merged, true).into());
    }

    /// Writes entries as one pack or several of about the same size, and tombstones of
    /// the messages that they repeat. The first pack keeps its start.
    fn write_packs(
        &mut self,
        start: Option<i64>,
        mut entries: Vec<Entry>,
        own_messages: &[i64],
        writes: &mut Vec<Write>,
    ) {
        if start.is_none() {
            for entry in &entries {
                self.counts.add(entry);
            }
        }
        for entry in &mut entries {
            entry.loose = false;
        }
        let count = entries.len().div_ceil(LARGEST).max(1);
        for (index, part) in entries
            .chunks(entries.len().div_ceil(count).max(1))
            .enumerate()
        {
            let Some(first) = part.first() else { continue };
            let start = start.filter(|_| index == 0).unwrap_or(first.id);
            let bytes = pack(part, false);
            self.packs.insert(start, bytes.clone().into());
            writes.push(Write {
                key: IndexKey::Pack(start),
                entries: Some(bytes),
            });
        }
        writes.extend(own_messages.iter().map(|id| Write {
            key: IndexKey::Object(*id),
            entries: None,
        }));
    }

    /// Merges two ascending lists; of two entries of an object the larger sequence
    /// counts, and of two with the same the one of the pack.
    fn merge(&mut self, known: Vec<Entry>, new: Vec<Entry>) -> Vec<Entry> {
        let mut merged = Vec::with_capacity(known.len() + new.len());
        let mut known = known.into_iter().peekable();
        for entry in new {
            while let Some(before) = known.next_if(|it| it.id < entry.id) {
                merged.push(before);
            }
            let mut entry = entry;
            if let Some(before) = known.next_if(|it| it.id == entry.id) {
                self.counts.remove(&before);
                if before.sequence > entry.sequence {
                    entry = before;
                } else if before.sequence == entry.sequence {
                    entry.loose &= before.loose;
                }
            }
            self.counts.add(&entry);
            merged.push(entry);
        }
        merged.extend(known);
        merged
    }

    /// Takes a message of the log, in the order of the log.
    pub(crate) fn restore(&mut self, key: IndexKey, entries: Option<&[u8]>) -> Result<(), Damaged> {
        match (key, entries) {
            (IndexKey::Pack(start), Some(bytes)) => {
                let entries = unpack(bytes)?;
                self.restore_pack(start, entries);
            }
            (IndexKey::Pack(start), None) => {
                if let Some(bytes) = self.packs.remove(&start) {
                    for entry in read(&bytes) {
                        self.counts.remove(&entry);
                    }
                }
            }
            (IndexKey::Object(_), Some(bytes)) => {
                for entry in unpack(bytes)? {
                    let start = self.packs.range(..=entry.id).next_back();
                    let start = start.map_or(entry.id, |(start, _)| *start);
                    let known = self.packs.get(&start).map_or_else(Vec::new, |it| read(it));
                    let loose = Entry {
                        loose: true,
                        ..entry
                    };
                    let merged = self.merge(known, vec![loose]);
                    self.packs.insert(start, pack(&merged, true).into());
                }
            }
            // A pack repeats it.
            (IndexKey::Object(_), None) => {}
        }
        Ok(())
    }

    /// A pack has all that its range had when it was written. What begins within it
    /// here are entries whose own messages came before it.
    fn restore_pack(&mut self, start: i64, entries: Vec<Entry>) {
        self.divide_at(start);
        let last = entries.last().map_or(start, |entry| entry.id);
        let starts: Vec<i64> = self.packs.range(start..=last).map(|(it, _)| *it).collect();
        let parts = starts.iter().filter_map(|start| self.packs.remove(start));
        let known = parts.flat_map(|bytes| read(&bytes)).collect();
        let merged = self.merge(known, entries);
        self.packs.insert(start, pack(&merged, true).into());
    }

    /// Makes a pack begin at an id.
    fn divide_at(&mut self, start: i64) {
        let Some((before, bytes)) = self.packs.range(..start).next_back() else {
            return;
        };
        let (before, entries) = (*before, read(bytes));
        let at = entries.partition_point(|entry| entry.id < start);
        let (left, right) = entries.split_at(at);
        if right.is_empty() {
            return;
        }
        // What is there already has larger ids.
        let mut right = right.to_vec();
        if let Some(bytes) = self.packs.get(&start) {
            right.extend(read(bytes));
        }
        let left = pack(left, true).into();
        self.packs.insert(before, left);
        self.packs.insert(start, pack(&right, true).into());
    }

    fn end_of(&self, start: i64) -> Option<i64> {
        let after = (Bound::Excluded(start), Bound::Unbounded);
        self.packs.range(after).next().map(|(start, _)| *start)
    }
}

impl Entry {
    fn is_suspect(&self) -> bool {
        !self.deleted && self.absence != Absence::None
    }
}

impl Counts {
    fn of(entry: &Entry) -> Self {
        let one = |is_counted| usize::from(is_counted && !entry.deleted);
        Self {
            live: one(!entry.archived),
            archived: one(entry.archived),
            live_suspects: one(!entry.archived && entry.is_suspect()),
            archived_suspects: one(entry.archived && entry.is_suspect()),
        }
    }

    fn add(&mut self, entry: &Entry) {
        let other = Self::of(entry);
        self.live += other.live;
        self.archived += other.archived;
        self.live_suspects += other.live_suspects;
        self.archived_suspects += other.archived_suspects;
    }

    fn remove(&mut self, entry: &Entry) {
        let other = Self::of(entry);
        self.live -= other.live;
        self.archived -= other.archived;
        self.live_suspects -= other.live_suspects;
        self.archived_suspects -= other.archived_suspects;
    }
}

/// Entries that were packed here.
fn read(bytes: &[u8]) -> Vec<Entry> {
    // INVARIANT: `pack` made these bytes in this process.
    unpack(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
