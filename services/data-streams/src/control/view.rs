//! What was read of the control topics, shared between the readers and the
//! requests that wait for a change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{CommandPosition, follow::Kind, state::Connections};

/// What was read of the topics, with a signal at every change.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    read: Arc<Mutex<ReadState>>,
    /// Counts the changes.
    pub(super) changed: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
pub(super) struct ReadState {
    pub(super) connections: Connections,
    /// Next offset by partition of the commands topic.
    next_offsets: Vec<i64>,
    has_commands: bool,
    has_status: bool,
}

impl ReadState {
    /// Whether the commands were read to their end once.
    pub(super) fn has_commands(&self) -> bool {
        self.has_commands
    }

    /// Whether both topics were read to their end once.
    pub(super) fn caught_up(&self) -> bool {
        self.has_commands && self.has_status
    }
}

impl View {
    /// Locks what was read.
    pub(super) fn lock(&self) -> MutexGuard<'_, ReadState> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a message, then wakes everyone who waits.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Connections)) {
        change(&mut self.lock().connections);
        self.signal();
    }

    /// Notes that a partition of the commands topic was read up to `next`.
    pub(crate) fn advance(&self, partition: i32, next: i64) {
        let mut read = self.lock();
        let index = usize::try_from(partition).unwrap_or_default();
        if read.next_offsets.len() <= index {
            read.next_offsets.resize(index + 1, 0);
        }
        if let Some(offset) = read.next_offsets.get_mut(index) {
            *offset = next.max(*offset);
        }
        drop(read);
        self.signal();
    }

    /// Notes that all partitions of a topic were read to their end.
    pub(crate) fn caught_up(&self, kind: Kind) {
        let mut read = self.lock();
        match kind {
            Kind::Commands => read.has_commands = true,
            Kind::Status => read.has_status = true,
        }
        drop(read);
        self.signal();
    }

    /// Whether the command at this position was read.
    pub(super) fn has_read(&self, command: CommandPosition) -> bool {
        let index = usize::try_from(command.partition).unwrap_or_default();
        self.lock()
            .next_offsets
            .get(index)
            .is_some_and(|next| *next > command.offset)
    }

    fn signal(&self) {
        self.changed
            .send_modify(|version| *version = version.wrapping_add(1));
    }
}

#[cfg(test)]
impl View {
    /// The last command of a connection.
    pub(crate) fn last_command(&self, connection: &str) -> schemas::Command {
        let read = self.lock();
        let connection = read.connections.get(connection).unwrap();
        connection.last_command().unwrap().clone()
    }
}
