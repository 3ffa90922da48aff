//! How long answers take, and how many requests therefore have to overlap.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Requests in a window without a limit: in an eighth of it, 800 pages a second,
/// which is more than a worker parses.
const UNLIMITED: u32 = 1_000;
/// A window's requests can be sent within this share of the window: with fewer in
/// flight, a start that was late is never made up for, and with more, requests wait
/// for the limit and not for HubSpot.
const WINDOW_SHARE: u32 = 8;
/// Weight of earlier answers in the mean.
const WEIGHT: u64 = 8;

/// The moving mean of the time from a request to the headers of its answer.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// In microseconds; 0 before the first answer.
    mean: AtomicU64,
}

impl Latency {
    /// An answer took this long.
    pub(super) fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX / WEIGHT)
            .max(1);
        let next = |mean: u64| match mean {
            0 => Some(took),
            mean => Some(mean.saturating_mul(WEIGHT - 1).saturating_add(took) / WEIGHT),
        };
        // It has no error, as `next` always returns a value.
        let _before = self
            .mean
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// How many requests have to be in flight to send `limit` of them, or as many as
    /// a worker can without a limit, in an eighth of `interval`. `None` before the
    /// first answer.
    pub(super) fn overlap(&self, limit: Option<u32>, interval: Duration) -> Option<usize> {
        let mean = self.mean.load(Ordering::Relaxed);
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let share = (interval / u64::from(WINDOW_SHARE)).max(1);
        let needed = mean
            .saturating_mul(u64::from(limit.unwrap_or(UNLIMITED)))
            .div_ceil(share);
        (mean > 0).then(|| usize::try_from(needed).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn requests_overlap_more_where_answers_take_longer_and_the_limit_is_higher() {
        let latency = Latency::default();
        assert_eq!(latency.overlap(Some(190), WINDOW), None);
        latency.observe(Duration::from_millis(300));
        assert_eq!(latency.overlap(Some(190), WINDOW), Some(46));
        assert_eq!(latency.overlap(Some(100), WINDOW), Some(24));
        for _ in 0..100 {
            latency.observe(Duration::from_millis(50));
        }
        assert_eq!(latency.overlap(Some(190), WINDOW), Some(8));
        for _ in 0..100 {
            latency.observe(Duration::from_millis(10));
        }
        assert_eq!(latency.overlap(None, WINDOW), Some(8));
    }
}
