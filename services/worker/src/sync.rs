//! One run of one stream, and the edges that it needs: a [`Source`] of pages
//! and a [`Sink`] for them.
//!
//! It must not know HubSpot's HTTP or Kafka.

mod backfill;
mod definitions;
mod incremental;
mod lanes;
mod list;
mod outbox;
mod session;
mod sink;
mod source;
mod windows;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemas::{Checkpoint, Definitions, FullPass, Run};
use tokio::sync::watch;

pub(crate) use self::{
    sink::{Page, Record, Sink, SinkClosed},
    source::{
        Advice, Fetched, ListPage, Object, ObjectBatch, Portal, Search, SearchPage, Source,
        SourceError,
    },
};
use crate::schedule::{Reason, RunPlan, Settings};

/// The stream that a run is made for.
#[derive(Debug, Clone)]
pub(crate) struct StreamContext {
    /// Name of the connection.
    pub(crate) connection: String,
    /// HubSpot's id of the account.
    pub(crate) portal_id: i64,
    /// Object type.
    pub(crate) object_type: String,
    /// All properties ever seen, as last written to the log; version 0 and
    /// empty where there are none.
    pub(crate) definitions: Arc<Definitions>,
    /// How passes are made.
    pub(crate) settings: Settings,
}

/// What a run shows while it runs. Counts and position are in the checkpoints
/// that it submits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The run as it stood at its start.
    pub(crate) run: Option<Run>,
    /// How many live objects the portal says it has; asked for by passes over
    /// both lists.
    pub(crate) expected_total: Option<i64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunEnd {
    /// The stream's position, submitted already.
    pub(crate) checkpoint: Checkpoint,
    /// All properties ever seen, for the next run.
    pub(crate) definitions: Arc<Definitions>,
    /// The run that ended.
    pub(crate) run_id: String,
    /// Why it was made.
    pub(crate) reason: Reason,
    /// The one-time request that it was made for.
    pub(crate) request_id: Option<String>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The full pass that ended with it; also in the checkpoint.
    pub(crate) full_pass: Option<FullPass>,
    /// See [`Progress::expected_total`].
    pub(crate) expected_total: Option<i64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All read, and the position moved.
    Succeeded,
    /// What it had read no longer held; another run, already in the
    /// checkpoint, reads it again and is due now.
    Restarted,
    /// The source failed. The run stays in the checkpoint and is resumed, but
    /// for [`Advice::EndRun`], after which the checkpoint's `hold_until` keeps
    /// the next one from starting at once.
    Failed(SourceError),
    /// The sink takes no more.
    Closed,
}

/// Makes one run, from its plan to its end. It may be dropped at any await:
/// all that matters is in the pages submitted, definitions included.
#[expect(
    clippy::too_many_arguments,
    reason = "each of them is its own, and the caller holds them apart"
)]
pub(crate) async fn run<S: Source, K: Sink>(
    source: &S,
    sink: &K,
    stream: &StreamContext,
    checkpoint: Checkpoint,
    plan: RunPlan,
    progress: &watch::Sender<Progress>,
) -> RunEnd {
    let mut session = session::Session::new(source, sink, stream, checkpoint, plan, progress);
    let end = match session.begin().await {
        Ok(()) if session.reason.reads_both_lists() => backfill::read(&mut session).await,
        Ok(()) if session.reason == Reason::Archived => backfill::read_archived(&mut session).await,
        Ok(()) => incremental::read(&mut session).await,
        Err(stop) => Err(stop),
    };
    session.end(end).await
}
