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
mod split;

use std::{collections::VecDeque, ops::RangeInclusive};

use schemas::Lane;

pub(super) use self::lane::ReadPage;
pub(crate) use self::split::Extent;
use self::{
    lane::{LaneState, check, cursor_id, ends_early},
    split::FIRST_REACH,
};
use super::ListPage;

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
    /// What is known of the list, until the first probes are planned.
    extent: Option<Extent>,
    /// Ids at which probes are made first, ascending.
    places: VecDeque<i64>,
    /// Ids of the probes in flight.
    probes: Vec<i64>,
    /// Distance in ids of the next probe beyond the last lane.
    reach: i64,
    /// How many objects the list is expected to have.
    expected: Option<i64>,
    /// How many objects were read.
    read: i64,
    has_hole: bool,
    /// The page with objects that was read last.
    answered: Option<ReadPage>,
}

impl Lanes {
    /// The lanes of a checkpoint, or one lane from the list's start. At most `limit` requests
    /// are in flight.
    pub(super) fn new(lanes: Vec<Lane>, limit: usize, extent: Extent) -> Self {
        let mut all = Self {
            cursors_are_ids: lanes.len() > 1 || extent.is_in_order,
            states: Vec::new(),
            limit: limit.max(1),
            in_flight: 0,
            next_key: 0,
            expected: extent.objects,
            read: 0,
            extent: Some(extent),
            places: VecDeque::new(),
            probes: Vec::new(),
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
        let (index, at) = self.next_probe()?;
        let state = self.states.get(index)?;
        self.probes.push(at);
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
        let index = match request.probe {
            None => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.index_of(request.key)
            }
            Some(at) => {
                self.probe_ended(at);
                Some(self.index_at(at))
            }
        };
        if let Some(state) = index.and_then(|index| self.states.get_mut(index)) {
            state.fail(request.probe.is_some());
        }
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
        self.read += i64::try_from(page.objects.len()).unwrap_or(0);
        self.has_hole |= state.ended_early && state.lane.done;
        self.join_finished();
        Ok(covered)
    }

    /// Takes the page of a probe. If it became a lane, the page holds that lane's
    /// objects; returns the range in which the list has no others.
    pub(super) fn take_probe(
        &mut self,
        at: i64,
        page: &mut ListPage,
    ) -> Result<Option<RangeInclusive<i64>>, Mismatch> {
        self.probe_ended(at);
        let index = self.index_at(at);
        let end = self.end_of(index);
        let alone = self.states.len() == 1;
        let Some(state) = self.states.get_mut(index) else {
            return Ok(None);
        };
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
            let known = state.empty_from.unwrap_or(i64::MAX);
            state.empty_from = Some(known.min(at));
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
        self.read += i64::try_from(page.objects.len()).unwrap_or(0);
        if end.is_none() && empty_from.is_none() {
            self.reach_further();
        }
        self.states.insert(index + 1, state);
        self.join_finished();
        Ok(Some(covered))
    }

    /// The source refused the cursor of a probe, so cursors are not ids.
    pub(super) fn refuse_probe(&mut self, at: i64) -> Result<(), Mismatch> {
        self.probe_ended(at);
        if self.states.len() > 1 {
            return Err(Mismatch);
        }
        self.limit = 1;
        Ok(())
    }

    fn probe_ended(&mut self, at: i64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.probes.retain(|it| *it != at);
    }

    fn state(&mut self, lane: Lane, last_id: i64) -> LaneState {
        let key = self.next_key;
        self.next_key += 1;
        LaneState::new(key, lane, last_id)
    }

    fn index_of(&self, key: u64) -> Option<usize> {
        self.states.iter().position(|state| state.key == key)
    }

    /// The lane that an id lies in.
    fn index_at(&self, id: i64) -> usize {
        let begins_before = |state: &LaneState| state.lane.first_id.is_none_or(|it| it <= id);
        let behind = self.states.partition_point(begins_before);
        behind.saturating_sub(1)
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
}

#[cfg(test)]
mod tests;
