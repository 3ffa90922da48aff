//! What was read of the control topics, and who waits for it.
//!
//! It must not know how it is read, nor what it is used for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{follow::Kind, state::State};

/// What was read of the topics, with a signal for every change.
#[derive(Debug, Clone)]
pub struct View {
    read: Arc<Mutex<Read>>,
    pub(super) changed: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) state: State,
    /// Next offset by partition of the commands topic.
    positions: Vec<i64>,
    has_commands: bool,
    has_status: bool,
}

impl Read {
    pub(super) fn caught_up(&self) -> bool {
        self.has_commands && self.has_status
    }
}

impl View {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self {
            read: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was read, then tells everyone who waits.
    pub(crate) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock().state);
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Notes that a partition of the commands topic was read up to `next`.
    pub(crate) fn advance(&self, partition: i32, next: i64) {
        let mut read = self.lock();
        let place = usize::try_from(partition).unwrap_or_default();
        if read.positions.len() <= place {
            read.positions.resize(place + 1, 0);
        }
        if let Some(position) = read.positions.get_mut(place) {
            *position = next.max(*position);
        }
        drop(read);
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Notes that all partitions of a topic were read to their end.
    pub(crate) fn caught_up(&self, kind: Kind) {
        let mut read = self.lock();
        match kind {
            Kind::Commands => read.has_commands = true,
            Kind::Status => read.has_status = true,
        }
        drop(read);
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(super) fn has_read(&self, partition: i32, offset: i64) -> bool {
        let place = usize::try_from(partition).unwrap_or_default();
        self.lock()
            .positions
            .get(place)
            .is_some_and(|next| *next > offset)
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}
