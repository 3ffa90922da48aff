//! A portal in memory: lists, a search whose index lags, batch reads, and changes
//! between any two answers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use schemas::Millis;
use tokio::task::yield_now;

use super::super::{Fetched, Object, SourceError};
pub(super) use faults::Faults;
use source::read;

mod faults;
mod source;

const START: Millis = 1_800_000_000_000;
/// The property that is added first is volatile.
pub(super) const READ_TIME_PROPERTY: &str = "p1";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FakeObject {
    pub(super) created: Millis,
    pub(super) updated: Millis,
    pub(super) archived: bool,
    pub(super) value: u32,
    merged_ids: Vec<i64>,
}

/// What changes between answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Churn {
    /// Changes per answer, in percent.
    pub(super) changes: u32,
    /// Whether objects are also archived, restored, merged and erased.
    pub(super) moves: bool,
    /// Properties still to be added.
    pub(super) new_properties: u32,
    /// Upper bound of the index's lag, in ms.
    pub(super) lag: Millis,
}

#[derive(Debug)]
struct PortalState {
    now: Millis,
    rng: StdRng,
    churn: Churn,
    objects: BTreeMap<i64, FakeObject>,
    /// By id: the last-modified time that the index shows from each time on.
    index: BTreeMap<i64, Vec<(Millis, Option<Millis>)>>,
    merged: HashMap<i64, i64>,
    properties: u32,
    calls: u32,
    grow_at: Option<u32>,
    /// After so many answers the share of rechecks is spent until a time.
    share: Option<(u32, Millis)>,
    faults: Faults,
    in_flight: usize,
    most_at_once: usize,
}

#[derive(Debug)]
pub(super) struct FakePortal {
    state: Mutex<PortalState>,
    pub(super) opaque: bool,
    pub(super) page_size: usize,
    pub(super) search_size: usize,
    pub(super) origin: String,
}

impl FakePortal {
    pub(super) fn new(seed: u64, count: usize) -> Self {
        let portal = Self {
            state: Mutex::new(PortalState {
                now: START,
                rng: StdRng::seed_from_u64(seed),
                churn: Churn::default(),
                objects: BTreeMap::new(),
                index: BTreeMap::new(),
                merged: HashMap::new(),
                properties: 1,
                calls: 0,
                grow_at: None,
                share: None,
                faults: Faults::default(),
                in_flight: 0,
                most_at_once: 0,
            }),
            opaque: false,
            page_size: 100,
            search_size: 200,
            origin: String::new(),
        };
        let mut state = portal.state();
        for _ in 0..count {
            state.create();
            state.now += 5;
        }
        state.now += 60_000;
        drop(state);
        portal
    }

    pub(super) fn set_churn(&self, churn: Churn) {
        self.state().churn = churn;
    }

    pub(super) fn stop_churn(&self) {
        self.state().churn = Churn::default();
    }

    /// Archives so many objects, which no search shows.
    pub(super) fn archive_some(&self, count: usize) {
        let mut state = self.state();
        for _ in 0..count {
            state.archive(true);
        }
    }

