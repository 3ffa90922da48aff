//! What of a page is written: content that the log has is dropped, what is lacking
//! where it should be becomes a suspect, and a suspect that two reads by id did not
//! find becomes a deletion.

use std::{cmp::Ordering, collections::HashMap, ops::RangeInclusive};

use schemas::{Millis, content_hash, deletion_hash};

use super::{Object, Page, Record};
use crate::index::{Absence, Entry, StreamIndex};

/// What a read says of objects that it did not bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// HubSpot's time of the request.
    pub(crate) fetched_at: Millis,
    /// Fetch sequence of the answer; set when it is queued.
    pub(crate) sequence: i64,
    /// The part of a list that was read.
    pub(crate) covered: Option<Covered>,
    /// Objects that seem to be gone: search names them and a read lacks them, or
    /// another object says that they were merged into it.
    pub(crate) suspects: Vec<i64>,
    /// What was read at this time or later is not judged; `None` for the time of the
    /// request.
    pub(crate) judged_before: Option<Millis>,
    /// Suspects that a read by id did not find, neither live nor archived.
    pub(crate) not_found: Vec<NotFound>,
    /// Suspects that HubSpot could not give, so that nothing says that they are gone.
    pub(crate) unreadable: Vec<i64>,
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

impl Findings {
    /// Whether there is anything beside the time.
    pub(super) fn says_anything(&self) -> bool {
        self.covered.is_some()
            || !self.suspects.is_empty()
            || !self.not_found.is_empty()
            || !self.unreadable.is_empty()
    }
}

/// Reduces a page to what is written, deletions included, and returns the entries
/// that change with it.
pub(super) fn admit(index: &StreamIndex, page: &mut Page) -> Vec<Entry> {
    let mut entries = std::mem::take(&mut page.seed);
    let findings = &page.findings;
    let mut present: Vec<i64> = page.records.iter().map(|it| it.object.id).collect();
    let asked = present
        .iter()
        .chain(&findings.suspects)
        .chain(&findings.unreadable)
        .copied()
        .chain(findings.not_found.iter().map(|it| it.id));
    let mut known = index.find(asked);
    let rewrites_below = page.rewrites_below.unwrap_or(i64::MIN);
    page.records.retain(|record| {
        let id = record.object.id;
        let Some((entry, is_written)) = met(record, known.get(&id), rewrites_below) else {
            return false;
        };
        known.insert(id, entry);
        entries.push(entry);
        is_written
    });
    present.sort_unstable();
    entries.extend(lacking(index, findings, &known, &present));
    let unreadable = findings.unreadable.iter().filter_map(|id| known.get(id));
    entries.extend(unreadable.filter(|it| !it.deleted).map(|before| Entry {
        absence: Absence::None,
        sequence: findings.sequence,
        ..*before
    }));
    for not_found in &findings.not_found {
        let Some(before) = known.get(&not_found.id).filter(|it| !it.deleted) else {
            continue;
        };
        let proven_after = before.sequence.saturating_add(findings.confirm_interval);
        if before.absence != Absence::Confirmed {
            entries.push(Entry {
                absence: Absence::Confirmed,
                sequence: findings.sequence,
                ..*before
            });
        } else if findings.sequence >= proven_after {
            let record = deletion(before, not_found.merged_into, findings);
            entries.push(Entry {
                content_hash: record.content_hash,
                deleted: true,
                absence: Absence::None,
                sequence: findings.sequence,
                ..*before
            });
            page.records.push(record);
        }
    }
    entries
}

/// The entry of an object that was read, and whether its record is written; `None` if
/// nothing changes.
fn met(record: &Record, before: Option<&Entry>, rewrites_below: i64) -> Option<(Entry, bool)> {
    let new = Entry {
        id: record.object.id,
        updated_at: record.object.updated_at,
        content_hash: record.content_hash,
        sequence: record.fetch_sequence,
        archived: record.object.archived,
        ..Entry::default()
    };
    let Some(before) = before else {
        return Some((new, true));
    };
    let is_same = before.says(record);
    let overlaps = record.fetched_at <= before.sequence;
    match before.updated_at.cmp(&record.object.updated_at) {
        // HubSpot answers from copies that lag.
        Ordering::Greater => None,
        _ if is_same && before.sequence >= rewrites_below => {
            // A read that was sent before the object was missed says nothing of it.
            let is_found = before.absence != Absence::None && !overlaps;
            let found = Entry {
                absence: Absence::None,
                sequence: record.fetch_sequence,
                ..*before
            };
            is_found.then_some((found, false))
        }
        // Two reads of one state of the object overlapped, and the content differs: which
        // is newer is not known, so it is read again.
        Ordering::Equal if overlaps && !is_same && before.content_hash != content_hash::UNKNOWN => {
            let doubtful = Entry {
                absence: Absence::Suspected,
                ..*before
            };
            let is_new = !before.deleted && before.absence == Absence::None;
            is_new.then_some((doubtful, false))
        }
        Ordering::Equal | Ordering::Less => Some((new, true)),
    }
}

/// The entries of objects that are not where they should be.
fn lacking(
    index: &StreamIndex,
    findings: &Findings,
    known: &HashMap<i64, Entry>,
    present: &[i64],
) -> Vec<Entry> {
    let suspects = findings.suspects.iter();
    let mut lacking: Vec<Entry> = suspects.filter_map(|id| known.get(id).copied()).collect();
    if let Some(covered) = &findings.covered {
        let present = covered.present.as_deref().unwrap_or(present);
        let there = index.range(covered.ids.clone());
        lacking.extend(there.into_iter().filter(|it| {
            it.archived == covered.archived && present.binary_search(&it.id).is_err()
        }));
    }
    let judged_before = findings.judged_before.unwrap_or(findings.fetched_at);
    lacking.retain(|it| !it.deleted && it.absence == Absence::None && it.sequence < judged_before);
    for entry in &mut lacking {
        entry.absence = Absence::Suspected;
        entry.sequence = findings.sequence;
    }
    lacking
}

/// A deletion. It has the last-modified time that the log has, never the time of the
/// read: an object that comes back, as one that HubSpot missed for hours, is then not
/// older than its deletion.
fn deletion(before: &Entry, merged_into: Option<i64>, findings: &Findings) -> Record {
    Record {
        object: Object {
            id: before.id,
            updated_at: before.updated_at,
            archived: before.archived,
            ..Object::default()
        },
        deleted: true,
        merged_into,
        fetched_at: findings.fetched_at,
        fetch_sequence: findings.sequence,
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
