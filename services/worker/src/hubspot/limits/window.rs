//! The general limit: a log of the requests in a rolling window, so that the limit
//! is used fully and never exceeded.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use schemas::WindowUse;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};

use super::window_use;

/// A request counts this much longer than the window, as timers on both sides have
/// whole milliseconds.
const MARGIN: Duration = Duration::from_millis(10);
/// A request is assumed to reach HubSpot within this time: slow answers are slow
/// because of HubSpot's work, not of the network.
const MAX_TRAVEL: Duration = Duration::from_millis(250);
/// The fastest round trip is taken as the network's latency after this many answers
/// that were not faster.
const STEADY_AFTER: u32 = 200;
/// An answer that is faster by no more than this is no other latency. It is less than
/// [`MARGIN`], which makes up for it.
const STEADY_WITHIN: Duration = Duration::from_millis(5);
/// The share of the window over which pages of lists are spread: less than 1, so that
/// the limit is used, and near it, so that another request soon finds a place.
const LISTS_SPREAD: f64 = 0.95;
/// A page that is sent later than planned by less than this is made up for.
const LATEST_LIST: Duration = Duration::from_millis(100);
/// Requests stay in the log this long after they stop counting, so that a slow answer
/// is compared with what counted when it was sent.
const KEEP_EXPIRED: Duration = Duration::from_secs(5);

/// The headers of an answer about the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Requests per window.
    pub(super) max: u32,
    /// How many of them are left.
    pub(super) remaining: Option<u32>,
    /// Length of the window.
    pub(super) interval: Option<Duration>,
}

/// A rolling window, shared by all requests of a portal.
#[derive(Debug)]
pub(super) struct Window {
    log: watch::Sender<RequestLog>,
    /// A fair queue: the holder is served next.
    queue: Mutex<()>,
    /// The queue of pages of lists, which let all others pass.
    lists: Mutex<()>,
}

/// One request in the window. Dropped without an answer, it counts for the length of
/// the window from then on.
#[derive(Debug)]
pub(super) struct WindowSlot {
    window: Arc<Window>,
    id: u64,
    open: bool,
}

#[derive(Debug)]
struct RequestLog {
    /// Requests per window; `None` without a limit.
    limit: Option<u32>,
    /// Whether the headers of answers change the limit.
    learns_from_answers: bool,
    interval: Duration,
    entries: VecDeque<LoggedRequest>,
    next_id: u64,
    /// The fastest round trip so far.
    fastest: Option<Duration>,
    /// Answers since then that were not faster.
    steady_for: u32,
    paused_until: Option<Instant>,
    refusals: u32,
    /// Requests that wait and are no pages of lists.
    waiting: usize,
    /// Whether pages of lists are spread over the window.
    spreads_lists: bool,
    /// When the last page of a list was, or should have been, requested.
    last_list: Option<Instant>,
}

#[derive(Debug)]
struct LoggedRequest {
    id: u64,
    sent: Instant,
    /// Time to the answer; `None` while in flight.
    took: Option<Duration>,
}

impl Window {
    /// A window of `limit` requests per `interval`; `None` is no limit.
    pub(super) fn new(limit: Option<u32>, learns_from_answers: bool, interval: Duration) -> Self {
        let log = RequestLog {
            limit,
            learns_from_answers,
            interval,
            entries: VecDeque::new(),
            next_id: 0,
            fastest: None,
            steady_for: 0,
            paused_until: None,
            refusals: 0,
            waiting: 0,
            spreads_lists: false,
            last_list: None,
        };
        Self {
            log: watch::Sender::new(log),
            queue: Mutex::new(()),
            lists: Mutex::new(()),
        }
    }

