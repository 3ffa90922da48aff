//! HubSpot's time: the `Date` of its answers plus the time measured since.
//!
//! It must not know the machine's time of day, which may be an hour wrong.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use schemas::Millis;
use tokio::time::Instant;

/// A `Date` header has whole seconds.
const DATE_RESOLUTION_MS: i64 = 1_000;

/// HubSpot's time.
#[derive(Debug)]
pub(super) struct PortalClock {
    origin: Instant,
    /// HubSpot's time at `origin`, in ms since 1970.
    offset: AtomicI64,
}

impl PortalClock {
    /// A clock before the first answer: it starts at 1970.
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

    /// Adjusts the clock to the `Date` of an answer that took `round_trip`.
    ///
    /// HubSpot wrote the `Date` during that second and before now, so its time
    /// is at least `date` and at most a second and a round trip more. The clock
    /// moves only if it is outside of these bounds: within them, the greatest
    /// lower bound so far is the better estimate and does not jitter.
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
            tracing::trace!(date, "adjusted the clock to hubspot's date");
        }
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Parses a `Date` header, such as `Tue, 24 Nov 2026 14:56:51 GMT`.
pub(super) fn parse_date(header: &str) -> Option<Millis> {
    chrono::DateTime::parse_from_rfc2822(header)
        .ok()
        .map(|date| date.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_parsed() {
        assert_eq!(
            parse_date("Tue, 24 Nov 2026 14:56:51 GMT"),
            Some(1_795_532_211_000)
        );
        assert_eq!(parse_date("yesterday"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_advances_between_answers_and_does_not_step_back_within_a_second() {
        let clock = PortalClock::new();
        clock.observe(50_000, Duration::ZERO);
        tokio::time::advance(Duration::from_millis(700)).await;
        assert_eq!(clock.now(), 50_700);
        clock.observe(50_000, Duration::from_millis(40));
        assert_eq!(clock.now(), 50_700, "the same second is no news");
        clock.observe(51_000, Duration::from_millis(40));
        assert_eq!(clock.now(), 51_000, "the second has passed already");
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_jumps_forward_and_back_with_hubspots() {
        let clock = PortalClock::new();
        clock.observe(50_000, Duration::ZERO);
        clock.observe(3_650_000, Duration::ZERO);
        assert_eq!(clock.now(), 3_650_000);
        clock.observe(50_000, Duration::ZERO);
        assert_eq!(clock.now(), 50_000);
    }
}
