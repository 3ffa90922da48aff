//! When a stream runs next, and what that run is. Pure: it compares HubSpot's time
//! with the checkpoint.

mod intervals;
mod reason;

use schemas::{Checkpoint, Millis, Request, RequestKind, checkpoint::ARCHIVED_LIST};

pub(crate) use intervals::PassIntervals;
pub(crate) use reason::{Reason, Slot, into_slots};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
/// When something is due that is not.
const NEVER: Millis = Millis::MAX;

/// How long a run that has failed waits, in ms; doubled with each failure in a row.
const FIRST_BACKOFF: Millis = MINUTE;
/// How long it takes until something is tried again that HubSpot does not have for an
/// object type, or a stream that it refuses, in ms; doubled with each refusal in a row.
const FIRST_LACK: Millis = 5 * MINUTE;
/// How long a connection waits that has failed, in ms; doubled with each failure in a row.
const FIRST_RECONNECT: Millis = 5_000;
/// The longest such wait, in ms.
const LONGEST_BACKOFF: Millis = 6 * HOUR;

/// Objects in a page of a list.
const PAGE: i64 = 100;
/// The interval of full passes is for so many pages, and grows with the list beyond them:
/// by default a day has at most 21,600 requests for full passes over a stream, less than
/// a tenth of the smallest daily allowance, 250,000.
const FULL_PASS_PAGES: i64 = 21_600;
/// The same for passes over the archived list: by default at most 2,400 requests a day.
const ARCHIVED_PASS_PAGES: i64 = 100;
/// Full passes because of new properties: at most so many in the interval of full passes.
const GROWTH_PASSES: Millis = 4;
/// That interval where none are scheduled, in ms.
const GROWTH_INTERVAL: Millis = 24 * HOUR;

/// How often passes are made where that is not as their connection sets it, and how runs
/// read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// From the start of one `late` run to the next, in ms, for all connections.
    pub(crate) late_interval: Option<Millis>,
    /// How far back a `late` run reads, in ms.
    pub(crate) late_span: Millis,
    /// From the start of one `archived` run to the next, in ms, for all connections.
    pub(crate) archived_interval: Option<Millis>,
    /// From the start of one `full` run to the next, in ms, for all connections.
    pub(crate) full_interval: Option<Millis>,
    /// How far the search index may lag, in ms.
    pub(crate) index_lag: Millis,
    /// From one read of objects that seem to be gone to the next, in ms.
    pub(crate) confirm_interval: Millis,
    /// How many requests of one pass over a list overlap; 1 means no lanes.
    pub(crate) lanes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            late_interval: None,
            late_span: 2 * HOUR,
            archived_interval: None,
            full_interval: None,
            index_lag: 15_000,
            confirm_interval: MINUTE,
            lanes: 12,
        }
    }
}

/// What a stream has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamDemand<'a> {
    /// Sync on the schedule; if false, only the request is carried out.
    pub(crate) running: bool,
    /// From the start of one run to the start of the next, in ms.
    pub(crate) interval: Millis,
    /// How often passes are made.
    pub(crate) passes: PassIntervals,
    /// The stream's one-time request, if its slot is filled.
    pub(crate) request: Option<&'a Request>,
    /// HubSpot's time before which no recheck (`late`, `archived` or `full` run)
    /// starts, as their share of the daily allowance is spent.
    pub(crate) rechecks_from: Option<Millis>,
    /// How many objects the stream has.
    pub(crate) size: Size,
}

/// How many objects a stream has in HubSpot, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Neither archived nor deleted.
    pub(crate) live: usize,
    /// Archived.
    pub(crate) archived: usize,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// This run, now.
    Now(RunPlan),
    /// Nothing before this HubSpot time.
    At(Millis),
    /// Nothing until the demand changes.
    Never,
}

/// A run to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunPlan {
    /// Why.
    pub(crate) reason: Reason,
    /// The one-time request that it carries out.
    pub(crate) request_id: Option<String>,
    /// Whether it writes every object, also what the log has, as somebody asked for it.
    pub(crate) rewrites: bool,
    /// From where.
    pub(crate) start: Start,
}

/// Where a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At its beginning.
    New,
    /// Where the checkpoint is, as the same run. After a stop the checkpoint already
    /// names another run: see [`end_by_stop`].
    Resume,
}

