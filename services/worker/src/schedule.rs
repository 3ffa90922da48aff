//! When a stream runs next, and what that run is. Pure: it compares HubSpot's time
//! with the checkpoint.

use schemas::{Checkpoint, Millis, Request, RequestKind};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

/// Why a run is made, and so what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The first full pass over both lists.
    Backfill,
    /// Changes since the cursor, on the schedule.
    Incremental,
    /// The changes of the last hours again, for what the search index showed late.
    Late,
    /// The archived list.
    Archived,
    /// Both lists again: an object in neither is gone.
    Full,
    /// Changes since the cursor, for a one-time request.
    Requested,
    /// Objects that seem to be gone, by their ids.
    Confirm,
}

impl Reason {
    /// Its name in records, checkpoints and status.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Incremental => "incremental",
            Self::Late => "late",
            Self::Archived => "archived",
            Self::Full => "full",
            Self::Requested => "requested",
            Self::Confirm => "confirm",
        }
    }

    /// The reason of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [
            Self::Backfill,
            Self::Incremental,
            Self::Late,
            Self::Archived,
            Self::Full,
            Self::Requested,
            Self::Confirm,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == name)
    }

    /// Whether the run reads the live and the archived list.
    pub(crate) fn reads_both_lists(self) -> bool {
        matches!(self, Self::Backfill | Self::Full)
    }

    /// Whether the run moves the stream's cursor.
    pub(crate) fn moves_cursor(self) -> bool {
        !matches!(self, Self::Late | Self::Archived | Self::Confirm)
    }

    /// Whether the interval to the next run counts from this run's start.
    pub(crate) fn restarts_interval(self) -> bool {
        matches!(self, Self::Backfill | Self::Incremental | Self::Requested)
    }
}

/// How often the runs beside the interval are made, and how they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// From the start of one `late` run to the next, in ms.
    pub(crate) late_interval: Millis,
    /// How far back a `late` run reads, in ms.
    pub(crate) late_span: Millis,
    /// From the start of one `archived` run to the next, in ms.
    pub(crate) archived_interval: Millis,
    /// From the start of one `full` run to the next, in ms.
    pub(crate) full_interval: Millis,
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
            late_interval: HOUR,
            late_span: 2 * HOUR,
            archived_interval: HOUR,
            full_interval: 24 * HOUR,
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
    /// The stream's one-time request, if its slot is filled.
    pub(crate) request: Option<&'a Request>,
    /// HubSpot's time before which no recheck (`late`, `archived` or `full` run)
    /// starts, as their share of the daily allowance is spent.
    pub(crate) rechecks_from: Option<Millis>,
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

/// The run that is due now, or when the next one is. In this order: an unfinished
/// run, objects that seem to be gone, the one-time request, the backfill, the runs
/// beside the interval (rare, so they delay it little), the interval.
pub(crate) fn due(
    checkpoint: &Checkpoint,
    demand: &StreamDemand<'_>,
    settings: &Settings,
    now: Millis,
) -> Due {
    let request = demand
        .request
        .filter(|request| checkpoint.request_done.as_deref() != Some(&request.request_id));
    // Its pass is over, but for the objects that seem to be gone.
    let waits = |request: &&Request| {
        checkpoint.confirm_at.is_some()
            && checkpoint.confirm_request.as_deref() == Some(&request.request_id)
    };
    if !demand.running && request.is_none() {
        return Due::Never;
    }
    if let Some(hold) = checkpoint.hold_until.filter(|hold| *hold > now) {
        return Due::At(hold);
    }
    if let Some(plan) = unfinished(checkpoint, demand, request) {
        return Due::Now(plan);
    }
    let confirm_at = checkpoint
        .confirm_at
        .filter(|_| demand.running || request.as_ref().is_some_and(waits));
    if confirm_at.is_some_and(|at| is_due(at, now, settings.confirm_interval)) {
        return new_run(Reason::Confirm, checkpoint.confirm_request.clone());
    }
    if let Some(request) = request.filter(|it| !waits(it)) {
        return new_run(
            requested(checkpoint, request.kind),
            Some(request.request_id.clone()),
        );
    }
    if !demand.running {
        return confirm_at.map_or(Due::Never, Due::At);
    }
    if checkpoint.cursor.is_none() {
        return new_run(Reason::Backfill, None);
    }
    scheduled(checkpoint, demand, settings, now)
}

/// Ends the current run because of a stop. The checkpoint keeps how far it came, under
/// a new id, and another run is due at the next start. The next start first continues
/// the interrupted run and then makes the other one, as the window of the first may
/// end before the stop. The checkpoint has to be written as part of the stop, so that
/// a restart does not bring the old id back. Returns false if nothing has changed.
pub(crate) fn end_by_stop(checkpoint: &mut Checkpoint, new_run_id: String) -> bool {
    let has_started = checkpoint.last_started_at.take().is_some();
    let Some(run) = &mut checkpoint.run else {
        return has_started;
    };
    run.run_id = new_run_id;
    run.records = 0;
    true
}

fn new_run(reason: Reason, request_id: Option<String>) -> Due {
    Due::Now(RunPlan {
        reason,
        request_id,
        start: Start::New,
    })
}

fn requested(checkpoint: &Checkpoint, kind: RequestKind) -> Reason {
    match kind {
        _ if checkpoint.cursor.is_none() => Reason::Backfill,
        RequestKind::Sync => Reason::Requested,
        RequestKind::Resync => Reason::Full,
    }
}

/// The unfinished run, if it is to continue. On a stopped connection only the
/// request is carried out: a suspended run of the requested kind becomes its run.
/// Another run is dropped, which loses no change, as the cursor moves only when a run
/// ends.
fn unfinished(
    checkpoint: &Checkpoint,
    demand: &StreamDemand<'_>,
    request: Option<&Request>,
) -> Option<RunPlan> {
    let run = checkpoint.run.as_ref()?;
    let reason = Reason::parse(&run.reason)?;
    let mut request_id = run.request_id.clone();
    if !demand.running {
        let request = request?;
        let is_its_run = request_id.as_deref() == Some(&request.request_id);
        let fits = match requested(checkpoint, request.kind) {
            Reason::Requested => matches!(reason, Reason::Requested | Reason::Incremental),
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
        start: Start::Resume,
    })
}

fn scheduled(
    checkpoint: &Checkpoint,
    demand: &StreamDemand<'_>,
    settings: &Settings,
    now: Millis,
) -> Due {
    let rechecks_from = demand.rechecks_from.unwrap_or(Millis::MIN);
    let due_at = |last: Option<Millis>, interval| next(last, interval, now).max(rechecks_from);
    let full_at = if checkpoint.full_wanted {
        now.max(rechecks_from)
    } else {
        due_at(checkpoint.last_full_at, settings.full_interval)
    };
    // A full pass reads all that a late run would.
    let last_late_at = checkpoint.last_late_at.max(checkpoint.last_full_at);
    let candidates = [
        (Reason::Full, full_at),
        (
            Reason::Archived,
            due_at(checkpoint.last_archived_at, settings.archived_interval),
        ),
        (Reason::Late, due_at(last_late_at, settings.late_interval)),
        (
            Reason::Incremental,
            next(checkpoint.last_started_at, demand.interval, now),
        ),
    ];
    let mut earliest = checkpoint.confirm_at.unwrap_or(Millis::MAX);
    for (reason, at) in candidates {
        if at <= now {
            return new_run(reason, None);
        }
        earliest = earliest.min(at);
    }
    Due::At(earliest)
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