    pub(super) fn fail(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(super) fn advance_time(&self, ms: Millis) {
        self.state().now += ms;
    }

    pub(super) fn touch_all_at_once(&self, at_least: usize) {
        let mut state = self.state();
        while state.objects.len() < at_least {
            state.create();
        }
        let ids: Vec<_> = state.objects.keys().copied().collect();
        for id in ids {
            state.touch(id);
        }
    }

    pub(super) fn add_property_after_calls(&self, calls: u32) {
        let mut state = self.state();
        state.grow_at = Some(state.calls + calls);
    }

    /// After that many answers the share of rechecks is spent, for an hour.
    pub(super) fn spend_share_after_calls(&self, calls: u32) {
        let mut state = self.state();
        state.share = Some((state.calls + calls, state.now + 3_600_000));
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    pub(super) fn truth(&self) -> BTreeMap<i64, Object> {
        let state = self.state();
        let names: Vec<_> = (0..state.properties).map(property_name).collect();
        state
            .objects
            .iter()
            .map(|(id, entry)| (*id, read(*id, entry, &names)))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, PortalState> {
        self.state.lock().unwrap()
    }

    /// Answers after some yields, and changes the portal before that.
    async fn answer<T>(
        &self,
        value: impl FnOnce(&Self, &mut PortalState) -> T,
    ) -> Result<Fetched<T>, SourceError> {
        let under_way = InFlight::new(self);
        let (sent_at, before, after) = {
            let mut state = self.state();
            (
                state.now,
                state.rng.random_range(0..3),
                state.rng.random_range(0..3),
            )
        };
        for _ in 0..before {
            yield_now().await;
        }
        let value = {
            let mut state = self.state();
            state.tick();
            value(self, &mut state)
        };
        for _ in 0..after {
            yield_now().await;
        }
        drop(under_way);
        Ok(Fetched { sent_at, value })
    }
}

struct InFlight<'a>(&'a FakePortal);

impl<'a> InFlight<'a> {
    fn new(portal: &'a FakePortal) -> Self {
        let mut state = portal.state();
        state.in_flight += 1;
        state.most_at_once = state.most_at_once.max(state.in_flight);
        Self(portal)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

impl PortalState {
    fn tick(&mut self) {
        self.calls += 1;
        self.now += self.rng.random_range(1..150);
        if self.grow_at.is_some_and(|at| self.calls >= at) {
            self.grow_at = None;
            self.properties += 1;
        }
        let mut percent = self.churn.changes;
        while percent > 0 {
            if self.rng.random_range(0..100) < percent.min(100) {
                self.change();
            }
            percent = percent.saturating_sub(100);
        }
        if self.churn.new_properties > 0 && self.rng.random_range(0..40) == 0 {
            self.churn.new_properties -= 1;
            self.properties += 1;
        }
    }

    fn change(&mut self) {
        let kind = self
            .rng
            .random_range(0..if self.churn.moves { 100 } else { 60 });
        match kind {
            0..45 => {
                if let Some(id) = self.pick(false) {
                    self.touch(id);
                }
            }
            45..60 => self.create(),
            60..72 => self.archive(true),
            72..84 => self.archive(false),
            84..92 => self.merge(),
            _ => {
                let archived = self.rng.random_bool(0.3);
                if let Some(id) = self.pick(archived) {
                    self.objects.remove(&id);
                    self.show(id, None);
                }
            }
        }
    }

    fn pick(&mut self, archived: bool) -> Option<i64> {
        let ids: Vec<_> = self
            .objects
            .iter()
            .filter(|(_, o)| o.archived == archived)
            .map(|(id, _)| *id)
            .collect();
        (!ids.is_empty()).then(|| ids[self.rng.random_range(0..ids.len())])
    }

    fn create(&mut self) {
        let last = self.index.keys().next_back().copied().unwrap_or(500);
        let id = last
            + if self.rng.random_bool(0.02) {
                50_000
            } else {
                self.rng.random_range(1..9)
            };
        let entry = FakeObject {
            created: self.now,
            updated: self.now,
            archived: false,
            value: 1,
            merged_ids: Vec::new(),
        };
        self.objects.insert(id, entry);
        self.show(id, Some(self.now));
    }

    fn touch(&mut self, id: i64) {
        let now = self.now;
        if let Some(entry) = self.objects.get_mut(&id) {
            entry.updated = now;
            entry.value += 1;
            self.show(id, Some(now));
        }
    }

    fn archive(&mut self, archived: bool) {
        if let Some(id) = self.pick(!archived) {
            let entry = self.objects.get_mut(&id).unwrap();
            entry.archived = archived;
            let updated = entry.updated;
            self.show(id, (!archived).then_some(updated));
        }
    }

    fn merge(&mut self) {
        let (Some(a), Some(b)) = (self.pick(false), self.pick(false)) else {
            return;
        };
        if a == b {
            return;
        }
        self.create();
        let winner = *self.index.keys().next_back().unwrap();
        let mut merged_ids = vec![a, b];
        for loser in [a, b] {
            let entry = self.objects.remove(&loser).unwrap();
            merged_ids.extend(entry.merged_ids);
            self.merged.insert(loser, winner);
            self.show(loser, None);
        }
        self.objects.get_mut(&winner).unwrap().merged_ids = merged_ids;
    }

    fn show(&mut self, id: i64, updated: Option<Millis>) {
        let lag = if self.churn.lag > 0 {
            self.rng.random_range(0..self.churn.lag)
        } else {
            0
        };
        let shown = self.index.entry(id).or_default();
        let from = shown
            .last()
            .map_or(0, |(from, _)| *from)
            .max(self.now + lag);
        shown.push((from, updated));
    }
}

fn property_name(number: u32) -> String {
    format!("p{number}")
}
