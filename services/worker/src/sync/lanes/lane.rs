//! One lane: how far it was read, and what a page of it says. Pure.

use std::ops::RangeInclusive;

use schemas::Lane;

use super::{Mismatch, page_size::PageSize};
use crate::sync::ListPage;

/// A range that has no id.
#[expect(clippy::reversed_empty_ranges, reason = "it is empty on purpose")]
pub(super) const EMPTY: RangeInclusive<i64> = 1..=0;

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) key: u64,
    pub(super) lane: Lane,
    /// All ids up to it were returned in this lane or an earlier one.
    pub(super) last_id: i64,
    /// What the list lacks up to here is known.
    pub(super) covered_to: i64,
    /// The last answer ended the list before the next lane's first id.
    pub(super) ended_early: bool,
    /// From here to the next lane a probe found no id.
    pub(super) empty_from: Option<i64>,
    /// Ids returned by this lane since the process started it.
    pub(super) seen: i64,
    pub(super) requested: bool,
    /// A probe of a single object could not be had, nor was a page of several since.
    pub(super) probe_refused: bool,
    pub(super) page_size: PageSize,
}

/// A page that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct ReadPage {
    /// Its cursor; the list's first page has none.
    pub(in super::super) after: Option<String>,
}

impl LaneState {
    /// A lane of a checkpoint, or a new one.
    pub(super) fn new(key: u64, lane: Lane, last_id: i64) -> Self {
        let covered_to = cursor_id(lane.after.as_deref()).unwrap_or(i64::MIN);
        Self {
            key,
            lane,
            last_id,
            covered_to,
            ended_early: false,
            empty_from: None,
            seen: 0,
            requested: false,
            probe_refused: false,
            page_size: PageSize::default(),
        }
    }

    /// Takes the failure of a page, or of a probe: the next one is smaller.
    pub(super) fn fail(&mut self, was_probe: bool) {
        let is_smaller = self.page_size.shrink();
        if was_probe {
            self.probe_refused = !is_smaller;
        } else {
            self.requested = false;
        }
    }

    /// The next page, or probe, may have more objects, as a page was read.
    pub(super) fn grow(&mut self) {
        self.page_size.grow();
        self.probe_refused &= self.page_size.objects() == 1;
    }

    /// Cuts the page at the lane's end and advances the lane past it. Returns the range
    /// that it has read.
    pub(super) fn advance(&mut self, page: &mut ListPage, end: Option<i64>) -> RangeInclusive<i64> {
        let met = end.is_some_and(|end| meets(page, end));
        let is_early = ends_early(page, end);
        if is_early && !std::mem::replace(&mut self.ended_early, true) {
            // The page is requested again.
            page.objects.clear();
            return EMPTY;
        }
        if let Some(end) = end {
            page.objects.retain(|object| object.id < end);
        }
        if let (Some(first), Some(last)) = (page.objects.first(), page.objects.last()) {
            self.lane.first_id = self.lane.first_id.or(Some(first.id));
            self.last_id = self.last_id.max(last.id);
        }
        self.seen = self
            .seen
            .saturating_add(i64::try_from(page.objects.len()).unwrap_or(0));
        let from = self.covered_to.saturating_add(1);
        let covered_to = match end {
            Some(end) if met => end.saturating_sub(1),
            None if page.next.is_none() => i64::MAX,
            _ => self.last_id,
        };
        self.covered_to = self.covered_to.max(covered_to);
        self.lane.done = met || page.next.is_none();
        self.lane.after = page.next.take().filter(|_| !self.lane.done);
        from..=self.covered_to
    }

    /// In how many ids this lane's objects were.
    pub(super) fn span(&self) -> i64 {
        let first = self.lane.first_id;
        first.map_or(1, |first| self.last_id.saturating_sub(first) + 1)
    }

    /// Records to expect in that many ids, by the density of those seen.
    pub(super) fn expected_records(&self, width: i64) -> i64 {
        let span = self.span();
        if self.seen == 0 || span <= self.seen {
            return width;
        }
        // In whole records per thousand ids, so that nothing overflows.
        let share = (self.seen.saturating_mul(1_000) / span).max(1);
        (width / 1_000)
            .saturating_mul(share)
            .max(width.saturating_mul(share) / 1_000)
    }
}

/// Whether the list has nothing left before `end`: cursors are ids here.
fn meets(page: &ListPage, end: i64) -> bool {
    let next = cursor_id(page.next.as_deref());
    page.objects.iter().any(|it| it.id >= end) || next.is_some_and(|next| next >= end)
}

/// Whether the page is the list's last one before `end`, though the next lane proves
/// that the list goes on.
pub(super) fn ends_early(page: &ListPage, end: Option<i64>) -> bool {
    page.next.is_none() && end.is_some_and(|end| !meets(page, end))
}

/// Checks a page: ids ascend above `floor`, and the cursor is an id that is not below
/// them. Returns the cursor.
pub(super) fn check(page: &ListPage, floor: i64) -> Result<Option<i64>, Mismatch> {
    let mut last = floor;
    for object in &page.objects {
        if object.id <= last {
            return Err(Mismatch);
        }
        last = object.id;
    }
    let Some(next) = page.next.as_deref() else {
        return Ok(None);
    };
    match cursor_id(Some(next)) {
        Some(id) if id >= last => Ok(Some(id)),
        _ => Err(Mismatch),
    }
}

/// The cursor as an id, if it is one.
pub(super) fn cursor_id(cursor: Option<&str>) -> Option<i64> {
    cursor?.parse().ok().filter(|id| *id >= 0)
}
