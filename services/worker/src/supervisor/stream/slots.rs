//! What the slots of a stream know of each other.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use schemas::{Millis, StreamStatus};
use tokio::sync::watch;

use crate::{schedule, status};

/// What the slots of a stream know of each other.
#[derive(Debug)]
pub(super) struct Slots {
    /// Changes when a run of one slot may make a run of another due.
    pub(super) changes: watch::Sender<()>,
    /// Whether the stream is skipped for now.
    is_skipped: AtomicBool,
    /// How often in a row it was skipped.
    skips: AtomicI32,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            changes: watch::Sender::new(()),
            is_skipped: AtomicBool::new(false),
            skips: AtomicI32::new(0),
        }
    }
}

impl Slots {
    /// A run of one slot may have made a run of another due.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    /// The stream is skipped from `now` on. Returns when it is tried again.
    pub(super) fn skip(&self, now: Millis) -> Millis {
        self.is_skipped.store(true, Ordering::Relaxed);
        let skips = self.skips.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        now.saturating_add(schedule::retry_lack(skips))
    }

    /// The stream is tried again.
    pub(super) fn end_skip(&self) {
        self.is_skipped.store(false, Ordering::Relaxed);
    }

    /// A run of the stream has succeeded.
    pub(super) fn succeeded(&self) {
        self.skips.store(0, Ordering::Relaxed);
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
