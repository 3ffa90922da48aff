//! The limit per second: requests at an even pace, and a pause after a refusal.

use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use schemas::WindowUse;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, sleep_until},
};

use super::window_use;

/// Requests are spaced 3% wider than the limit needs, as they can move closer
/// together on the way to HubSpot.
const STRETCH_PERCENT: u32 = 103;
/// The pause grows by a second with each refusal in a row, up to this many seconds.
const MAX_PAUSE_S: u32 = 10;

/// A bucket with an even pace. A token bucket would allow a burst, which a rolling
/// second does not.
#[derive(Debug)]
pub(super) struct Paced {
    limiter: Option<RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Nanos>>>,
    clock: RuntimeClock,
    pause: watch::Sender<Pause>,
    /// Requests per interval; `None` is no limit.
    limit: Option<NonZeroU32>,
    interval: Duration,
    /// When the last requests were sent, at most as many as the limit.
    sent: watch::Sender<VecDeque<Instant>>,
    /// Requests wait in the order in which they came.
    queue: Mutex<()>,
}

#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    refusals: u32,
}

impl Paced {
    /// A bucket of `limit` requests per `interval`; `None` is no limit.
    pub(super) fn new(limit: Option<NonZeroU32>, interval: Duration) -> Self {
        let clock = RuntimeClock {
            origin: Instant::now(),
        };
        let limiter = limit.and_then(|limit| {
            Quota::with_period(interval * STRETCH_PERCENT / 100 / limit.get())
                .map(|quota| RateLimiter::direct_with_clock(quota, clock.clone()))
        });
        Self {
            limiter,
            clock,
            pause: watch::Sender::default(),
            limit,
            interval,
            sent: watch::Sender::default(),
            queue: Mutex::new(()),
        }
    }

    /// Waits until a request may be sent, and counts it.
    pub(super) async fn acquire(&self) {
        let _next = self.queue.lock().await;
        loop {
            let paused_until = self.pause.borrow().until;
            if let Some(until) = paused_until.filter(|until| *until > Instant::now()) {
                sleep_until(until).await;
                continue;
            }
            let Some(limiter) = &self.limiter else { return };
            match limiter.check() {
                Ok(()) => return self.note_sent(),
                Err(early) => sleep(early.wait_time_from(self.clock.now())).await,
            }
        }
    }

    fn note_sent(&self) {
        let most = self.limit.map_or(0, |limit| limit.get() as usize);
        self.sent.send_if_modified(|sent| {
            sent.push_back(Instant::now());
            let above = sent.len().saturating_sub(most);
            sent.drain(..above);
            false
        });
    }

    /// How much of the limit is used.
    pub(super) fn used(&self) -> Option<WindowUse> {
        let sent = self.sent.borrow();
        let recent = sent.iter().filter(|at| at.elapsed() < self.interval);
        let limit = self.limit.map(NonZeroU32::get);
        window_use(limit, recent.count(), self.interval)
    }

    /// HubSpot refused a request.
    pub(super) fn refused(&self, retry_after: Option<Duration>) {
        self.pause.send_modify(|pause| {
            pause.refusals = pause.refusals.saturating_add(1);
            let seconds = u64::from(pause.refusals.min(MAX_PAUSE_S));
            let until = Instant::now() + retry_after.unwrap_or(Duration::from_secs(seconds));
            pause.until = Some(pause.until.map_or(until, |other| other.max(until)));
        });
    }

    /// HubSpot accepted a request.
    pub(super) fn accepted(&self) {
        self.pause.send_if_modified(|pause| {
            pause.refusals = 0;
            false
        });
    }
}

/// The runtime's clock, which tests can pause.
#[derive(Debug, Clone)]
struct RuntimeClock {
    origin: Instant,
}

impl Clock for RuntimeClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.origin.elapsed().into()
    }
}
