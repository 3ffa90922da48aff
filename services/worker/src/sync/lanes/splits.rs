//! Where a lane is worth a split: a model of the records that are left, by the
//! distances of the ids read so far and the size of the list. A wrong model costs
//! requests and nothing else.

use super::{Lanes, lane::LaneState, spacing::Spacing};

/// Without the size of a list, but with its largest id, as many times the records read
/// so far are expected at most, so that a short list costs few probes.
const GROWTH_BOUNDED: i64 = 16;
/// Ids are not evenly spaced, so a part that should fit into whole pages is made
/// this much smaller.
const FILLED_PERCENT: i64 = 95;
/// The same for the archived list, which mostly is so short that all of it is
/// requested at once: more requests then cost less time than a record that is left.
const FILLED_IF_SHORT_PERCENT: i64 = 75;
/// Records that make a request worth it, in percent of a page: where ids are evenly
/// spaced, a lane needs that request anyway.
const WORTH_PERCENT: i64 = 30;
/// Requests in flight from which on there is one guess at a time: so many use the
/// limit but for the first and last second.
const GUESSING_LANES: usize = 12;
/// Pages for which one probe may find nothing, beside those of the beginning.
const WORTH_A_MISS: usize = 5;
/// Pages that each part should have at the beginning: with fewer, more of the pages
/// are the last ones of a lane, which are read in part.
const PAGES_AT_FIRST: i64 = 3;

/// What is known of a list before it is read.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Bounds {
    /// The largest id.
    pub(in super::super) last_id: i64,
    /// The distances of the largest ids.
    pub(in super::super) spacing: Spacing,
    /// Records of the list, if known.
    pub(in super::super) total: Option<i64>,
}

/// Ids between which no request starts.
#[derive(Debug, Clone, Copy)]
struct Gap {
    from: i64,
    /// `None` at the end of a list without a known last id.
    end: Option<i64>,
    spacing: Spacing,
    expected: i64,
    /// Whether it may have records anywhere, as so many cannot be left.
    is_unexplored: bool,
    /// Whether the distances cannot be right.
    is_guess: bool,
}

/// Where a probe starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    pub(super) at: i64,
    /// Whether it starts where the distances cannot be right.
    pub(super) is_guess: bool,
}

impl Bounds {
    /// Where lanes start together: evenly spaced in the ids that all records would
    /// take if they had the distances of the largest ids.
    pub(super) fn starts(&self, lanes: usize, page: i64) -> Vec<i64> {
        let Some(total) = self.total else {
            return Vec::new();
        };
        let lanes = i64::try_from(lanes).unwrap_or(i64::MAX);
        let count = lanes.min(total / (PAGES_AT_FIRST * page));
        let reach = self.spacing.width(total).min(self.last_id);
        let start = |number| self.last_id - reach / count.max(1) * number;
        (1..=count).rev().map(start).filter(|at| *at > 0).collect()
    }
}

impl Lanes {
    /// The id at which the next probe promises most.
    pub(super) fn best_split(&self) -> Option<Split> {
        if self.wasted > self.limit * 2 + self.pages / WORTH_A_MISS {
            return None;
        }
        let left = self.records_left();
        let gaps: Vec<Gap> = (0..self.states.len())
            .flat_map(|index| self.gaps_of(index, left))
            .collect();
        let known = gaps
            .iter()
            .filter(|gap| !gap.is_unexplored)
            .fold(0_i64, |sum, gap| sum.saturating_add(gap.expected));
        let unknown = left.saturating_sub(known);
        self.middle_of_unexplored(&gaps, (unknown, left))
            .or_else(|| self.best_of(&gaps, unknown))
    }

    /// In the gap with most records, so far behind its start that the lane before it
    /// ends with a full page.
    fn best_of(&self, gaps: &[Gap], unknown: i64) -> Option<Split> {
        let promise = |gap: &&Gap| {
            let hidden = if gap.is_unexplored { unknown } else { 0 };
            gap.expected.max(hidden)
        };
        let best = gaps.iter().max_by_key(promise)?;
        if best.expected <= self.page_size() * WORTH_PERCENT / 100 {
            return None;
        }
        let filled = self.filled_page();
        let before = best.expected / 2 / filled * filled;
        let at = best.from.saturating_add(best.spacing.width(before));
        best.end.is_none_or(|end| at < end).then_some(Split {
            at,
            is_guess: best.is_guess,
        })
    }

