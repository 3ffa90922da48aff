//! Rate limits: when a request may be sent. All streams of a portal share them.

mod daily;
mod paced;
mod window;

#[cfg(test)]
mod tests;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use reqwest::header::HeaderMap;
use schemas::{Budget, Millis, WindowUse};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

pub(super) use self::daily::Daily;
use self::{
    paced::Paced,
    window::{Reading, Window, WindowSlot},
};
use super::{Limit, waits::Waits};

/// Requests per window until an answer names the limit: the smallest of any kind
/// of app (HubSpot's usage guidelines).
const FIRST_GUESS: u32 = 100;
/// Requests for associations per window: the smallest limit of any account (HubSpot's
/// guide to associations). Their answers do not name it.
const ASSOCIATIONS: u32 = 100;
/// Length of the windows (usage guidelines).
const TEN_SECONDS: Duration = Duration::from_secs(10);
/// Searches per second of all apps of an account together (usage guidelines).
const SEARCHES_PER_SECOND: u32 = 5;
/// Requests in flight at once.
const MAX_IN_FLIGHT: usize = 100;

const WAIT_SECONDS: &str = "worker_hubspot_limit_wait_seconds";

/// The limit that a request counts against, beside the daily one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bucket {
    /// All other requests.
    General,
    /// Pages of lists, of which a pass makes many: they count as general ones, and let
    /// all of those pass.
    Lists,
    /// Searches of all object types.
    Search,
    /// Associations, which do not count as general ones.
    Associations,
}

/// The limits of one portal.
#[derive(Debug)]
pub(super) struct Limits {
    general: Arc<Window>,
    search: Arc<Paced>,
    associations: Arc<Window>,
    /// The daily allowance.
    pub(super) daily: Daily,
    slots: Arc<Semaphore>,
    /// How long requests have waited.
    pub(super) waits: Arc<Waits>,
}

/// Permission to send one request now. Held until its body has been read.
#[derive(Debug)]
pub(super) struct Permit {
    spent: Spent,
    slot: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Spent {
    Window(WindowSlot),
    Search(Arc<Paced>),
    Answered,
}

impl Limits {
    /// Limits as configured.
    pub(super) fn new(general: Limit, search: Limit, reserve_percent: u32) -> Self {
        let window = match general {
            Limit::Auto => Window::new(Some(FIRST_GUESS), true, TEN_SECONDS),
            Limit::Fixed(limit) => Window::new(Some(limit.get()), false, TEN_SECONDS),
            Limit::Off => Window::new(None, false, TEN_SECONDS),
        };
        let per_second = match search {
            Limit::Auto => NonZeroU32::new(SEARCHES_PER_SECOND),
            Limit::Fixed(limit) => Some(limit),
            Limit::Off => None,
        };
        Self {
            general: Arc::new(window),
            search: Arc::new(Paced::new(per_second, Duration::from_secs(1))),
            associations: Arc::new(Window::new(
                (general != Limit::Off).then_some(ASSOCIATIONS),
                false,
                TEN_SECONDS,
            )),
            daily: Daily::new(reserve_percent, general != Limit::Off),
            slots: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            waits: Arc::default(),
        }
    }

    /// Waits until a request may be sent, in the order of the calls; pages of lists wait
    /// until no other request does.
    pub(super) async fn acquire(&self, bucket: Bucket) -> Permit {
        let began = Instant::now();
        let spent = match bucket {
            Bucket::General => Spent::Window(self.general.acquire(false).await),
            Bucket::Lists => Spent::Window(self.general.acquire(true).await),
            Bucket::Search => {
                self.search.acquire().await;
                Spent::Search(Arc::clone(&self.search))
            }
            Bucket::Associations => Spent::Window(self.associations.acquire(false).await),
        };
        // After the bucket, so that requests waiting for one bucket do not take
        // slots from the other.
        // INVARIANT: the semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let waited = began.elapsed();
        self.waits.add(bucket, waited);
        metrics::histogram!(WAIT_SECONDS, "bucket" => bucket.label()).record(waited.as_secs_f64());
        Permit { spent, slot }
    }

    /// From now on pages of lists leave room for other requests at any time.
    pub(super) fn spread_lists(&self) {
        self.general.spread_lists();
    }

    /// How much of the limits is used.
    pub(super) fn budget(&self, now: Millis) -> Budget {
        Budget {
            at: now,
            general: self.general.used(),
            search: self.search.used(),
            day: self.daily.used(now),
        }
    }

    /// HubSpot refused a request of the bucket with status 429.
    pub(super) fn refused(&self, bucket: Bucket, retry_after: Option<Duration>) {
        match bucket {
            Bucket::General | Bucket::Lists => self.general.refused(retry_after),
            Bucket::Search => self.search.refused(retry_after),
            Bucket::Associations => self.associations.refused(retry_after),
        }
    }

    /// Reads the daily allowance from the headers of an answer.
    pub(super) fn observe_daily(&self, headers: &HeaderMap, now: Millis) {
        let limit = number(headers, "x-hubspot-ratelimit-daily");
        let remaining = number(headers, "x-hubspot-ratelimit-daily-remaining");
        if let (Some(limit), Some(remaining)) = (limit, remaining) {
            self.daily.observe(limit, remaining, now);
        }
    }
}

impl Permit {
    /// The headers of the answer have arrived.
    pub(super) fn answered(&mut self, headers: &HeaderMap, refused: bool) {
        match std::mem::replace(&mut self.spent, Spent::Answered) {
            Spent::Window(used) => used.answered(reading(headers), refused),
            Spent::Search(search) if !refused => search.accepted(),
            Spent::Search(_) | Spent::Answered => {}
        }
    }

    /// The request was not sent, so it does not count.
    pub(super) fn unused(self) {
        drop(self.slot);
        if let Spent::Window(used) = self.spent {
            used.unused();
        }
    }
}

/// How much of a limit per window is used; `None` without a limit.
fn window_use(limit: Option<u32>, used: usize, window: Duration) -> Option<WindowUse> {
    let number = |it: u128| i32::try_from(it).unwrap_or(i32::MAX);
    limit.map(|limit| WindowUse {
        limit: number(u128::from(limit)),
        used: number(used as u128),
        window_ms: number(window.as_millis()),
    })
}

impl Bucket {
    pub(super) const ALL: [Self; 4] =
        [Self::General, Self::Lists, Self::Search, Self::Associations];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Lists => "lists",
            Self::Search => "search",
            Self::Associations => "associations",
        }
    }
}

/// Describes the metrics of this file.
pub(super) fn describe_metrics() {
    metrics::describe_histogram!(
        WAIT_SECONDS,
        metrics::Unit::Seconds,
        "Time that a request waited for the rate limits, by bucket"
    );
}

fn reading(headers: &HeaderMap) -> Option<Reading> {
    let small = |name| number(headers, name).and_then(|value| u32::try_from(value).ok());
    Some(Reading {
        max: small("x-hubspot-ratelimit-max")?,
        remaining: small("x-hubspot-ratelimit-remaining"),
        interval: small("x-hubspot-ratelimit-interval-milliseconds")
            .map(|ms| Duration::from_millis(u64::from(ms))),
    })
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
