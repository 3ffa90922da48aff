//! What the slots of a stream know of each other.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use schemas::{Millis, StreamStatus};
use tokio::sync::watch;

use crate::{schedule, status};

/// What the slots of a stream know of each other.
#[derive(Debug)]
pub(super) struct Slots {
    /// Changes when a run of one slot may make a run of another due.
    pub(super) changes: watch::Sender<()>,
    /// HubSpot's time until which the stream is skipped; 0 while it is not.
    skipped_until: AtomicI64,
    /// How often in a row it was skipped.
    skips: AtomicI32,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            changes: watch::Sender::new(()),
            skipped_until: AtomicI64::new(0),
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
        let skips = self.skips.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let until = now.saturating_add(schedule::retry_lack(skips));
        self.skipped_until.store(until, Ordering::Relaxed);
        until
    }

    /// The stream is tried again.
    pub(super) fn end_skip(&self) {
        self.skipped_until.store(0, Ordering::Relaxed);
    }

    /// A run of the stream has succeeded.
    pub(super) fn succeeded(&self) {
        self.skips.store(0, Ordering::Relaxed);
    }

    /// Shows what the runs of all slots are doing, and when the `next` one is due: while
    /// the stream is skipped, when it is tried again.
    pub(super) fn show_phase(&self, view: &mut StreamStatus, next: Option<Millis>) {
        match self.skipped_until.load(Ordering::Relaxed) {
            0 => {
                status::set_phase(view, status::phase(view));
                view.next_run_at = next;
            }
            until => {
                status::set_phase(view, "skipped");
                view.next_run_at = Some(until);
            }
        }
    }
}
