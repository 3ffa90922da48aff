//! How long membership of the group is certain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// When membership was last confirmed, by the monotonic clock, which continues
/// while the process is paused.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    origin: Instant,
    /// Start of the last successful confirmation, in ms since `origin`, plus
    /// one; 0 while there is none.
    confirmed: Arc<AtomicU64>,
    span: Duration,
}

impl Lease {
    /// A lease that is not held yet. Each confirmation holds it for `span`.
    pub(crate) fn new(span: Duration) -> Self {
        Self {
            origin: Instant::now(),
            confirmed: Arc::default(),
            span,
        }
    }

    /// A request sent at `sent` found that this process is a member. The time
    /// of sending counts, as the broker may have answered right after it.
    pub(crate) fn confirm(&self, sent: Instant) {
        let ms = sent.saturating_duration_since(self.origin).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX - 1);
        self.confirmed.fetch_max(ms + 1, Ordering::SeqCst);
    }

    /// Membership ended.
    pub(crate) fn lose(&self) {
        self.confirmed.store(0, Ordering::SeqCst);
    }

    /// Whether membership is certain now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh_at(Instant::now())
    }

    /// Whether membership was confirmed by a request sent after `since`.
    pub(crate) fn is_confirmed_since(&self, since: Instant) -> bool {
        let confirmed = self.confirmed.load(Ordering::SeqCst);
        confirmed > 0 && self.origin + Duration::from_millis(confirmed - 1) > since
    }

    fn is_fresh_at(&self, now: Instant) -> bool {
        let Some(ms) = self.confirmed.load(Ordering::SeqCst).checked_sub(1) else {
            return false;
        };
        now.saturating_duration_since(self.origin + Duration::from_millis(ms)) < self.span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_held_for_its_span_after_the_request_was_sent() {
        let lease = Lease::new(Duration::from_secs(4));
        let sent = Instant::now();
        assert!(!lease.is_fresh_at(sent));
        lease.confirm(sent);
        assert!(lease.is_fresh_at(sent + Duration::from_millis(3_990)));
        assert!(!lease.is_fresh_at(sent + Duration::from_millis(4_001)));
    }

    #[test]
    fn an_older_confirmation_does_not_shorten_it_and_a_loss_ends_it() {
        let lease = Lease::new(Duration::from_secs(4));
        let sent = Instant::now() + Duration::from_secs(1);
        lease.confirm(sent);
        lease.confirm(Instant::now());
        assert!(lease.is_fresh_at(sent + Duration::from_secs(3)));
        lease.lose();
        assert!(!lease.is_fresh_at(sent));
    }
}