    /// Waits until a request may be sent, and counts it. Those for pages of lists wait
    /// until no other request does.
    pub(super) async fn acquire(self: &Arc<Self>, is_list: bool) -> WindowSlot {
        let _waiting = (!is_list).then(|| Waiting::new(self));
        let queue = if is_list { &self.lists } else { &self.queue };
        let _first_in_queue = queue.lock().await;
        let mut changes = self.log.subscribe();
        loop {
            let mut taken = Err(None);
            self.log.send_if_modified(|log| {
                let now = Instant::now();
                taken = if is_list {
                    log.take_for_list(now)
                } else {
                    log.take(now)
                };
                false
            });
            match taken {
                Ok(id) => {
                    return WindowSlot {
                        window: Arc::clone(self),
                        id,
                        open: true,
                    };
                }
                Err(Some(until)) => {
                    tokio::select! {
                        () = sleep_until(until) => {}
                        _ = changes.changed() => {}
                    }
                }
                Err(None) => {
                    if changes.changed().await.is_err() {
                        // INVARIANT: the sender lives in `self`.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// From now on pages of lists are spread over the window, so that any other request
    /// soon finds a place.
    pub(super) fn spread_lists(&self) {
        self.log.send_if_modified(|log| {
            log.spreads_lists = true;
            false
        });
    }

    /// How much of the window is used.
    pub(super) fn used(&self) -> Option<WindowUse> {
        let log = self.log.borrow();
        window_use(log.limit, log.counting_after(Instant::now()), log.interval)
    }

    /// HubSpot refused a request, so the window is full, by this or another app.
    pub(super) fn refused(&self, retry_after: Option<Duration>) {
        self.log
            .send_modify(|log| log.refuse(Instant::now(), retry_after));
    }
}

/// A request that is no page of a list and waits.
struct Waiting<'a>(&'a Window);

impl<'a> Waiting<'a> {
    fn new(window: &'a Window) -> Self {
        window.log.send_if_modified(|log| {
            log.waiting += 1;
            false
        });
        Self(window)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.log.send_modify(|log| log.waiting -= 1);
    }
}

impl WindowSlot {
    /// The headers of the answer have arrived.
    pub(super) fn answered(mut self, reading: Option<Reading>, refused: bool) {
        self.open = false;
        let id = self.id;
        self.window.log.send_modify(|log| {
            let now = Instant::now();
            let sent = log.close(id, now, true);
            if let (Some(reading), Some(sent)) = (reading, sent) {
                log.correct(reading, sent, now);
            }
            if !refused {
                log.refusals = 0;
            }
        });
    }

    /// The request was never sent.
    pub(super) fn unused(mut self) {
        self.open = false;
        let id = self.id;
        self.window
            .log
            .send_modify(|log| log.entries.retain(|entry| entry.id != id));
    }
}

impl Drop for WindowSlot {
    fn drop(&mut self) {
        if self.open {
            let id = self.id;
            self.window.log.send_modify(|log| {
                log.close(id, Instant::now(), false);
            });
        }
    }
}

impl RequestLog {
    fn take(&mut self, now: Instant) -> Result<u64, Option<Instant>> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Err(Some(until));
        }
        self.paused_until = None;
        let id = self.next_id;
        if let Some(limit) = self.limit {
            self.drop_expired(now);
            if self.counting_after(now) >= limit as usize {
                let frees = self.entries.iter().filter_map(|entry| self.free_at(entry));
                return Err(frees.filter(|free_at| *free_at > now).min());
            }
            self.entries.push_back(LoggedRequest {
                id,
                sent: now,
                took: None,
            });
        }
        self.next_id += 1;
        Ok(id)
    }

    /// As [`Self::take`], for a page of a list.
    fn take_for_list(&mut self, now: Instant) -> Result<u64, Option<Instant>> {
        if self.waiting > 0 {
            return Err(None);
        }
        let spread = self
            .last_list
            .zip(self.limit)
            .filter(|_| self.spreads_lists);
        let next =
            spread.map(|(last, limit)| last + self.interval.mul_f64(LISTS_SPREAD) / limit.max(1));
        if let Some(next) = next.filter(|next| *next > now) {
            return Err(Some(next));
        }
        let taken = self.take(now)?;
        // One that was sent late is made up for, one that waited for the limit is not.
        let planned = next.filter(|next| now.duration_since(*next) < LATEST_LIST);
        self.last_list = Some(planned.unwrap_or(now));
        Ok(taken)
    }

    /// Requests that still count after `time`.
    fn counting_after(&self, time: Instant) -> usize {
        let counts =
            |entry: &&LoggedRequest| self.free_at(entry).is_none_or(|free_at| free_at > time);
        self.entries.iter().filter(counts).count()
    }

    /// When a request stops counting; `None` while it is in flight.
    ///
    /// HubSpot counted it at some time between sending and answer. This round
    /// trip minus the fastest one bounds how much later than usual it arrived,
    /// so the request that reuses its slot cannot overtake it. With a steady
    /// latency this costs no throughput.
    fn free_at(&self, entry: &LoggedRequest) -> Option<Instant> {
        let fastest = self.fastest.filter(|_| self.steady_for >= STEADY_AFTER);
        let late = entry
            .took?
            .saturating_sub(fastest.unwrap_or_default())
            .min(MAX_TRAVEL);
        Some(entry.sent + late + self.interval + MARGIN)
    }

    fn drop_expired(&mut self, now: Instant) {
        while let Some(entry) = self.entries.front()
            && self
                .free_at(entry)
                .is_some_and(|free_at| free_at + KEEP_EXPIRED <= now)
        {
            self.entries.pop_front();
        }
    }

    /// Marks a request as no longer in flight. Returns when it was sent.
    fn close(&mut self, id: u64, now: Instant, answered: bool) -> Option<Instant> {
        let entry = self.entries.iter_mut().rev().find(|entry| entry.id == id)?;
        let took = now.duration_since(entry.sent);
        entry.took = Some(took);
        if answered {
            let is_steady = self.fastest.is_some_and(|it| took + STEADY_WITHIN >= it);
            self.fastest = Some(self.fastest.map_or(took, |it| it.min(took)));
            self.steady_for = if is_steady {
                self.steady_for.saturating_add(1)
            } else {
                0
            };
        }
        Some(entry.sent)
    }

    /// Corrects the log by the answer to a request sent at `sent`: what HubSpot
    /// counted beyond our own requests came from other apps.
    fn correct(&mut self, reading: Reading, sent: Instant, now: Instant) {
        if !self.learns_from_answers {
            return;
        }
        self.limit = Some(reading.max.max(1));
        if let Some(interval) = reading.interval.filter(|interval| !interval.is_zero()) {
            self.interval = interval;
        }
        if let Some(remaining) = reading.remaining {
            let counted = reading.max.saturating_sub(remaining) as usize;
            self.count_others(counted.saturating_sub(self.counting_after(sent)), now);
        }
    }

    fn refuse(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.refusals = self.refusals.saturating_add(1);
        let pause = retry_after.unwrap_or_else(|| Duration::from_secs(1) * self.refusals.min(10));
        let until = now + pause;
        self.paused_until = Some(self.paused_until.map_or(until, |other| other.max(until)));
        if let (Some(limit), None) = (self.limit, retry_after) {
            let free = (limit as usize).saturating_sub(self.counting_after(now));
            self.count_others(free, now);
        }
    }

    fn count_others(&mut self, uses: usize, now: Instant) {
        for _ in 0..uses {
            let took = Some(Duration::ZERO);
            self.entries.push_back(LoggedRequest {
                id: self.next_id,
                sent: now,
                took,
            });
            self.next_id += 1;
        }
    }
}
