//! A sink in memory that closes after a given number of pages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use schemas::{
    Checkpoint, ContentHasher, Definitions, Property, PropertyMapBuilder, PropertySelection, Run,
    Verdict, version,
};
use tokio::task::yield_now;

use super::{
    super::{
        Extent, Fetched, Listed, Object, Page, Record, Sink, SinkClosed, StreamOwner, Suspects,
        Taken,
    },
    fake_portal::{FakePortal, READ_TIME_PROPERTY},
};
use crate::index::{StreamIndex, Write};

#[derive(Debug)]
struct CommittedPage {
    records: Vec<Record>,
    rewrites: bool,
    checkpoint: Checkpoint,
    definitions: Option<Definitions>,
    run: Option<Run>,
}

#[derive(Debug, Default)]
struct FakeLogState {
    pages: Vec<CommittedPage>,
    /// The messages of the index.
    writes: Vec<Write>,
    owner: Option<StreamOwner>,
    verdicts: Vec<Verdict>,
    /// Pages until each crash; the next crash is the last element.
    crashes: Vec<usize>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct FakeLog {
    state: Mutex<FakeLogState>,
}

impl FakeLog {
    pub(super) fn crash_after(&self, pages: Vec<usize>) {
        self.state().crashes = pages;
    }

    /// The next owner begins with what the log has.
    pub(super) fn reopen(&self) {
        let mut state = self.state();
        (state.closed, state.owner) = (false, None);
    }

    pub(super) fn position(&self) -> (Option<Checkpoint>, Option<Definitions>) {
        let state = self.state();
        (
            state.pages.last().map(|page| page.checkpoint.clone()),
            state
                .pages
                .iter()
                .rev()
                .find_map(|page| page.definitions.clone()),
        )
    }

    pub(super) fn check_nothing_twice(&self) {
        let state = self.state();
        let mut seen = HashSet::new();
        let mut sequences = HashMap::new();
        for page in &state.pages {
            let run = page.run.as_ref();
            for record in &page.records {
                let run_id = run
                    .map(|run| run.run_id.clone())
                    .expect("records belong to a run");
                assert!(record.fetch_sequence <= page.checkpoint.fetch_sequence);
                let object = &record.object;
                let key = (
                    run_id,
                    object.id,
                    object.updated_at,
                    object.archived,
                    record.deleted,
                );
                assert!(seen.insert(key), "twice in one run: {record:?}");
                let before = sequences.insert(object.id, record.fetch_sequence);
                assert!(
                    before.is_none_or(|before| before < record.fetch_sequence),
                    "{record:?}"
                );
            }
        }
    }

    /// Checks that each record has the hash of its content, by the definitions that
    /// it names.
    pub(super) fn check_hashes(&self) {
        let state = self.state();
        let mut definitions = HashMap::new();
        for page in &state.pages {
            if let Some(new) = &page.definitions {
                definitions.insert(new.version, ContentHasher::new(new));
            }
            for record in &page.records {
                let version = page.checkpoint.definitions_version;
                let hasher = definitions.get_mut(&version).expect("known definitions");
                assert_ne!(record.content_hash, 0, "{record:?}");
                assert_eq!(record.content_hash, record.hash(hasher), "{record:?}");
            }
        }
    }

    /// The verdicts so far.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        self.state().verdicts.clone()
    }

    /// Checks that each verdict says what the log had then.
    pub(super) fn check_verdicts(&self) {
        let state = self.state();
        for verdict in &state.verdicts {
            let mut last = BTreeMap::new();
            let records = state.pages.iter().flat_map(|page| &page.records);
            for record in records.filter(|it| it.fetch_sequence <= verdict.fetch_sequence) {
                last.insert(record.object.id, record);
            }
            last.retain(|_, record| !record.deleted);
            let live = last.values().filter(|it| !it.object.archived).count();
            assert_eq!(verdict.objects, i64::try_from(live).unwrap());
            let mut ranges = verdict.ranges.clone();
            for range in &mut ranges {
                (range.objects, range.digest) = (0, 0);
            }
            for (id, record) in last {
                let index = ranges.partition_point(|it| it.first_id <= id);
                ranges[index - 1].add(id, record.content_hash);
            }
            assert_eq!(ranges, verdict.ranges, "{verdict:?}");
        }
    }

    /// Checks that no run but a first one writes what the log has.
    pub(super) fn check_nothing_repeated(&self) {
        let state = self.state();
        let mut last: HashMap<i64, u64> = HashMap::new();
        for page in &state.pages {
            for record in &page.records {
                let before = last.insert(record.object.id, record.content_hash);
                assert!(
                    page.rewrites || before != Some(record.content_hash),
                    "the log had it: {record:?}"
                );
            }
        }
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.state().pages.iter().map(|it| it.records.len()).sum()
    }