/// The run that is due now in a slot, or when its next one is. In this order: an
/// unfinished run, the one-time request, the backfill, what is scheduled.
pub(crate) fn due(
    slot: Slot,
    checkpoint: &Checkpoint,
    demand: &StreamDemand<'_>,
    settings: &Settings,
    now: Millis,
) -> Due {
    let request = demand
        .request
        .filter(|request| checkpoint.request_done.as_deref() != Some(&request.request_id));
    if !demand.running && request.is_none() {
        return Due::Never;
    }
    if let Some(plan) = unfinished(slot, checkpoint, demand, request) {
        let retry_at = slot.of(checkpoint).and_then(|run| run.retry_at);
        return match retry_at.filter(|at| !is_due(*at, now, LONGEST_BACKOFF)) {
            Some(at) => Due::At(at),
            None => Due::Now(plan),
        };
    }
    // Its pass is over, but for the objects that seem to be gone.
    let closed_request = || checkpoint.closed_pass.as_ref()?.request_id.clone();
    let waits = |request: &&Request| closed_request().as_ref() == Some(&request.request_id);
    if slot == Slot::Check {
        let is_wanted = demand.running || request.as_ref().is_some_and(waits);
        let confirm_at = checkpoint.confirm_at.filter(|_| is_wanted);
        if confirm_at.is_some_and(|at| is_due(at, now, settings.confirm_interval)) {
            return new_run(Reason::Confirm, closed_request());
        }
        let late = demand.running.then(|| late(checkpoint, demand, now));
        return match (late, confirm_at) {
            (Some(Due::At(late)), Some(confirm)) => Due::At(late.min(confirm)),
            (Some(Due::Now(plan)), _) => Due::Now(plan),
            (_, Some(confirm)) => Due::At(confirm),
            (Some(due), None) => due,
            (None, None) => Due::Never,
        };
    }
    if let Some(request) = request.filter(|it| !waits(it)) {
        let reason = requested(checkpoint, request.kind);
        if reason.slot() == slot {
            return Due::Now(RunPlan {
                reason,
                request_id: Some(request.request_id.clone()),
                rewrites: request.kind == RequestKind::Resync,
                start: Start::New,
            });
        }
    }
    if !demand.running {
        return Due::Never;
    }
    match slot {
        Slot::Increments if checkpoint.cursor.is_none() => Due::Never,
        Slot::Increments => at(
            Reason::Incremental,
            next(checkpoint.last_started_at, demand.interval, now),
            now,
        ),
        Slot::Pass if !has_backfill(checkpoint) => new_run(Reason::Backfill, None),
        Slot::Pass => pass(checkpoint, demand, now),
        Slot::Check => Due::Never,
    }
}

/// Ends the runs under way because of a stop. The checkpoint keeps how far they came,
/// under new ids, and another run is due at the next start. The next start first
/// continues the interrupted run and then makes the other one, as the window of the
/// first may end before the stop. The checkpoint has to be written as part of the stop,
/// so that a restart does not bring the old ids back. Returns false if nothing has
/// changed.
pub(crate) fn end_by_stop(checkpoint: &mut Checkpoint, new_run_id: impl Fn() -> String) -> bool {
    let mut has_changed = checkpoint.last_started_at.take().is_some();
    for slot in Slot::ALL {
        if let Some(run) = slot.of_mut(checkpoint) {
            run.run_id = new_run_id();
            run.records = 0;
            has_changed = true;
        }
    }
    has_changed
}

/// How long a run waits that has failed so often in a row, in ms.
pub(crate) fn backoff(failures: i32) -> Millis {
    doubled(FIRST_BACKOFF, failures)
}

/// How long it takes, in ms, until that is tried again which HubSpot has refused so often
/// in a row for an object type.
pub(crate) fn retry_lack(failures: i32) -> Millis {
    doubled(FIRST_LACK, failures)
}

/// How long a connection waits that has failed so often in a row, in ms.
pub(crate) fn reconnect(failures: i32) -> Millis {
    doubled(FIRST_RECONNECT, failures)
}

fn doubled(first: Millis, failures: i32) -> Millis {
    let doublings = u32::try_from(failures.max(1) - 1).unwrap_or(0);
    let factor = 1_i64.checked_shl(doublings.min(20)).unwrap_or(1);
    first.saturating_mul(factor).min(LONGEST_BACKOFF)
}

/// Whether the first pass over both lists has ended.
fn has_backfill(checkpoint: &Checkpoint) -> bool {
    checkpoint.last_full_at.is_some()
}

fn new_run(reason: Reason, request_id: Option<String>) -> Due {
    Due::Now(RunPlan {
        reason,
        request_id,
        rewrites: false,
        start: Start::New,
    })
}

fn at(reason: Reason, at: Millis, now: Millis) -> Due {
    if at <= now {
        new_run(reason, None)
    } else {
        Due::At(at)
    }
}

fn requested(checkpoint: &Checkpoint, kind: RequestKind) -> Reason {
    match kind {
        _ if !has_backfill(checkpoint) => Reason::Backfill,
        RequestKind::Sync => Reason::Requested,
        RequestKind::Resync | RequestKind::Reconcile => Reason::Full,
    }
}

