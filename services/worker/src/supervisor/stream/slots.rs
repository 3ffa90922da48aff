//! What the slots of a stream know of each other.

use std::sync::atomic::{AtomicBool, Ordering};

use schemas::StreamStatus;
use tokio::sync::watch;

use crate::status;

/// What the slots of a stream know of each other.
#[derive(Debug)]
pub(super) struct Slots {
    /// Changes when a run of one slot may make a run of another due.
    pub(super) changes: watch::Sender<()>,
    /// Whether the stream is skipped until the next command.
    is_skipped: AtomicBool,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            changes: watch::Sender::new(()),
            is_skipped: AtomicBool::new(false),
        }
    }
}

impl Slots {
    /// A run of one slot may have made a run of another due.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    /// The stream is skipped until the next command.
    pub(super) fn skip(&self, view: &mut StreamStatus) {
        self.is_skipped.store(true, Ordering::Relaxed);
        self.show_phase(view);
    }

    /// The next command lets the stream be tried again.
    pub(super) fn end_skip(&self) {
        self.is_skipped.store(false, Ordering::Relaxed);
    }

    /// Shows what the runs of all slots are doing.
    pub(super) fn show_phase(&self, view: &mut StreamStatus) {
        let phase = if self.is_skipped.load(Ordering::Relaxed) {
            "skipped"
        } else {
            status::phase(view)
        };
        status::set_phase(view, phase);
    }
}