    /// The last run of a reason, as its last page says.
    pub(super) fn last_run(&self, reason: &str) -> Option<Run> {
        let state = self.state();
        let mut runs = state.pages.iter().rev().filter_map(|it| it.run.as_ref());
        runs.find(|run| run.reason == reason).cloned()
    }

    /// Checks that the last record of each object matches the portal, and is the newest
    /// by its version too.
    pub(super) fn check_truth(&self, portal: &FakePortal) {
        self.check_truth_but(portal, &BTreeSet::new());
    }

    /// The same, but for objects of which nothing is known except that they live.
    pub(super) fn check_truth_but(&self, portal: &FakePortal, unknown: &BTreeSet<i64>) {
        let state = self.state();
        let mut last: HashMap<i64, &Record> = HashMap::new();
        let order = |record: &Record| version(record.object.updated_at, record.fetch_sequence);
        for record in state.pages.iter().flat_map(|page| &page.records) {
            if let Some(before) = last.insert(record.object.id, record) {
                assert!(order(before) < order(record), "{before:?} {record:?}");
            }
        }
        let truth = portal.truth();
        for (id, object) in &truth {
            if unknown.contains(id) {
                let is_deleted = last.get(id).is_some_and(|record| record.deleted);
                assert!(!is_deleted, "wrongly deleted: {object:?}");
                continue;
            }
            let record = last
                .get(id)
                .unwrap_or_else(|| panic!("not in the log: {object:?}"));
            // A value that changes with each read makes no version, so a new such
            // property comes with the object's next change.
            let read = without_read_time(&record.object);
            assert_eq!(read, without_read_time(object), "{record:?}");
            assert!(!record.deleted, "wrongly deleted: {record:?}");
        }
        for (id, record) in &last {
            assert!(
                truth.contains_key(id) || record.deleted,
                "not deleted: {record:?}"
            );
        }
    }

    fn owner<T>(&self, ask: impl FnOnce(&mut StreamOwner) -> T) -> T {
        let mut state = self.state();
        let FakeLogState {
            pages,
            writes,
            owner,
            ..
        } = &mut *state;
        ask(owner.get_or_insert_with(|| restored(pages, writes)))
    }

    fn state(&self) -> MutexGuard<'_, FakeLogState> {
        self.state.lock().unwrap()
    }
}

impl Sink for FakeLog {
    async fn submit(&self, mut page: Page) -> Result<(), SinkClosed> {
        yield_now().await;
        let mut state = self.state();
        if let Some(left) = state.crashes.last_mut() {
            if *left == 0 {
                state.crashes.pop();
                state.closed = true;
            } else {
                *left -= 1;
            }
        }
        if state.closed {
            return Err(SinkClosed);
        }
        let FakeLogState {
            pages,
            writes,
            owner,
            verdicts,
            ..
        } = &mut *state;
        let owner = owner.get_or_insert_with(|| restored(pages, writes));
        let definitions = owner.unsent_definitions().cloned();
        let Taken {
            checkpoint,
            run,
            writes: new,
            verdict,
        } = owner.take(&mut page);
        writes.extend(new);
        verdicts.extend(verdict);
        pages.push(CommittedPage {
            records: page.records,
            rewrites: page.rewrites_below.is_some(),
            checkpoint,
            definitions,
            run,
        });
        Ok(())
    }

    fn suspects(&self) -> Suspects {
        self.owner(|owner| owner.suspects())
    }

    fn extent(&self, archived: bool) -> Extent {
        self.owner(|owner| owner.extent(archived))
    }

    fn list_definitions(
        &self,
        listed: Fetched<Vec<Property>>,
        selection: Option<&PropertySelection>,
        begins_full_pass: bool,
    ) -> Listed {
        self.owner(|owner| owner.list_definitions(listed, selection, begins_full_pass))
    }
}

fn restored(pages: &[CommittedPage], writes: &[Write]) -> StreamOwner {
    let mut index = StreamIndex::default();
    for write in writes {
        index.restore(write.key, write.entries.as_deref()).unwrap();
    }
    let definitions = pages.iter().rev().find_map(|page| page.definitions.clone());
    let checkpoint = pages.last().map(|page| page.checkpoint.clone());
    let none = Definitions {
        portal_id: 7,
        object_type: "contacts".to_owned(),
        version: 0,
        fetched_at: 0,
        properties: Vec::new(),
    };
    StreamOwner::new(
        checkpoint.unwrap_or_default(),
        Arc::new(definitions.unwrap_or(none)),
        index,
    )
}

fn without_read_time(object: &Object) -> Object {
    let mut properties = PropertyMapBuilder::default();
    for (name, value) in object.properties.iter() {
        if name != READ_TIME_PROPERTY {
            properties.push(name, value);
        }
    }
    Object {
        properties: properties.finish(),
        ..object.clone()
    }
}
