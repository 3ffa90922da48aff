//! When a stream runs next, and what that run is. Pure: it compares times that
//! HubSpot gave with what the checkpoint says.
//!
//! It must not know clocks, HubSpot or Kafka.

use schemas::{Checkpoint, Millis, Request, RequestKind};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

/// Why a run is made, which also says what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Both lists, the first time.
    Backfill,
    /// Changes since the cursor, on the schedule.
    Incremental,
    /// Once more the changes of the last hours, for what the index showed late.
    Late,
    /// The archived list.
    Archived,
    /// Both lists again: what they do not show is gone.
    Full,
    /// Changes since the cursor, because someone asked.
    Requested,
}

impl Reason {
    /// As it stands in records, checkpoints and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Incremental => "incremental",
            Self::Late => "late",
            Self::Archived => "archived",
            Self::Full => "full",
            Self::Requested => "requested",
        }
    }

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Backfill,
            Self::Incremental,
            Self::Late,
            Self::Archived,
            Self::Full,
            Self::Requested,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == name)
    }

    /// Whether the run reads the live and the archived list.
    pub fn reads_both_lists(self) -> bool {
        matches!(self, Self::Backfill | Self::Full)
    }

    /// Whether the run moves the stream's cursor.
    pub fn moves_cursor(self) -> bool {
        !matches!(self, Self::Late | Self::Archived)
    }

    /// Whether the interval is counted from its start.
    pub fn restarts_interval(self) -> bool {
        matches!(self, Self::Backfill | Self::Incremental | Self::Requested)
    }
}

/// How often the passes beside the interval are made, and how they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// From one `late` run to the next.
    pub late_interval: Millis,
    /// How far back a `late` run reads.
    pub late_span: Millis,
    /// From one `archived` run to the next.
    pub archived_interval: Millis,
    /// From one `full` run to the next.
    pub full_interval: Millis,
    /// How far the search index may lag.
    pub index_lag: Millis,
    /// How many requests of one pass over a list overlap; 1 for no lanes.
    pub lanes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            late_interval: HOUR,
            late_span: 2 * HOUR,
            archived_interval: HOUR,
            full_interval: 24 * HOUR,
            index_lag: 15_000,
            lanes: 12,
        }
    }
}

/// What is wanted of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamDemand<'a> {
    /// Sync on the schedule; otherwise only the request is carried out.
    pub running: bool,
    /// From the start of one run to the start of the next.
    pub interval: Millis,
    /// The stream's one-time request, if its slot is filled.
    pub request: Option<&'a Request>,
    /// `archived`, `late` and `full` runs do not start before it: their share
    /// of the daily budget is spent.
    pub passes_from: Option<Millis>,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// This run, now.
    Now(RunPlan),
    /// Nothing before that HubSpot time.
    At(Millis),
    /// Nothing until something else is demand.
    Never,
}

/// A run to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPlan {
    /// Why.
    pub reason: Reason,
    /// The one-time request that it carries out.
    pub request_id: Option<String>,
    /// From where.
    pub start: Start,
}

/// Where a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Anew.
    New,
    /// At the checkpoint's position, as the same run. After a stop the checkpoint
    /// already names another run, see [`end_by_stop`].
    Resume,
}

/// What is due now, or when something is. An unfinished run comes first, then
/// the closing look of a pass, the one-time request, the backfill, the passes
/// beside the interval (rare, so they starve nothing), the interval.
pub fn due(
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
    if let Some(hold) = checkpoint.hold_until.filter(|hold| *hold > now) {
        return Due::At(hold);
    }
    if let Some(plan) = unfinished(checkpoint, demand, request) {
        return Due::Now(plan);
    }
    if let Some(closing) = &checkpoint.closing
        && (demand.running || closing.request_id.is_some())
    {
        return new_run(Reason::Archived, closing.request_id.clone());
    }
    if let Some(request) = request {
        return new_run(
            requested(checkpoint, request.kind),
            Some(request.request_id.clone()),
        );
    }
    if !demand.running {
        return Due::Never;
    }
    if checkpoint.cursor.is_none() {
        return new_run(Reason::Backfill, None);
    }
    scheduled(checkpoint, demand, settings, now)
}

/// What a stop leaves: that a run is due at the next start, and the position of
/// the run under way. That one goes on first, under the new id, and the other
/// follows it, as its window may end before the stop. To be written when a stop
/// is carried out, so that a restart in between does not bring the old id back;
/// false where there is nothing to write.
pub fn end_by_stop(checkpoint: &mut Checkpoint, new_run_id: String) -> bool {
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

/// The unfinished run, if it is to go on. On a stopped connection only the
/// request is carried out: a suspended run that does what the request asks for
/// becomes its run; another is dropped, which loses no change, as the cursor
/// moves only when a run ends.
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
            wanted_reason => reason == wanted_reason,
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
    let passes_from = demand.passes_from.unwrap_or(Millis::MIN);
    let pass = |last: Option<Millis>, interval| next(last, interval, now).max(passes_from);
    let full_at = if checkpoint.full_wanted {
        now.max(passes_from)
    } else {
        pass(checkpoint.last_full_at, settings.full_interval)
    };
    // A full pass reads what a late run would.
    let last_late_at = checkpoint.last_late_at.max(checkpoint.last_full_at);
    let candidates = [
        (Reason::Full, full_at),
        (
            Reason::Archived,
            pass(checkpoint.last_archived_at, settings.archived_interval),
        ),
        (Reason::Late, pass(last_late_at, settings.late_interval)),
        (
            Reason::Incremental,
            next(checkpoint.last_started_at, demand.interval, now),
        ),
    ];
    let mut earliest = Millis::MAX;
    for (reason, at) in candidates {
        if at <= now {
            return new_run(reason, None);
        }
        earliest = earliest.min(at);
    }
    Due::At(earliest)
}

/// When something last started at `last` is due again. A start in the future
/// is none: a clock was wrong.
fn next(last: Option<Millis>, interval: Millis, now: Millis) -> Millis {
    match last {
        Some(last) if last <= now => last.saturating_add(interval.max(1)),
        _ => now,
    }
}

#[cfg(test)]
mod tests;
