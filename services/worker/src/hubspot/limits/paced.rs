//! The limits per second: an even pace, and a pause after a refusal.
//!
//! It must not know what a request asks for.

use std::{num::NonZeroU32, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};

/// Requests are this much further apart than the limit asks for: on the way
/// to HubSpot some move closer together.
const STRETCH_PERCENT: u32 = 103;
/// A pause grows by a second with each refusal in a row, up to this many.
const LONGEST_PAUSE_S: u32 = 10;

/// A bucket with an even pace. A burst would be allowed by a token bucket, but
/// not by a rolling second.
#[derive(Debug)]
pub(super) struct Paced {
    /// From one request to the next; `None` for any number.
    spacing: Option<Duration>,
    /// When the next request may be sent. Waiting for the lock is the queue.
    next: Mutex<Instant>,
    pause: watch::Sender<Pause>,
}

#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    refusals: u32,
}

impl Paced {
    /// A bucket of `limit` requests per `interval`; `None` for any number.
    pub(super) fn new(limit: Option<NonZeroU32>, interval: Duration) -> Self {
        Self {
            spacing: limit.map(|limit| interval * STRETCH_PERCENT / 100 / limit.get()),
            next: Mutex::new(Instant::now()),
            pause: watch::Sender::default(),
        }
    }

    /// Waits until a request may be sent, and counts it.
    pub(super) async fn acquire(&self) {
        let mut next = self.next.lock().await;
        loop {
            let paused_until = self.pause.borrow().until;
            let at = paused_until.map_or(*next, |until| until.max(*next));
            let now = Instant::now();
            if at <= now {
                *next = now + self.spacing.unwrap_or_default();
                return;
            }
            sleep_until(at).await;
        }
    }

    /// HubSpot refused a request.
    pub(super) fn refused(&self, retry_after: Option<Duration>) {
        self.pause.send_modify(|pause| {
            pause.refusals = pause.refusals.saturating_add(1);
            let seconds = u64::from(pause.refusals.min(LONGEST_PAUSE_S));
            let until = Instant::now() + retry_after.unwrap_or(Duration::from_secs(seconds));
            pause.until = Some(pause.until.map_or(until, |other| other.max(until)));
        });
    }

    /// HubSpot took a request.
    pub(super) fn accepted(&self) {
        self.pause.send_if_modified(|pause| {
            pause.refusals = 0;
            false
        });
    }
}
