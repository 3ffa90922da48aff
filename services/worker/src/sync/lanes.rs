//! Splits a pass over a list into lanes: parts of the id space that are read at the
//! same time, so that latency does not limit the rate. Pure.
//!
//! The list has no sort and no filter, and its cursor is an object id. That was
//! observed, and HubSpot does not promise it. So nothing is split until an answer
//! has a cursor that can be an id, every later answer is checked, and no record
//! depends on it: a lane continues with the list's own cursors up to the first id
//! that the next lane returned, and the last lane up to the end of the list. A guess
//! where to split (a probe) costs at most one request.

mod lane;
mod spacing;
mod splits;

use std::collections::VecDeque;

use schemas::Lane;

use self::lane::{LaneState, check, count, cursor_id};
pub(super) use self::{spacing::Spacing, splits::Bounds};
use super::ListPage;

/// Records of a full page, until one was seen.
const PAGE: i64 = 100;

/// The answers contradict the assumption that lanes depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list is not in the order of object ids, or its cursor is not an id")]
pub(super) struct Mismatch;

/// A page to request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// Cursor to send; `None` for the list's first page.
    pub(super) after: Option<String>,
    /// What it is for.
    pub(super) part: Part,
}

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The next page of the lane with this key.
    Lane(u64),
    /// A probe: a lane may start at this id.
    Probe(i64),
}

/// The lanes of one pass, in the order of their ids.
#[derive(Debug)]
pub(super) struct Lanes {
    states: Vec<LaneState>,
    /// Where the probes in flight start, in order.
    probes: Vec<i64>,
    /// Those of them that start where the distances cannot be right.
    guesses: Vec<i64>,
    /// Where lanes are to start together.
    starts: VecDeque<i64>,
    /// How many requests may be in flight.
    limit: usize,
    /// The list is not split.
    single: bool,
    in_flight: usize,
    /// Whether an answer had a cursor that can be an id.
    cursors_are_ids: bool,
    next_key: u64,
    bounds: Option<Bounds>,
    /// Records of the largest page so far.
    page: i64,
    /// Records returned since the process started the pass.
    seen: i64,
    /// Pages returned since then.
    pages: usize,
    /// Probes since then that made no lane.
    wasted: usize,
}

impl Lanes {
    /// The lanes of a checkpoint, or one lane from the list's start. One request is
    /// in flight until [`Self::set_limit`].
    pub(super) fn new(lanes: Vec<Lane>, single: bool) -> Self {
        let mut all = Self {
            cursors_are_ids: lanes.len() > 1,
            states: Vec::new(),
            probes: Vec::new(),
            guesses: Vec::new(),
            starts: VecDeque::new(),
            limit: 1,
            single,
            in_flight: 0,
            next_key: 0,
            bounds: None,
            page: 0,
            seen: 0,
            pages: 0,
            wasted: 0,
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

    /// How many requests may be in flight.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    /// Another list of the same account showed that cursors are ids.
    pub(super) fn trust_cursors(&mut self) {
        self.cursors_are_ids = true;
    }

    /// Whether answers had cursors that can be ids.
    pub(super) fn has_id_cursors(&self) -> bool {
        self.cursors_are_ids && !self.single
    }

    /// Learns the size of the list. Lanes then start together if it is not split yet.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = Some(bounds);
        if self.states.len() == 1 {
            let lanes = self.limit.saturating_sub(1);
            self.starts = bounds.starts(lanes, self.page_size()).into();
        }
    }

    /// For the checkpoint.
    pub(super) fn to_checkpoint(&self) -> Vec<Lane> {
        self.states.iter().map(|state| state.lane.clone()).collect()
    }

    /// Whether the whole list has been read.
    pub(super) fn is_done(&self) -> bool {
        self.states.iter().all(|state| state.lane.done)
    }

    /// Whether the list is read in one lane only.
    pub(super) fn is_single(&self) -> bool {
        self.single
    }

    /// The next page to request, if another request may be in flight.
    pub(super) fn next_request(&mut self) -> Option<PageRequest> {
        let limit = if self.single { 1 } else { self.limit };
        if self.in_flight >= limit {
            return None;
        }
        let probes = &self.probes;
        let is_next = |state: &&mut LaneState| {
            !state.lane.done && !state.requested && state.probe_ahead(probes).is_none()
        };
        if let Some(state) = self.states.iter_mut().find(is_next) {
            state.requested = true;
            self.in_flight += 1;
            return Some(PageRequest {
                after: state.lane.after.clone(),
                part: Part::Lane(state.key),
            });
        }
        if !self.cursors_are_ids || self.states.len() + self.probes.len() >= limit {
            return None;
        }
        let at = if let Some(at) = self.next_start() {
            at
        } else {
            let split = self.best_split()?;
            self.guesses.extend(split.is_guess.then_some(split.at));
            split.at
        };
        let index = self.probes.partition_point(|other| *other < at);
        self.probes.insert(index, at);
        self.in_flight += 1;
        Some(PageRequest {
            after: Some(at.to_string()),
            part: Part::Probe(at),
        })
    }

    /// Where the next of the lanes that start together starts.
    fn next_start(&mut self) -> Option<i64> {
        let read_to = self.states.first()?.last_id;
        while let Some(at) = self.starts.pop_front() {
            if at > read_to {
                return Some(at);
            }
        }
        None
    }

    /// Takes a lane's next page and removes what belongs to the next lane.
    pub(super) fn take_page(&mut self, key: u64, page: &mut ListPage) -> Result<(), Mismatch> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(index) = self.states.iter().position(|state| state.key == key) else {
            return Err(Mismatch);
        };
        let end = self.end_of(index);
        let alone = self.states.len() == 1;
        self.observe(page);
        let Some(state) = self.states.get_mut(index) else {
            return Err(Mismatch);
        };
        state.requested = false;
        if !self.single {
            match check(page, state.last_id) {
                Ok(next) => self.cursors_are_ids |= next.is_some(),
                Err(Mismatch) if alone => self.single = true,
                Err(Mismatch) => return Err(Mismatch),
            }
        }
        state.advance(page, end);
        self.seen = self.seen.saturating_add(count(page));
        self.join_finished();
        Ok(())
    }

