//! Where a list is split: the ids at which probes are made. Pure.

use super::{Lanes, lane::LaneState};

/// Records that a part of the id space is expected to have to be worth a lane.
const WORTH_A_LANE: i64 = 300;
/// Distance in ids of the first probe from a known id.
pub(super) const FIRST_REACH: i64 = 1_000;
/// The distance grows by this factor, as ids spread over orders of magnitude.
const REACH_GROWTH: i64 = 16;
/// No probe is made beyond this id while nothing is known of the highest one. HubSpot's
/// have up to 12 digits.
const BEYOND_ALL: i64 = 1 << 44;

/// What is known of a list before it is read. If it is wrong, it costs some requests and
/// nothing else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extent {
    /// Ids of known objects, ascending, with about the same number of objects between any
    /// two of them.
    pub(crate) ids: Vec<i64>,
    /// The highest id.
    pub(crate) highest: Option<i64>,
    /// How many objects the list has.
    pub(crate) objects: Option<i64>,
    /// Whether another list of the object type was in the order of ids.
    pub(crate) is_in_order: bool,
}

/// Where a lane could be split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    pub(super) index: usize,
    pub(super) at: i64,
    expected_records: i64,
}

impl Extent {
    /// The ids above `last_id` at which the list is split first, ascending: at most so many.
    pub(super) fn places(&self, last_id: i64, most: usize) -> Vec<i64> {
        let worth = |objects: i64| usize::try_from(objects / WORTH_A_LANE).unwrap_or(0);
        let most = self.objects.map_or(most, |it| worth(it).min(most));
        let first = self.ids.partition_point(|id| *id <= last_id);
        let above = self.ids.get(first..).unwrap_or_default();
        if above.len() >= most {
            let place = |number: usize| above.get(number * above.len() / (most + 1)).copied();
            return (1..=most).filter_map(place).collect();
        }
        if last_id == i64::MIN {
            return Vec::new();
        }
        self.spread(last_id, most)
    }

    /// Places at growing distances from both ends: ids lie close together where many
    /// objects were made, with wide gaps between.
    fn spread(&self, last_id: i64, most: usize) -> Vec<i64> {
        let highest = self.highest.filter(|it| *it > last_id);
        let end = highest.unwrap_or(BEYOND_ALL);
        let distances = std::iter::successors(Some(FIRST_REACH), |distance| {
            distance.checked_mul(REACH_GROWTH)
        });
        let mut places: Vec<i64> = distances
            .take_while(|distance| *distance < end.saturating_sub(last_id))
            .flat_map(|distance| {
                let from_end = highest.map(|highest| highest - distance);
                [Some(last_id + distance), from_end]
            })
            .flatten()
            .take(most)
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl Lanes {
    /// The next id to probe, and the lane that it splits.
    pub(super) fn next_probe(&mut self) -> Option<(usize, i64)> {
        if !self.cursors_are_ids || self.states.len() + self.probes.len() >= self.limit {
            return None;
        }
        self.plan();
        while let Some(at) = self.places.pop_front() {
            let index = self.index_at(at);
            let state = self.states.get(index)?;
            if at > state.last_id && !state.lane.done && !state.probe_refused {
                return Some((index, at));
            }
        }
        let Split { index, at, .. } = self.best_split()?;
        Some((index, at))
    }

    /// Plans the first probes, as soon as it is known where the list begins, or what it has.
    fn plan(&mut self) {
        let [only] = self.states.as_slice() else {
            return;
        };
        let last_id = only.last_id;
        let is_ready = |it: &mut Extent| last_id > i64::MIN || !it.ids.is_empty();
        if let Some(extent) = self.extent.take_if(is_ready) {
            self.places = extent.places(last_id, self.limit - 1).into();
        }
    }

    /// Where a probe promises most records: beyond the last lane, whose end is not
    /// known, or otherwise in the largest lane.
    fn best_split(&self) -> Option<Split> {
        let mut best: Option<Split> = None;
        for (index, state) in self.states.iter().enumerate() {
            let next = self.end_of(index);
            let is_probed = self
                .probes
                .iter()
                .any(|at| *at > state.last_id && next.is_none_or(|next| *at < next));
            if state.lane.done || state.probe_refused || is_probed || state.last_id == i64::MIN {
                continue;
            }
            let (expected_records, at) = self.split_of(state, next);
            if expected_records > WORTH_A_LANE
                && at > state.last_id
                && best.is_none_or(|best| expected_records > best.expected_records)
            {
                best = Some(Split {
                    index,
                    at,
                    expected_records,
                });
            }
        }
        best
    }

    /// How many records a lane is expected to have left, and where it would be split.
    fn split_of(&self, state: &LaneState, next: Option<i64>) -> (i64, i64) {
        let end = match (state.empty_from, next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let Some(end) = end else {
            // It is not known where the list ends, and perhaps how much of it is left.
            let left = self.expected.map(|it| it - self.read);
            let left = left.filter(|left| *left >= 0).unwrap_or(i64::MAX);
            return (left, state.last_id.saturating_add(self.reach));
        };
        let width = end.saturating_sub(state.last_id);
        let half = width / 2;
        let distance = if next.is_some() {
            half
        } else {
            // Where the last object is, is not known within orders of magnitude.
            half.min(geometric_mean(state.span().max(FIRST_REACH), width))
        };
        let at = state.last_id.saturating_add(distance);
        (state.expected_records(width), at)
    }

    /// A probe beyond the last lane found objects: the next one is made further away.
    pub(super) fn reach_further(&mut self) {
        self.reach = self.reach.saturating_mul(REACH_GROWTH);
    }
}

/// A distance between two in orders of magnitude.
fn geometric_mean(a: i64, b: i64) -> i64 {
    let product = i128::from(a) * i128::from(b);
    i64::try_from(product.max(0).isqrt()).unwrap_or(i64::MAX)
}
