//! HubSpot's time: the `Date` of its answers, carried on by the monotonic
//! clock.
//!
//! It must not know the machine's time of day, which may be an hour wrong.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use schemas::Millis;
use tokio::time::Instant;

/// A `Date` names the second in which an answer was made.
const DATE_RESOLUTION_MS: i64 = 1_000;

/// HubSpot's time.
#[derive(Debug)]
pub(super) struct PortalClock {
    origin: Instant,
    /// HubSpot's time at `origin`, as far as is known.
    offset: AtomicI64,
}

impl PortalClock {
    /// A clock that has not heard from HubSpot yet and stands at 1970.
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            offset: AtomicI64::new(0),
        }
    }

    /// HubSpot's time now.
    pub(super) fn now(&self) -> Millis {
        self.offset
            .load(Ordering::Acquire)
            .saturating_add(self.elapsed())
    }

    /// Takes in the `Date` of an answer that took `round_trip`.
    ///
    /// The answer was made within the second of its `Date` and before now, so
    /// HubSpot's time is at least `date`, and at most a second and a round
    /// trip more. Only what lies outside of that is corrected: within it, the
    /// greatest lower bound seen is the better estimate, and it does not
    /// wander with each answer.
    pub(super) fn observe(&self, date: Millis, round_trip: Duration) {
        let elapsed = self.elapsed();
        let round_trip = i64::try_from(round_trip.as_millis()).unwrap_or(i64::MAX);
        let low = date.saturating_sub(elapsed);
        let high = low
            .saturating_add(DATE_RESOLUTION_MS)
            .saturating_add(round_trip);
        let corrected = |offset: i64| match offset {
            offset if offset < low => Some(low),
            offset if offset > high => Some(low),
            _ => None,
        };
        if self
            .offset
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, corrected)
            .is_ok()
        {
            tracing::trace!(date, "hubspot's time was corrected");
        }
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Reads a `Date` header, such as `Tue, 24 Nov 2026 14:56:51 GMT`.
pub(super) fn parse_date(header: &str) -> Option<Millis> {
    chrono::DateTime::parse_from_rfc2822(header)
        .ok()
        .map(|date| date.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_read() {
        assert_eq!(
            parse_date("Tue, 24 Nov 2026 14:56:51 GMT"),
            Some(1_795_532_211_000)
        );
        assert_eq!(parse_date("yesterday"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_between_answers_and_does_not_step_back_within_a_second() {
        let clock = PortalClock::new();
        clock.observe(50_000, Duration::ZERO);
        tokio::time::advance(Duration::from_millis(700)).await;
        assert_eq!(clock.now(), 50_700);
        clock.observe(50_000, Duration::from_millis(40));
        assert_eq!(clock.now(), 50_700, "the same second tells nothing new");
        clock.observe(51_000, Duration::from_millis(40));
        assert_eq!(clock.now(), 51_000, "the second has passed already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_hubspots_clock_is_followed_both_ways() {
        let clock = PortalClock::new();
        clock.observe(50_000, Duration::ZERO);
        clock.observe(3_650_000, Duration::ZERO);
        assert_eq!(clock.now(), 3_650_000);
        clock.observe(50_000, Duration::ZERO);
        assert_eq!(clock.now(), 50_000);
    }
}
