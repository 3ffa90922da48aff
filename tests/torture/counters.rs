//! Counters of events, printed at the end of a run.

use std::{collections::BTreeMap, sync::Mutex, time::Instant};

/// Counters by name.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<BTreeMap<String, u64>>,
    worker_kills: Mutex<Vec<Instant>>,
}

impl Counters {
    /// Increments a counter.
    pub(crate) fn count(&self, what: &str) {
        *self
            .counts
            .lock()
            .unwrap()
            .entry(what.to_owned())
            .or_default() += 1;
    }

    /// Counts a kill of a worker, with its time.
    pub(crate) fn worker_killed(&self) {
        self.worker_kills.lock().unwrap().push(Instant::now());
    }

    /// Workers killed so far.
    pub(crate) fn worker_kills(&self) -> u64 {
        self.worker_kills.lock().unwrap().len() as u64
    }

    /// When workers were killed.
    pub(crate) fn kill_times(&self) -> Vec<Instant> {
        self.worker_kills.lock().unwrap().clone()
    }

    /// Other processes killed so far.
    pub(crate) fn other_kills(&self) -> u64 {
        self.sum("killed ")
    }

    /// The sum of all counters whose names have this beginning.
    pub(crate) fn sum(&self, beginning: &str) -> u64 {
        let counts = self.counts.lock().unwrap();
        counts
            .iter()
            .filter(|(name, _)| name.starts_with(beginning))
            .map(|(_, count)| count)
            .sum()
    }

    /// All counters, by name.
    pub(crate) fn lines(&self) -> Vec<(String, u64)> {
        let counts = self.counts.lock().unwrap();
        let mut lines = vec![("worker kills".to_owned(), self.worker_kills())];
        lines.extend(counts.iter().map(|(name, count)| (name.clone(), *count)));
        lines
    }
}
