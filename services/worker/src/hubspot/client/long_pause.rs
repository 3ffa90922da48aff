//! Long pauses that HubSpot asks for.

use std::sync::atomic::{AtomicI64, Ordering};

use schemas::Millis;

use crate::hubspot::limits::Bucket;

/// Pauses that HubSpot has asked for and that are too long to wait without a word, by
/// the limit: until when.
#[derive(Debug, Default)]
pub(super) struct LongPause {
    general: AtomicI64,
    search: AtomicI64,
    associations: AtomicI64,
}

impl LongPause {
    fn of(&self, bucket: Bucket) -> &AtomicI64 {
        match bucket {
            Bucket::General | Bucket::Lists => &self.general,
            Bucket::Search => &self.search,
            Bucket::Associations => &self.associations,
        }
    }

    pub(super) fn begin(&self, bucket: Bucket, until: Millis) {
        self.of(bucket).fetch_max(until, Ordering::Relaxed);
    }

    /// The end of a pause that has not ended.
    pub(super) fn until(&self, bucket: Bucket, now: Millis) -> Option<Millis> {
        Some(self.of(bucket).load(Ordering::Relaxed)).filter(|until| *until > now)
    }
}
