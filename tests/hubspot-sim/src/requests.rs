//! The request log: counters, and each request with its time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;

use crate::route::Kind;

/// How many requests are kept; later ones are only counted.
const KEPT: usize = 200_000;

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// Its number, from 0.
    pub number: u64,
    /// When it arrived, by the machine's monotonic clock.
    #[serde(skip)]
    pub at: Instant,
    /// When it arrived, in ms since 1970 by HubSpot's clock.
    pub at_ms: i64,
    /// Its kind.
    pub kind: Kind,
    /// Its object type, or empty.
    pub object_type: String,
    /// The portal of its token, or 0.
    pub portal_id: u64,
    /// Its token.
    #[serde(skip)]
    pub token: String,
    /// The query string.
    pub query: String,
    /// The body of a search, of a batch read or of an association read.
    pub body: String,
    /// The status of the answer; 0 where there is none.
    pub status: u16,
}

/// All requests.
#[derive(Debug, Default)]
pub struct Requests {
    inner: Mutex<RequestLog>,
}

#[derive(Debug, Default)]
struct RequestLog {
    kept: Vec<Seen>,
    total: u64,
    in_flight: u64,
    by_kind: BTreeMap<Kind, u64>,
    by_status: BTreeMap<u16, u64>,
    by_portal: BTreeMap<u64, u64>,
}

/// Counters of requests.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Counts {
    /// All requests.
    pub total: u64,
    /// Those without an answer yet.
    pub in_flight: u64,
    /// By kind.
    pub by_kind: BTreeMap<Kind, u64>,
    /// By status.
    pub by_status: BTreeMap<u16, u64>,
    /// By portal.
    pub by_portal: BTreeMap<u64, u64>,
}

impl Requests {
    /// Records the start of a request and returns its number.
    pub(crate) fn begin(&self, mut seen: Seen, keep: bool) -> u64 {
        let mut inner = self.lock();
        let number = inner.total;
        inner.total += 1;
        inner.in_flight += 1;
        *inner.by_kind.entry(seen.kind).or_default() += 1;
        *inner.by_portal.entry(seen.portal_id).or_default() += 1;
        seen.number = number;
        if keep && inner.kept.len() < KEPT {
            inner.kept.push(seen);
        }
        number
    }

    /// Records the end of a request.
    pub(crate) fn end(&self, number: u64, status: u16) {
        let mut inner = self.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        *inner.by_status.entry(status).or_default() += 1;
        if let Ok(index) = inner.kept.binary_search_by_key(&number, |seen| seen.number)
            && let Some(seen) = inner.kept.get_mut(index)
        {
            seen.status = status;
        }
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts {
            total: inner.total,
            in_flight: inner.in_flight,
            by_kind: inner.by_kind.clone(),
            by_status: inner.by_status.clone(),
            by_portal: inner.by_portal.clone(),
        }
    }

    /// Requests of a kind so far.
    pub fn count(&self, kind: Kind) -> u64 {
        self.lock().by_kind.get(&kind).copied().unwrap_or(0)
    }

    /// Answers with a status so far.
    pub fn answered(&self, status: u16) -> u64 {
        self.lock().by_status.get(&status).copied().unwrap_or(0)
    }

    /// All requests that are kept, in order.
    pub fn all(&self) -> Vec<Seen> {
        self.lock().kept.clone()
    }

    /// Requests that arrived at or after an instant.
    pub fn since(&self, instant: Instant) -> Vec<Seen> {
        self.lock()
            .kept
            .iter()
            .filter(|seen| seen.at >= instant)
            .cloned()
            .collect()
    }

    /// Removes all requests; those in flight stay counted as in flight.
    pub fn clear(&self) {
        let mut inner = self.lock();
        let (in_flight, total) = (inner.in_flight, inner.total);
        *inner = RequestLog {
            total,
            in_flight,
            ..RequestLog::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, RequestLog> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
