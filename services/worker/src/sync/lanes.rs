//! Splits a pass over a list into lanes: parts of the id space that are read at the
//! same time, so that latency does not limit the rate. Pure.
//!
//! The list has no sort and no filter, and its cursor is an object id. That was
//! observed, and HubSpot does not promise it. So nothing is split until an answer
//! has a cursor that can be an id, every later answer is checked, and no record
//! depends on it: a lane continues with the list's own cursors up to the first id
//! that the next lane returned, and the last lane up to the end of the list. A guess
//! where to split (a probe) costs at most one request.
//!
//! A page that cannot be had is requested again with half as many objects. The one object
//! that cannot be had alone is skipped, and nothing is known of what is beside it.

mod lane;
mod page_size;

use std::ops::RangeInclusive;

use schemas::Lane;

pub(super) use self::lane::ReadPage;
use self::lane::{LaneState, Probe, check, cursor_id, ends_early};
use super::ListPage;

/// Records that a part of the id space is expected to have to be worth a lane.
const WORTH_A_LANE: i64 = 300;
/// Distance in ids of the first probe beyond the last lane.
const FIRST_REACH: i64 = 1_000;
/// The distance grows by this factor, as ids spread over orders of magnitude.
const REACH_GROWTH: i64 = 8;

/// The answers contradict the assumption that lanes depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list is not in the order of object ids, or its cursor is not an id")]
pub(super) struct Mismatch;

/// A page to request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// The lane it is for.
    pub(super) key: u64,
    /// Cursor to send; `None` for the list's first page.
    pub(super) after: Option<String>,
    /// The id at which the lane may be split, if this is a probe and not the lane's
    /// next page.
    pub(super) probe: Option<i64>,
    /// How many objects the page has at most.
    pub(super) limit: usize,
}

/// The lanes of one pass, in the order of their ids.
#[derive(Debug)]
pub(super) struct Lanes {
    states: Vec<LaneState>,
    /// How many requests may be in flight; 1 if the list is not split.
    limit: usize,
    in_flight: usize,
    /// Whether an answer had a cursor that can be an id.
    cursors_are_ids: bool,
    next_key: u64,
    reach: i64,
    has_hole: bool,
    /// The page with objects that was read last.
    answered: Option<ReadPage>,
}

/// Where a lane could be split.
#[derive(Debug, Clone, Copy)]
struct Split {
    index: usize,
    at: i64,
    expected_records: i64,
}

impl Lanes {
    /// The lanes of a checkpoint, or one lane from the list's start.
    pub(super) fn new(lanes: Vec<Lane>, limit: usize) -> Self {
        let mut all = Self {
            cursors_are_ids: lanes.len() > 1,
            states: Vec::new(),
            limit: limit.max(1),
            in_flight: 0,
            next_key: 0,
            reach: FIRST_REACH,
            has_hole: false,
            answered: None,
        };
        let lanes = if lanes.is_empty() {
            vec![Lane::default()]
        } else {
            lanes
        };
        for lane in lanes {
            // The cursor is the id of the next record or of the last one returned.
            let last_id = cursor_id(lane.after.as_deref()).map_or(i64::MIN, |id| id - 1);
            let state = all.state(lane, last_id);
            all.states.push(state);
        }
        all.join_finished();
        all
    }

    /// For the checkpoint.
    pub(super) fn to_checkpoint(&self) -> Vec<Lane> {
        self.states.iter().map(|state| state.lane.clone()).collect()
    }

    /// Whether the whole list has been read.
    pub(super) fn is_done(&self) -> bool {
        self.states.iter().all(|state| state.lane.done)
    }

    /// Whether a lane ended twice before the next one's first id, so that objects
    /// between may not have been read.
    pub(super) fn has_hole(&self) -> bool {
        self.has_hole
    }

    /// Whether the list is read in several lanes now, as its cursors are ids.
    pub(super) fn is_split(&self) -> bool {
        self.states.len() > 1
    }

    /// Whether the list is read in one lane only.
    pub(super) fn is_single(&self) -> bool {
        self.limit == 1
    }

