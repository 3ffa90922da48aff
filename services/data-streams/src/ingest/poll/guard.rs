//! Decides which batches may still be stored and committed across a rebalance.
//!
//! When partitions are revoked, the consumer's thread revokes the assignment
//! here and waits for the batch in flight.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[derive(Debug, Default)]
struct GuardState {
    /// The current assignment: only its batches may begin.
    open: u64,
    /// Batches of this assignment and later ones may commit.
    committable: u64,
    /// How many batches have begun and not ended.
    busy: usize,
}

/// Guards the current assignment of partitions.
#[derive(Debug, Default)]
pub(crate) struct AssignmentGuard {
    state: Mutex<GuardState>,
    ended: Condvar,
}

/// Held by a batch from its beginning to its end.
#[derive(Debug)]
pub(crate) struct BatchPermit<'a> {
    guard: &'a AssignmentGuard,
    generation: u64,
}

impl AssignmentGuard {
    fn lock(&self) -> MutexGuard<'_, GuardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a batch; `None` if its assignment was revoked.
    pub(crate) fn begin(&self, generation: u64) -> Option<BatchPermit<'_>> {
        let mut state = self.lock();
        if state.open != generation {
            return None;
        }
        state.busy += 1;
        Some(BatchPermit {
            guard: self,
            generation,
        })
    }

    /// The current assignment.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().open
    }

    /// Revokes the assignment and returns the next one. No batch of the revoked
    /// assignment begins after this. Waits up to `limit` for a batch that has
    /// begun to end; after that it may no longer commit.
    pub(crate) fn revoke(&self, limit: Duration) -> u64 {
        let mut state = self.lock();
        state.open += 1;
        let (mut state, outcome) = self
            .ended
            .wait_timeout_while(state, limit, |state| state.busy > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            tracing::warn!(
                "the batch in flight took too long for the rebalance; it will be read again"
            );
        }
        state.committable = state.open;
        state.open
    }
}

impl BatchPermit<'_> {
    /// Whether the batch may still commit.
    pub(crate) fn may_commit(&self) -> bool {
        self.generation >= self.guard.lock().committable
    }
}

impl Drop for BatchPermit<'_> {
    fn drop(&mut self) {
        let mut state = self.guard.lock();
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
    fn a_batch_of_a_revoked_assignment_does_not_begin() {
        let guard = AssignmentGuard::default();
        assert!(guard.begin(0).is_some());
        assert_eq!(guard.revoke(Duration::ZERO), 1);
        assert!(guard.begin(0).is_none());
        assert!(guard.begin(1).is_some());
    }

    #[test]
    fn a_revocation_waits_until_the_batch_in_flight_has_ended() {
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
