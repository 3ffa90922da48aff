//! Which batches may still be stored and committed, across a rebalance.
//!
//! The consumer's thread closes the guard behind an assignment that is taken
//! away, and waits until the batch in flight has passed it. It must not know
//! Kafka, nor what passing means.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

#[derive(Debug, Default)]
struct GuardState {
    /// Batches of this assignment may begin.
    open: u64,
    /// Batches from this assignment on may commit.
    committable: u64,
    /// Batches that have begun.
    busy: usize,
}

/// The guard.
#[derive(Debug, Default)]
pub(crate) struct AssignmentGuard {
    state: Mutex<GuardState>,
    ended: Condvar,
}

/// A batch that has begun.
#[derive(Debug)]
pub(crate) struct BatchPermit<'a> {
    guard: &'a AssignmentGuard,
    generation: u64,
}

impl AssignmentGuard {
    /// Lets a batch begin, if its assignment still holds.
    pub(crate) fn begin(&self, generation: u64) -> Option<BatchPermit<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open != generation {
            return None;
        }
        state.busy += 1;
        Some(BatchPermit {
            guard: self,
            generation,
        })
    }

    /// The assignment that holds.
    pub(crate) fn generation(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open
    }

    /// Ends the assignment: no batch of it begins any more, and the one that
    /// has begun may take `limit` to end and to commit.
    pub(crate) fn revoke(&self, limit: Duration) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open += 1;
        let (mut state, outcome) = self
            .ended
            .wait_timeout_while(state, limit, |state| state.busy > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            tracing::warn!("batch in flight took too long for the rebalance: it is read again");
        }
        state.committable = state.open;
        state.open
    }
}

impl BatchPermit<'_> {
    /// Whether the batch may still commit.
    pub(crate) fn may_commit(&self) -> bool {
        let state = self
            .guard
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.generation >= state.committable
    }
}

impl Drop for BatchPermit<'_> {
    fn drop(&mut self) {
        let mut state = self
            .guard
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.busy = state.busy.saturating_sub(1);
        drop(state);
        self.guard.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_batch_of_an_assignment_that_is_gone_does_not_begin() {
        let guard = AssignmentGuard::default();
        assert!(guard.begin(0).is_some());
        assert_eq!(guard.revoke(Duration::ZERO), 1);
        assert!(guard.begin(0).is_none());
        assert!(guard.begin(1).is_some());
    }

    #[test]
    fn the_batch_in_flight_commits_before_the_assignment_is_let_go() {
        let guard = Arc::new(AssignmentGuard::default());
        let permit = guard.begin(0).unwrap();
        let closing = {
            let guard = Arc::clone(&guard);
            std::thread::spawn(move || guard.revoke(Duration::from_secs(30)))
        };
        while guard.generation() == 0 {
            std::thread::yield_now();
        }
        assert!(permit.may_commit());
        drop(permit);
        assert_eq!(closing.join().unwrap(), 1);
    }

    #[test]
    fn a_batch_that_took_too_long_does_not_commit() {
        let guard = AssignmentGuard::default();
        let permit = guard.begin(0).unwrap();
        guard.revoke(Duration::from_millis(1));
        assert!(!permit.may_commit());
    }
}