    /// The next page to request, if another request may be in flight.
    pub(super) fn next_request(&mut self) -> Option<PageRequest> {
        if self.in_flight >= self.limit {
            return None;
        }
        if let Some(state) = self
            .states
            .iter_mut()
            .find(|s| !s.lane.done && !s.requested)
        {
            state.requested = true;
            self.in_flight += 1;
            return Some(PageRequest {
                key: state.key,
                after: state.lane.after.clone(),
                probe: None,
                limit: state.page_size.objects(),
            });
        }
        let probes = self
            .states
            .iter()
            .filter(|state| state.probe == Probe::InFlight)
            .count();
        if !self.cursors_are_ids || self.states.len() + probes >= self.limit {
            return None;
        }
        let Split { index, at, .. } = self.best_split()?;
        let state = self.states.get_mut(index)?;
        state.probe = Probe::InFlight;
        self.in_flight += 1;
        Some(PageRequest {
            key: state.key,
            after: Some(at.to_string()),
            probe: Some(at),
            limit: state.page_size.objects(),
        })
    }

    /// A page that was read in this process.
    pub(super) fn answered(&self) -> Option<ReadPage> {
        self.answered.clone()
    }

    /// The id of a lane's next object, where the cursor names it.
    pub(super) fn next_id(&self, key: u64) -> Option<i64> {
        let state = self.states.iter().find(|state| state.key == key)?;
        let id = cursor_id(state.lane.after.as_deref())?;
        (self.cursors_are_ids && !self.is_single() && id > state.last_id).then_some(id)
    }