    /// Takes the page of a probe. True if it became a lane; the page then holds
    /// that lane's objects.
    pub(super) fn take_probe(&mut self, at: i64, page: &mut ListPage) -> Result<bool, Mismatch> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.end_probe(at);
        let Some((index, end)) = self.lane_around(at) else {
            return Ok(false);
        };
        let alone = self.states.len() == 1;
        let Some(state) = self.states.get_mut(index) else {
            return Ok(false);
        };
        if self.single || state.lane.done {
            return Ok(false);
        }
        if check(page, at.saturating_sub(1)).is_err() {
            return if alone {
                self.single = true;
                Ok(false)
            } else {
                Err(Mismatch)
            };
        }
        let first = page.objects.first().map(|object| object.id);
        if first.is_none_or(|first| end.is_some_and(|end| first >= end)) {
            state.is_empty_from(at);
            self.wasted += 1;
            return Ok(false);
        }
        // The lane itself may have advanced beyond the probe meanwhile.
        let last_id = state.last_id;
        page.objects.retain(|object| object.id > last_id);
        let Some(first) = page.objects.first().map(|object| object.id) else {
            self.wasted += 1;
            return Ok(false);
        };
        let empty_from = state.empty_from.replace(at).filter(|from| *from > first);
        let reach = state.reach_from(at, first);
        state.end_at(first);
        self.observe(page);
        let mut state = self.state(Lane::default(), last_id);
        state.empty_from = empty_from;
        state.reach = reach;
        state.advance(page, end);
        self.seen = self.seen.saturating_add(count(page));
        self.states.insert(index + 1, state);
        self.join_finished();
        Ok(true)
    }

    fn end_probe(&mut self, at: i64) {
        self.probes.retain(|other| *other != at);
        self.guesses.retain(|other| *other != at);
    }

    /// The source refused the cursor of a probe, so cursors are not ids.
    pub(super) fn refuse_probe(&mut self, at: i64) -> Result<(), Mismatch> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.end_probe(at);
        if self.states.len() > 1 {
            return Err(Mismatch);
        }
        self.single = true;
        Ok(())
    }

    fn state(&mut self, lane: Lane, last_id: i64) -> LaneState {
        let key = self.next_key;
        self.next_key += 1;
        LaneState::new(key, lane, last_id)
    }

    /// The lane that has this id, and the first id of the next one.
    fn lane_around(&self, id: i64) -> Option<(usize, Option<i64>)> {
        let starts_up_to = |state: &LaneState| state.lane.first_id.is_none_or(|first| first <= id);
        let after = self.states.partition_point(starts_up_to);
        let index = after.saturating_sub(1);
        (index < self.states.len()).then(|| (index, self.end_of(index)))
    }

    /// The first id of the next lane.
    fn end_of(&self, index: usize) -> Option<i64> {
        self.states
            .get(index + 1)
            .and_then(|next| next.lane.first_id)
    }

    fn observe(&mut self, page: &ListPage) {
        self.pages += 1;
        self.page = self.page.max(count(page));
    }

    /// Records of a full page.
    fn page_size(&self) -> i64 {
        if self.page == 0 { PAGE } else { self.page }
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