    /// In the middle of the widest gap that may have records anywhere, if many have to
    /// be in such gaps.
    fn middle_of_unexplored(&self, gaps: &[Gap], (unknown, left): (i64, i64)) -> Option<Split> {
        let total = self.bounds?.total?;
        if unknown < left / 3 || unknown < total / 8 || self.wasted > self.limit + self.pages / 20 {
            return None;
        }
        let (from, end) = gaps
            .iter()
            .filter(|gap| gap.is_unexplored)
            .filter_map(|gap| Some((gap.from, gap.end?)))
            .max_by_key(|(from, end)| end.saturating_sub(*from))?;
        let at = from.saturating_add(end.saturating_sub(from) / 2);
        (at < end).then_some(Split { at, is_guess: true })
    }

    /// Records that are expected to fit into a page.
    fn filled_page(&self) -> i64 {
        let percent = match self.bounds {
            Some(Bounds { total: None, .. }) => FILLED_IF_SHORT_PERCENT,
            _ => FILLED_PERCENT,
        };
        (self.page_size() * percent / 100).max(1)
    }

    /// Records that no answer had, at most.
    fn records_left(&self) -> i64 {
        match self.bounds {
            Some(Bounds {
                total: Some(total), ..
            }) => total.saturating_sub(self.seen).max(0),
            Some(_) => self.seen.saturating_mul(GROWTH_BOUNDED),
            None => self.seen,
        }
    }

    /// The gaps of a lane: behind its next page, and behind each probe in it. If it
    /// would have more records than are left, its ids are of several origins, or the
    /// size of the list is not known: then there is one probe at a time, not far ahead.
    fn gaps_of(&self, index: usize, left: i64) -> Vec<Gap> {
        let Some((state, spacing)) = self
            .states
            .get(index)
            .filter(|state| !state.lane.done)
            .and_then(|state| Some((state, state.spacing?)))
        else {
            return Vec::new();
        };
        let end = self.gap_end(index, state);
        let page = spacing.width(self.filled_page()).max(1);
        let frontier = state.frontier();
        let read_ahead = match state.probe_ahead(&self.probes) {
            _ if state.requested => Some(frontier),
            Some(at) if at > state.last_id => Some(frontier),
            ahead => ahead,
        };
        let mut from = read_ahead.map_or(frontier, |from| from.saturating_add(page));
        let is_in = |at: &i64| *at > frontier && end.is_none_or(|end| *at < end);
        let mut probes = self.probes.iter().copied().filter(is_in).peekable();
        let mut whole = Gap::new(from, end, spacing);
        if state.doubtful || whole.expected > left {
            whole.is_unexplored = whole.expected > left;
            whole.expected = whole.expected.min(left).min(state.reach);
            whole.is_guess = true;
            let may_guess = self.guesses.is_empty() || self.in_flight < GUESSING_LANES;
            return match probes.peek() {
                None if may_guess => vec![whole],
                _ => Vec::new(),
            };
        }
        let mut gaps = Vec::new();
        for at in probes {
            gaps.push(Gap::new(from, Some(at), spacing));
            from = from.max(at.saturating_add(page));
        }
        gaps.push(Gap::new(from, end, spacing));
        gaps
    }

    /// Where the ids of a lane end, as far as it is known.
    fn gap_end(&self, index: usize, state: &LaneState) -> Option<i64> {
        let next = self.end_of(index);
        let last = self.bounds.map(|bounds| bounds.last_id.saturating_add(1));
        let end = next.or(last);
        match (state.empty_from, end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Gap {
    fn new(from: i64, end: Option<i64>, spacing: Spacing) -> Self {
        let expected = end.map_or(i64::MAX, |end| spacing.records(end.saturating_sub(from)));
        Self {
            from,
            end,
            spacing,
            expected,
            is_unexplored: false,
            is_guess: false,
        }
    }
}
