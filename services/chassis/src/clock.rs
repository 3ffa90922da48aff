//! The time of day as a parameter, so that a test can set it.

use std::{fmt, sync::Arc};

/// Where the time of day comes from.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self {
            now: Arc::new(|| {
                #[expect(clippy::disallowed_methods, reason = "the only place that may read it")]
                chrono::Utc::now().timestamp_millis()
            }),
        }
    }

    /// A clock that a test sets.
    pub fn from_fn(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now) }
    }

    /// Now, in ms since 1970-01-01T00:00:00Z.
    pub fn now_ms(&self) -> i64 {
        (self.now)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}
