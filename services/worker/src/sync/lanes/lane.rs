//! One lane, and the checks of its pages.

use schemas::Lane;

use super::{super::ListPage, Mismatch, Spacing};

/// See [`LaneState::reach`]: two pages.
const FIRST_REACH: i64 = 200;

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) key: u64,
    pub(super) lane: Lane,
    /// All ids up to it were returned in this lane or an earlier one.
    pub(super) last_id: i64,
    /// The first id of its last page.
    pub(super) page_first: i64,
    /// From here to the next lane a probe found no id.
    pub(super) empty_from: Option<i64>,
    /// The first id that this lane returned since the process started it.
    pub(super) began_at: Option<i64>,
    /// Ids returned by this lane since then.
    pub(super) seen: i64,
    /// The distances to expect ahead.
    pub(super) spacing: Option<Spacing>,
    /// Records to expect ahead at most where the distances cannot be right: doubled
    /// by each probe that finds some, halved by each other.
    pub(super) reach: i64,
    /// The last probe in this lane found nothing near.
    pub(super) doubtful: bool,
    pub(super) requested: bool,
}

impl LaneState {
    pub(super) fn new(key: u64, lane: Lane, last_id: i64) -> Self {
        Self {
            key,
            lane,
            last_id,
            page_first: i64::MAX,
            empty_from: None,
            began_at: None,
            seen: 0,
            spacing: None,
            reach: FIRST_REACH,
            doubtful: false,
            requested: false,
        }
    }

    /// Cuts the page at the lane's end and advances the lane past it.
    pub(super) fn advance(&mut self, page: &mut ListPage, end: Option<i64>) {
        let mut met = false;
        if let Some(end) = end {
            let count = page.objects.len();
            page.objects.retain(|object| object.id < end);
            // Cursors are ids here, so one at or beyond the end means that nothing
            // is left before it.
            let next = cursor_id(page.next.as_deref());
            met = page.objects.len() < count || next.is_some_and(|next| next >= end);
        }
        if let (Some(first), Some(last)) = (page.objects.first(), page.objects.last()) {
            self.lane.first_id = self.lane.first_id.or(Some(first.id));
            self.began_at = self.began_at.or(Some(first.id));
            self.page_first = first.id;
            self.last_id = self.last_id.max(last.id);
        }
        self.seen = self.seen.saturating_add(count(page));
        self.update_spacing(page);
        self.lane.done = met || page.next.is_none();
        self.lane.after = page.next.take().filter(|_| !self.lane.done);
    }

    /// No id up to it is left to read in this lane.
    pub(super) fn frontier(&self) -> i64 {
        let next = cursor_id(self.lane.after.as_deref());
        next.map_or(self.last_id, |next| self.last_id.max(next - 1))
    }

    /// The last probe in flight that will return the next record, as it starts within
    /// the last page or right behind it.
    pub(super) fn probe_ahead(&self, probes: &[i64]) -> Option<i64> {
        let next = cursor_id(self.lane.after.as_deref())?;
        let returns = |at: &&i64| **at > self.page_first && **at <= next;
        probes.iter().rfind(returns).copied()
    }

    /// A probe found nothing between this id and the next lane.
    pub(super) fn is_empty_from(&mut self, at: i64) {
        self.empty_from = Some(self.empty_from.map_or(at, |other| other.min(at)));
        self.reach = (self.reach / 2).max(FIRST_REACH);
        self.doubtful = true;
    }

    /// Another lane starts at this id, which a probe from `at` found. Returns its
    /// reach.
    pub(super) fn reach_from(&mut self, at: i64, first: i64) -> i64 {
        let page = self
            .spacing
            .map_or(i64::MAX, |it| it.width(FIRST_REACH / 2));
        self.doubtful = first.saturating_sub(at) > page;
        if self.doubtful {
            self.reach = (self.reach / 2).max(FIRST_REACH);
            return FIRST_REACH;
        }
        self.reach = self.reach.saturating_mul(2);
        self.reach
    }

    /// Another lane starts at this id. If nothing is left before it, this one is done.
    pub(super) fn end_at(&mut self, first: i64) {
        let next = cursor_id(self.lane.after.as_deref());
        if !self.requested && next.is_some_and(|next| next >= first) {
            self.lane.done = true;
            self.lane.after = None;
        }
    }

    /// By all ids of this lane if the last page is like them, and otherwise by the
    /// last page.
    fn update_spacing(&mut self, page: &ListPage) {
        let of_page = Spacing::after_page(&page.objects);
        let of_lane = self
            .began_at
            .and_then(|first| Spacing::between(first, self.last_id, self.seen));
        self.spacing = match (of_page, of_lane) {
            (Some(page), Some(lane)) if page.is_near(lane) => Some(lane),
            (Some(page), _) => Some(page),
            (None, _) => self.spacing.or(of_lane),
        };
    }
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

pub(super) fn count(page: &ListPage) -> i64 {
    i64::try_from(page.objects.len()).unwrap_or(i64::MAX)
}

/// The cursor as an id, if it is one.
pub(super) fn cursor_id(cursor: Option<&str>) -> Option<i64> {
    cursor?.parse().ok().filter(|id| *id >= 0)
}
