//! What of a page is written: content that the log has is dropped, what is lacking
//! where it should be becomes a suspect, and a suspect that two reads by id did not
//! find becomes a deletion.

use std::ops::RangeInclusive;

use schemas::{Millis, content_hash, deletion_hash};

use super::{Object, Page, Record};
use crate::index::{Absence, Entry, StreamIndex};

/// What a read says of objects that it did not bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// HubSpot's time of the request.
    pub(crate) fetched_at: Millis,
    /// Fetch sequence of the answer.
    pub(crate) sequence: i64,
    /// The part of a list that was read.
    pub(crate) covered: Option<Covered>,
    /// Objects that seem to be gone: search names them and a read lacks them, or
    /// another object says that they were merged into it.
    pub(crate) suspects: Vec<i64>,
    /// What was written by a read of this fetch sequence or a later one is not judged;
    /// `None` for the answer's.
    pub(crate) judged_before: Option<i64>,
    /// Suspects that a read by id did not find, neither live nor archived.
    pub(crate) not_found: Vec<NotFound>,
    /// How long after the first such read, in ms, a second one proves a deletion.
    pub(crate) confirm_interval: Millis,
}

/// The part of a list that was read: what the index has there and the page lacks
/// seems to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Which list.
    pub(crate) archived: bool,
    /// From the first to the last id.
    pub(crate) ids: RangeInclusive<i64>,
    /// The ids read, ascending; `None` for those of the page.
    pub(crate) present: Option<Vec<i64>>,
}

/// An object that a read by id did not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotFound {
    /// Its id.
    pub(crate) id: i64,
    /// The object that the answer has instead, as it was merged into it.
    pub(crate) merged_into: Option<i64>,
}

/// Reduces a page to what is written, deletions included, and returns the entries
/// that change with it.
pub(crate) fn admit(index: &StreamIndex, page: &mut Page) -> Vec<Entry> {
    let mut entries = std::mem::take(&mut page.seed);
    let Findings {
        fetched_at,
        sequence,
        covered,
        suspects,
        not_found,
        confirm_interval,
        judged_before,
    } = &page.findings;
    let judged_before = judged_before.unwrap_or(*sequence);
    let mut present: Vec<i64> = page.records.iter().map(|it| it.object.id).collect();
    let asked = present
        .iter()
        .chain(suspects)
        .copied()
        .chain(not_found.iter().map(|it| it.id));
    let mut known = index.find(asked);
    let writes_all = page.writes_all;
    page.records.retain(|record| {
        let id = record.object.id;
        let before = known.get(&id).copied();
        let entry = match before {
            // HubSpot answers from copies that lag.
            Some(before) if before.updated_at > record.object.updated_at => return false,
            Some(before) if !writes_all && before.says(record) => {
                if before.absence == Absence::None {
                    return false;
                }
                Entry {
                    absence: Absence::None,
                    sequence: record.fetch_sequence,
                    ..before
                }
            }
            _ => Entry {
                id,
                updated_at: record.object.updated_at,
                content_hash: record.content_hash,
                sequence: record.fetch_sequence,
                archived: record.object.archived,
                ..Entry::default()
            },
        };
        known.insert(id, entry);
        entries.push(entry);
        before.is_none_or(|before| writes_all || !before.says(record))
    });
    present.sort_unstable();
    let mut lacking: Vec<Entry> = suspects
        .iter()
        .filter_map(|id| known.get(id).copied())
        .collect();
    if let Some(covered) = covered {
        let present = covered.present.as_ref().unwrap_or(&present);
        let there = index.range(covered.ids.clone());
        lacking.extend(there.into_iter().filter(|it| {
            it.archived == covered.archived && present.binary_search(&it.id).is_err()
        }));
    }
    for entry in lacking {
        if !entry.deleted && entry.absence == Absence::None && entry.sequence < judged_before {
            entries.push(Entry {
                absence: Absence::Suspected,
                sequence: *sequence,
                ..entry
            });
        }
    }
    for NotFound { id, merged_into } in not_found {
        let Some(before) = known.get(id).filter(|it| !it.deleted) else {
            continue;
        };
        let is_proven = before.absence == Absence::Confirmed
            && sequence.saturating_sub(before.sequence) >= *confirm_interval;
        if !is_proven {
            if before.absence != Absence::Confirmed {
                entries.push(Entry {
                    absence: Absence::Confirmed,
                    sequence: *sequence,
                    ..*before
                });
            }
            continue;
        }
        let record = deletion(before, *merged_into, *fetched_at, *sequence);
        entries.push(Entry {
            content_hash: record.content_hash,
            deleted: true,
            absence: Absence::None,
            sequence: *sequence,
            ..*before
        });
        page.records.push(record);
    }
    entries
}

/// A deletion. It has the last-modified time that the log has, never the time of the
/// read: an object that comes back, as one that HubSpot missed for hours, is then not
/// older than its deletion.
fn deletion(
    before: &Entry,
    merged_into: Option<i64>,
    fetched_at: Millis,
    fetch_sequence: i64,
) -> Record {
    Record {
        object: Object {
            id: before.id,
            updated_at: before.updated_at,
            archived: before.archived,
            ..Object::default()
        },
        deleted: true,
        merged_into,
        fetched_at,
        fetch_sequence,
        content_hash: deletion_hash(before.archived),
    }
}

impl Entry {
    /// Whether the log has this content.
    fn says(&self, record: &Record) -> bool {
        !self.deleted
            && self.content_hash != content_hash::UNKNOWN
            && self.content_hash == record.content_hash
    }
}

#[cfg(test)]
mod tests;
