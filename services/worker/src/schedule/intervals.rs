//! How often passes are made: as their connection sets it, unless the worker overrides it.

use schemas::{Millis, ReconcileIntervals};

use super::Settings;

impl Settings {
    /// How often the passes of a connection with these intervals are made.
    pub(crate) fn passes(&self, set: ReconcileIntervals) -> PassIntervals {
        let scheduled = |override_ms: Option<Millis>, set_ms: Millis| {
            override_ms.or_else(|| (set_ms > 0).then_some(set_ms))
        };
        PassIntervals {
            late: scheduled(self.late_interval, set.late_ms),
            archived: scheduled(self.archived_interval, set.archived_ms),
            full: scheduled(self.full_interval, set.full_ms),
        }
    }
}

/// From the start of one pass to the start of the next, in ms; `None` where none are
/// scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PassIntervals {
    /// Of `late` runs.
    pub(crate) late: Option<Millis>,
    /// Of `archived` runs.
    pub(crate) archived: Option<Millis>,
    /// Of `full` runs.
    pub(crate) full: Option<Millis>,
}
