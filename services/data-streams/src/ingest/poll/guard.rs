//! Which batches may still be stored and committed, across a rebalance.
//!
//! The consumer's thread closes the gate behind an assignment that is taken
//! away, and waits until the batch in flight has passed it. It must not know
//! Kafka, nor what passing means.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

#[derive(Debug, Default)]
struct State {
    /// Batches of this assignment may begin.
    open: u64,
    /// Batches from this assignment on may commit.
    committable: u64,
    /// Batches that have begun.
    busy: usize,
}

/// The gate.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

/// A batch that has begun.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    generation: u64,
}

impl Gate {
    /// Lets a batch begin, if its assignment still holds.
    pub(crate) fn enter(&self, generation: u64) -> Option<Pass<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open != generation {
            return None;
        }
        state.busy += 1;
        Some(Pass {
            gate: self,
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
    pub(crate) fn close(&self, limit: Duration) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open += 1;
        let (mut state, outcome) = self
            .left
            .wait_timeout_while(state, limit, |state| state.busy > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            tracing::warn!("batch in flight took too long for the rebalance: it is read again");
        }
        state.committable = state.open;
        state.open
    }
}

impl Pass<'_> {
    /// Whether the batch may still commit.
    pub(crate) fn may_commit(&self) -> bool {
        let state = self
            .gate
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.generation >= state.committable
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self
            .gate
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.busy = state.busy.saturating_sub(1);
        drop(state);
        self.gate.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_batch_of_an_assignment_that_is_gone_does_not_begin() {
        let gate = Gate::default();
        assert!(gate.enter(0).is_some());
        assert_eq!(gate.close(Duration::ZERO), 1);
        assert!(gate.enter(0).is_none());
        assert!(gate.enter(1).is_some());
    }

    #[test]
    fn the_batch_in_flight_commits_before_the_assignment_is_let_go() {
        let gate = Arc::new(Gate::default());
        let pass = gate.enter(0).unwrap();
        let closing = {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || gate.close(Duration::from_secs(30)))
        };
        while gate.generation() == 0 {
            std::thread::yield_now();
        }
        assert!(pass.may_commit());
        drop(pass);
        assert_eq!(closing.join().unwrap(), 1);
    }

    #[test]
    fn a_batch_that_took_too_long_does_not_commit() {
        let gate = Gate::default();
        let pass = gate.enter(0).unwrap();
        gate.close(Duration::from_millis(1));
        assert!(!pass.may_commit());
    }
}