    /// The source could not give a page of several objects, or a probe: the next one is
    /// smaller.
    pub(super) fn fail(&mut self, request: &PageRequest) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(state) = self.states.iter_mut().find(|it| it.key == request.key) else {
            return;
        };
        state.fail(request.probe.is_some());
    }

    /// Takes a page of a lane with the id of its one object, which cannot be read.
    /// Returns that id, unless it belongs to the next lane, and the ids that the list has
    /// not behind it.
    pub(super) fn skip(
        &mut self,
        key: u64,
        page: &mut ListPage,
    ) -> Result<(Option<i64>, RangeInclusive<i64>), Mismatch> {
        let covered = self.take(key, page, false)?;
        let skipped = page.objects.pop().map(|object| object.id);
        // Between the object before and this one nothing is known to lack.
        let from = skipped.map_or(*covered.start(), |id| id.saturating_add(1));
        Ok((skipped, from..=*covered.end()))
    }

    /// Takes a lane's next page and removes what belongs to the next lane. Returns the
    /// ids that the list has in that range: those of the page and no other.
    pub(super) fn take_page(
        &mut self,
        key: u64,
        page: &mut ListPage,
    ) -> Result<RangeInclusive<i64>, Mismatch> {
        self.take(key, page, true)
    }

    fn take(
        &mut self,
        key: u64,
        page: &mut ListPage,
        is_read: bool,
    ) -> Result<RangeInclusive<i64>, Mismatch> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(index) = self.index_of(key) else {
            return Err(Mismatch);
        };
        let end = self.end_of(index);
        let alone = self.states.len() == 1;
        let Some(state) = self.states.get_mut(index) else {
            return Err(Mismatch);
        };
        state.requested = false;
        if self.limit > 1 {
            match check(page, state.last_id) {
                Ok(next) => self.cursors_are_ids |= next.is_some(),
                Err(Mismatch) if alone => self.limit = 1,
                Err(Mismatch) => return Err(Mismatch),
            }
        }
        if !is_read {
            state.page_size.found_cause();
        } else if !page.objects.is_empty() {
            let after = state.lane.after.clone();
            self.answered = Some(ReadPage { after });
        }
        state.grow();
        let covered = state.advance(page, end);
        self.has_hole |= state.ended_early && state.lane.done;
        self.join_finished();
        Ok(covered)
    }

    /// Takes the page of a probe. If it became a lane, the page holds that lane's
    /// objects; returns the range in which the list has no others.
    pub(super) fn take_probe(
        &mut self,
        key: u64,
        at: i64,
        page: &mut ListPage,
    ) -> Result<Option<RangeInclusive<i64>>, Mismatch> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(index) = self.index_of(key) else {
            return Ok(None);
        };
        let end = self.end_of(index);
        let alone = self.states.len() == 1;
        let Some(state) = self.states.get_mut(index) else {
            return Ok(None);
        };
        state.probe = Probe::Allowed;
        if self.limit == 1 || state.lane.done {
            return Ok(None);
        }
        if check(page, at - 1).is_err() {
            return if alone {
                self.limit = 1;
                Ok(None)
            } else {
                Err(Mismatch)
            };
        }
        let first = page.objects.first().map(|object| object.id);
        let is_behind = first.is_none_or(|first| end.is_some_and(|end| first >= end));
        // A lane cannot begin with a page that ends the list too early.
        if is_behind || ends_early(page, end) {
            state.empty_from = Some(at);
            return Ok(None);
        }
        // The lane itself may have advanced beyond the probe meanwhile.
        let last_id = state.last_id;
        page.objects.retain(|object| object.id > last_id);
        if page.objects.is_empty() {
            return Ok(None);
        }
        let empty_from = state.empty_from.replace(at);
        let page_size = state.page_size;
        let mut state = self.state(Lane::default(), last_id);
        (state.empty_from, state.page_size) = (empty_from, page_size);
        // Between the lane before and the probe the list may have more.
        state.covered_to = page.objects.first().map_or(i64::MAX, |it| it.id - 1);
        let covered = state.advance(page, end);
        if end.is_none() && empty_from.is_none() {
            self.reach = self.reach.saturating_mul(REACH_GROWTH);
        }
        self.states.insert(index + 1, state);
        self.join_finished();
        Ok(Some(covered))
    }

    /// The source refused the cursor of a probe, so cursors are not ids.
    pub(super) fn refuse_probe(&mut self) -> Result<(), Mismatch> {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.states.len() > 1 {
            return Err(Mismatch);
        }
        self.limit = 1;
        for state in &mut self.states {
            state.probe = Probe::Allowed;
        }
        Ok(())
    }

    fn state(&mut self, lane: Lane, last_id: i64) -> LaneState {
        let key = self.next_key;
        self.next_key += 1;
        LaneState::new(key, lane, last_id)
    }

    fn index_of(&self, key: u64) -> Option<usize> {
        self.states.iter().position(|state| state.key == key)
    }

    /// The first id of the next lane.
    fn end_of(&self, index: usize) -> Option<i64> {
        self.states
            .get(index + 1)
            .and_then(|next| next.lane.first_id)
    }

    /// Joins every finished lane with the next one, so that the checkpoint has only
    /// what is left to read.
    fn join_finished(&mut self) {
        let mut first_id = None;
        let count = self.states.len();
        let mut index = 0;
        self.states.retain_mut(|state| {
            index += 1;
            state.lane.first_id = first_id.take().or(state.lane.first_id);
            if !state.lane.done || index == count {
                return true;
            }
            first_id = state.lane.first_id;
            false
        });
    }

    /// Where a probe promises most records: beyond the last lane, whose end is not
    /// known, or otherwise in the middle of the largest lane.
    fn best_split(&self) -> Option<Split> {
        let mut best: Option<Split> = None;
        for (index, state) in self.states.iter().enumerate() {
            let may_be_probed = !state.lane.done && state.probe == Probe::Allowed;
            if !may_be_probed || state.last_id == i64::MIN {
                continue;
            }
            let end = match (state.empty_from, self.end_of(index)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let (expected_records, at) = match end {
                None => (i64::MAX, state.last_id.saturating_add(self.reach)),
                Some(end) => {
                    let width = end.saturating_sub(state.last_id);
                    (
                        state.expected_records(width),
                        state.last_id.saturating_add(width / 2),
                    )
                }
            };
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
}

#[cfg(test)]
mod tests;
