//! HubSpot's clock: the machine's, plus an offset that tests set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The simulated time of day.
#[derive(Debug, Clone, Default)]
pub struct SimClock {
    offset_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock that shows `now_ms` now, in ms since 1970.
    pub(crate) fn at(now_ms: i64) -> Self {
        let clock = Self::default();
        let offset_ms = now_ms - machine_ms();
        clock.offset_ms.store(offset_ms, Ordering::SeqCst);
        clock
    }

    /// HubSpot's time, in ms since 1970.
    pub fn now_ms(&self) -> i64 {
        machine_ms() + self.offset_ms.load(Ordering::SeqCst)
    }

    /// Moves HubSpot's clock forward.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(0);
        self.offset_ms.fetch_add(by, Ordering::SeqCst);
    }
}

/// The machine's time, in ms since 1970.
pub(crate) fn machine_ms() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
