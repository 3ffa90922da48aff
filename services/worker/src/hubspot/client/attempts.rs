//! How often a call is tried, and after which pauses.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::hubspot::call::Call;

/// Time since the first attempt after which a call is not tried again.
const GIVE_UP_AFTER: Duration = Duration::from_mins(5);
/// Attempts at a read of several objects before less is asked for: one in a thousand
/// reads then shrinks for nothing where a tenth of all requests fails.
const ATTEMPTS_BEFORE_SHRINKING: u32 = 3;
/// Time after which no further one is made: a page that times out after 30 s does so
/// once for each size.
const SHRINK_AFTER: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The attempts at a call so far.
pub(super) struct Attempts {
    pub(super) began: Instant,
    pub(super) count: u32,
    /// Generation of the token of the last attempt.
    pub(super) token: Option<u64>,
    pub(super) renewed: bool,
    pause: Duration,
}

impl Attempts {
    /// None so far.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            count: 0,
            token: None,
            renewed: false,
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn are_spent(&self, call: &Call) -> bool {
        self.count >= call.attempts || self.began.elapsed() >= GIVE_UP_AFTER
    }

    pub(super) fn are_enough_to_shrink(&self) -> bool {
        self.count >= ATTEMPTS_BEFORE_SHRINKING || self.began.elapsed() >= SHRINK_AFTER
    }

    /// Doubles each time. A random 50 to 100% of it is used, so that requests
    /// that failed together are not retried together.
    pub(super) fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_times_out_once_is_not_repeated_before_it_shrinks() {
        let attempts = |count| Attempts {
            count,
            ..Attempts::new()
        };
        assert!(!attempts(2).are_enough_to_shrink());
        assert!(attempts(3).are_enough_to_shrink());
        let timed_out = attempts(1);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(timed_out.are_enough_to_shrink());
    }
}
