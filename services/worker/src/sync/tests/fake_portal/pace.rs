//! Latency and rate limit of the portal, in the runtime's paused time, and when
//! requests were in flight.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

/// The length of the rate limit's window.
const WINDOW: Duration = Duration::from_secs(10);

/// How slow answers are, and how many requests a window may have. Searches count
/// against a limit of their own, which these tests never reach.
#[derive(Debug)]
pub(in super::super) struct Pace {
    latency: Duration,
    limit: usize,
    window: tokio::sync::Mutex<VecDeque<Instant>>,
    requests: Mutex<Vec<Sent>>,
}

/// When a request was sent and answered, after the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Sent {
    pub(in super::super) at: Instant,
    pub(in super::super) answered: Instant,
    pub(in super::super) is_search: bool,
}

impl Pace {
    pub(in super::super) fn new(latency: Duration, limit: usize) -> Self {
        Self {
            latency,
            limit,
            window: tokio::sync::Mutex::default(),
            requests: Mutex::default(),
        }
    }

    /// As the client of HubSpot computes it: a window's requests within an
    /// eighth of the window.
    pub(super) fn overlap(&self) -> usize {
        self.limit * usize::try_from(self.latency.as_millis()).unwrap() / 1_250
    }

    /// In the order in which they were sent.
    pub(in super::super) fn requests(&self) -> Vec<Sent> {
        self.sent().clone()
    }

    /// Waits for the limit, then as long as an answer takes.
    pub(super) async fn wait(&self, is_search: bool) {
        if !is_search {
            let mut window = self.window.lock().await;
            if window.len() >= self.limit
                && let Some(first) = window.pop_front()
            {
                sleep_until(first + WINDOW).await;
            }
            window.push_back(Instant::now());
        }
        let at = Instant::now();
        let answered = at + self.latency;
        self.sent().push(Sent {
            at,
            answered,
            is_search,
        });
        sleep(self.latency).await;
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.requests.lock().unwrap()
    }
}
