//! One run of one stream, from a [`Source`] of pages to a [`Sink`] for them.
//!
//! It must not know HubSpot's HTTP or Kafka.

mod admission;
mod backfill;
mod by_id;
mod change;
mod confirm;
mod definitions;
mod incremental;
mod lanes;
mod list;
mod outbox;
mod owner;
mod records;
mod session;
mod sink;
mod source;
mod unreadable;
mod windows;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemas::{Checkpoint, Definitions, PropertySelection, Run};
use tokio::sync::watch;

pub(crate) use self::{
    admission::{Covered, Findings, NotFound},
    change::{Change, End, RunChange},
    confirm::DELETIONS_WAIT,
    lanes::Extent,
    owner::{Listed, StreamOwner, Taken},
    sink::{Page, Record, Sink, SinkClosed, Suspects},
    source::{
        Advice, Capability, FULL_PAGE, Fetched, ListPage, ListRequest, Object, ObjectBatch, Portal,
        ReadError, Search, SearchPage, Source, SourceError,
    },
};
use crate::schedule::{Reason, RunPlan, Settings};

/// The stream that a run reads.
#[derive(Debug, Clone)]
pub(crate) struct StreamContext {
    /// Object type.
    pub(crate) object_type: String,
    /// All properties ever seen, as last written to the log. Empty and of version
    /// 0 before the first run.
    pub(crate) definitions: Arc<Definitions>,
    /// Intervals and limits of runs.
    pub(crate) settings: Settings,
    /// Whether a person has confirmed that the objects that the last pass found to be
    /// gone are deleted, although they are many.
    pub(crate) deletions_confirmed: bool,
    /// Which properties are read; `None` for all.
    pub(crate) properties: Option<PropertySelection>,
}

/// What the runs of a stream work with.
#[derive(Debug)]
pub(crate) struct RunContext<'a, S, K> {
    /// Where pages come from.
    pub(crate) source: &'a S,
    /// Where pages go.
    pub(crate) sink: &'a K,
    /// The stream to read.
    pub(crate) stream: &'a StreamContext,
    /// Where the run shows its progress.
    pub(crate) progress: &'a watch::Sender<Progress>,
}

/// What a run shows while it runs. Its counts are in the checkpoints that it submits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The run as it was at its start.
    pub(crate) run: Option<Run>,
    /// The number of live objects in the portal, read by passes over both lists.
    pub(crate) expected_total: Option<i64>,
    /// The highest id of a live object, read with it.
    pub(crate) highest_id: Option<i64>,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunEnd {
    /// The run that ended.
    pub(crate) run_id: String,
    /// Why it was made.
    pub(crate) reason: Reason,
    /// The one-time request that it carried out.
    pub(crate) request_id: Option<String>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// See [`Progress::expected_total`].
    pub(crate) expected_total: Option<i64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was read, and the checkpoint has advanced.
    Succeeded,
    /// What it had read became invalid. The checkpoint has a new run, due now, that
    /// reads it again.
    Restarted,
    /// The source failed. The run stays in the checkpoint and is resumed, after
    /// [`Advice::EndRun`] at its `retry_at`.
    Failed(SourceError),
    /// The sink accepts no more pages.
    Closed,
}

impl Outcome {
    /// Its name in status and logs.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Restarted => "restarted",
            Self::Failed(_) => "failed",
            Self::Closed => "closed",
        }
    }
}

/// Makes one run. The future may be dropped at any await, as the submitted pages
/// contain everything that a restart needs, definitions included.
pub(crate) async fn run<S: Source, K: Sink>(
    context: &RunContext<'_, S, K>,
    checkpoint: &Checkpoint,
    plan: RunPlan,
) -> RunEnd {
    let mut session = session::Session::new(context, checkpoint, plan);
    let end = if session.reason.reads_both_lists() {
        backfill::read(&mut session).await
    } else {
        match session.begin().await {
            Ok(()) if session.reason == Reason::Archived => {
                backfill::read_archived(&mut session).await
            }
            Ok(()) if session.reason == Reason::Confirm => confirm::read(&mut session).await,
            Ok(()) => incremental::read(&mut session).await,
            Err(stop) => Err(stop),
        }
    };
    session.end(end).await
}