/// The unfinished run of a slot, if it is to continue. On a stopped connection only the
/// request is carried out: a suspended run of the requested kind becomes its run.
/// Another run waits, or is dropped for a new one, which loses no change, as the
/// cursor moves only when a run ends.
fn unfinished(
    slot: Slot,
    checkpoint: &Checkpoint,
    demand: &StreamDemand<'_>,
    request: Option<&Request>,
) -> Option<RunPlan> {
    let run = slot.of(checkpoint)?;
    let reason = Reason::parse(&run.reason)?;
    let mut request_id = run.request_id.clone();
    if !demand.running {
        let request = request?;
        let is_its_run = request_id.as_deref() == Some(&request.request_id);
        let rewrites = run.rewrites_below.is_some();
        let fits = match requested(checkpoint, request.kind) {
            Reason::Requested => matches!(reason, Reason::Requested | Reason::Incremental),
            Reason::Full if request.kind == RequestKind::Resync && !rewrites => false,
            requested_reason => reason == requested_reason,
        };
        if !is_its_run && !fits {
            return None;
        }
        request_id = Some(request.request_id.clone());
    }
    Some(RunPlan {
        reason,
        request_id,
        rewrites: false,
        start: Start::Resume,
    })
}

fn pass(checkpoint: &Checkpoint, demand: &StreamDemand<'_>, now: Millis) -> Due {
    let rechecks_from = demand.rechecks_from.unwrap_or(Millis::MIN);
    let due_at = |last: Option<Millis>, interval| next(last, interval, now).max(rechecks_from);
    let Size { live, archived } = demand.size;
    let full_interval = demand.passes.full;
    let scheduled_at = full_interval.map_or(NEVER, |interval| {
        let interval = scaled(interval, live + archived, FULL_PASS_PAGES);
        due_at(checkpoint.last_full_at, interval)
    });
    let full_at = if checkpoint.rewrite_wanted {
        rechecks_from
    } else if checkpoint.full_wanted {
        let interval = full_interval.unwrap_or(GROWTH_INTERVAL) / GROWTH_PASSES;
        let last = checkpoint.last_growth_at;
        last.map_or(rechecks_from, |_| due_at(last, interval))
    } else {
        scheduled_at
    };
    let mut lacks = checkpoint.lacks.iter();
    let lack = lacks.find(|it| it.capability == ARCHIVED_LIST);
    let archived_at = match (demand.passes.archived, lack) {
        (None, _) => NEVER,
        (Some(_), Some(lack)) => lack.retry_at.max(rechecks_from),
        (Some(interval), None) => {
            let interval = scaled(interval, archived, ARCHIVED_PASS_PAGES);
            due_at(checkpoint.last_archived_at, interval)
        }
    };
    if full_at <= now {
        return Due::Now(RunPlan {
            reason: Reason::Full,
            request_id: None,
            rewrites: checkpoint.rewrite_wanted,
            start: Start::New,
        });
    }
    match at(Reason::Archived, archived_at, now) {
        Due::At(archived_at) if full_at.min(archived_at) == NEVER => Due::Never,
        Due::At(archived_at) => Due::At(full_at.min(archived_at)),
        now => now,
    }
}

/// An interval that is for so many pages, for a list of so many objects.
fn scaled(interval: Millis, objects: usize, pages: i64) -> Millis {
    let objects = i64::try_from(objects).unwrap_or(i64::MAX);
    let usual = pages * PAGE;
    if objects <= usual {
        return interval;
    }
    let scaled = i128::from(interval) * i128::from(objects) / i128::from(usual);
    Millis::try_from(scaled).unwrap_or(Millis::MAX)
}

fn late(checkpoint: &Checkpoint, demand: &StreamDemand<'_>, now: Millis) -> Due {
    let Some(interval) = demand.passes.late.filter(|_| has_backfill(checkpoint)) else {
        return Due::Never;
    };
    let rechecks_from = demand.rechecks_from.unwrap_or(Millis::MIN);
    // A full pass reads all that a late run would.
    let last = checkpoint.last_late_at.max(checkpoint.last_full_at);
    let late_at = next(last, interval, now).max(rechecks_from);
    at(Reason::Late, late_at, now)
}

/// Whether a time has come. One further ahead than the interval that it was set with
/// counts as well: a clock was wrong.
fn is_due(at: Millis, now: Millis, interval: Millis) -> bool {
    at <= now || at > now.saturating_add(interval)
}

/// When something last started at `last` is due again. A start in the future is
/// ignored: a clock was wrong.
fn next(last: Option<Millis>, interval: Millis, now: Millis) -> Millis {
    match last {
        Some(last) if last <= now => last.saturating_add(interval.max(1)),
        _ => now,
    }
}

#[cfg(test)]
mod tests;
