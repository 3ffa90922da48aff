//! A sink in memory that closes after a given number of pages.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard},
};

use schemas::{Checkpoint, ContentHasher, Definitions, FullPass, version};
use tokio::task::yield_now;

use super::{
    super::{Page, Record, Sink, SinkClosed},
    fake_portal::FakePortal,
};

#[derive(Debug, Default)]
struct FakeLogState {
    pages: Vec<Page>,
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

    pub(super) fn reopen(&self) {
        self.state().closed = false;
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
            let run = page.checkpoint.run.as_ref();
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

    /// Checks that the last version of each object matches the portal.
    pub(super) fn check_truth(&self, portal: &FakePortal, full_pass: Option<&FullPass>) {
        let state = self.state();
        let mut last: HashMap<i64, &Record> = HashMap::new();
        for record in state.pages.iter().flat_map(|page| &page.records) {
            let order = |record: &Record| version(record.object.updated_at, record.fetch_sequence);
            let known = last.entry(record.object.id).or_insert(record);
            if order(record) > order(known) {
                *known = record;
            }
        }
        let is_gone = |record: &Record| {
            record.deleted
                || full_pass.is_some_and(|pass| record.fetch_sequence < pass.began_sequence)
        };
        let truth = portal.truth();
        for (id, object) in &truth {
            let record = last
                .get(id)
                .unwrap_or_else(|| panic!("not in the log: {object:?}"));
            assert_eq!(&record.object, object, "{record:?}");
            assert!(!is_gone(record), "wrongly gone: {record:?}");
        }
        for (id, record) in &last {
            assert!(
                truth.contains_key(id) || is_gone(record),
                "not marked as gone: {record:?}"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, FakeLogState> {
        self.state.lock().unwrap()
    }
}

impl Sink for FakeLog {
    async fn submit(&self, page: Page) -> Result<(), SinkClosed> {
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
        state.pages.push(page);
        Ok(())
    }

    async fn settle(&self) -> Result<(), SinkClosed> {
        Ok(())
    }

    async fn end_offsets(&self) -> Result<Vec<i64>, SinkClosed> {
        Ok(vec![i64::try_from(self.state().pages.len()).unwrap()])
    }
}
