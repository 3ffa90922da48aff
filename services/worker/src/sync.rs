//! One run of one stream, and the edges that it needs: a [`Source`] of pages
//! and a [`Sink`] for them.
//!
//! It must not know HubSpot's HTTP or Kafka.

mod backfill;
mod definitions;
mod incremental;
mod lanes;
mod outbox;
mod session;
mod sweep;
mod windows;

#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use schemas::{Checkpoint, Definitions, FullPass, Millis, Property, PropertyMap, Run};
use tokio::sync::watch;

use crate::schedule::{Reason, RunPlan, Settings};

/// The stream that a run is made for.
#[derive(Debug, Clone)]
pub struct StreamContext {
    /// Name of the connection.
    pub connection: String,
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// Object type.
    pub object_type: String,
    /// All properties ever seen, as last written to the log; version 0 and
    /// empty where there are none.
    pub definitions: Arc<Definitions>,
    /// How passes are made.
    pub settings: Settings,
}

/// What a run shows while it runs. Counts and position are in the checkpoints
/// that it submits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The run as it stood at its start.
    pub run: Option<Run>,
    /// How many live objects the portal says it has; asked for by passes over
    /// both lists.
    pub expected_total: Option<i64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// The stream's position, submitted already.
    pub checkpoint: Checkpoint,
    /// All properties ever seen, for the next run.
    pub definitions: Arc<Definitions>,
    /// The run that ended.
    pub run_id: String,
    /// Why it was made.
    pub reason: Reason,
    /// The one-time request that it was made for.
    pub request_id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The full pass that ended with it; also in the checkpoint.
    pub full_pass: Option<FullPass>,
    /// See [`Progress::expected_total`].
    pub expected_total: Option<i64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
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
pub async fn run<S: Source, K: Sink>(
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

/// One object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// HubSpot's id.
    pub id: i64,
    /// HubSpot's `createdAt`.
    pub created_at: Millis,
    /// HubSpot's `updatedAt`.
    pub updated_at: Millis,
    /// In the recycle bin.
    pub archived: bool,
    /// Ids that were merged into this one (`hs_merged_object_ids`).
    pub merged_ids: Vec<i64>,
    /// Every property that is set.
    pub properties: PropertyMap,
}

/// An answer of the source, with the times that order it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched<T> {
    /// HubSpot's time when the request was sent, by its last `Date` and the
    /// time measured since.
    pub sent_at: Millis,
    /// What was answered.
    pub value: T,
}

/// A page of the list endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// In the order of the answer.
    pub objects: Vec<Object>,
    /// Cursor of the next page; `None` at the end of the list.
    pub next: Option<String>,
}

/// A page of a search: ids only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPage {
    /// In the order of the answer, which should be ascending.
    pub ids: Vec<i64>,
    /// How many objects match in all.
    pub total: i64,
    /// Whether the answer names a next page; a short page can. An empty page
    /// that names one is followed by the source itself, as without an id the
    /// search cannot be carried on.
    pub more: bool,
}

/// A batch read by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Objects by the id in the answer, without doubles.
    pub objects: Vec<Object>,
    /// Ids asked for that the answer does not have.
    pub missing: Vec<i64>,
}

/// A search for ids: last-modified in `[from, to)`, id above `after_id`,
/// ascending by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// Inclusive.
    pub from: Millis,
    /// Exclusive; `None` for no end.
    pub to: Option<Millis>,
    /// Only ids above it; 0 for all.
    pub after_id: i64,
}

/// The account behind a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// HubSpot's time now.
    pub now: Millis,
}

/// What a failure of the source asks for, decided in one table at the edge.
/// Failures that pass by themselves never come here: the source has retried
/// them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct SourceError {
    /// What to do.
    pub advice: Advice,
    /// Stable code, `snake_case`, for the status.
    pub code: &'static str,
    /// What went wrong and where, for people.
    pub problem: String,
    /// What the user can do about it.
    pub remedy: String,
}

/// What to do about a failure of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Try again at the given HubSpot time; the position is kept.
    WaitUntil(Millis),
    /// Leave this stream out until the next command or start; others go on.
    SkipStream,
    /// Stop the connection until the next command.
    StopConnection,
    /// The answer contradicts the protocol (a cursor that is refused, say):
    /// end the run, the next one starts anew.
    EndRun,
}

/// A portal to read from; one for each connection, shared by its streams.
/// Every method waits for the rate limits, retries what passes, and may be
/// dropped at any await: dropping it cancels the request.
pub trait Source: Send + Sync + 'static {
    /// HubSpot's time now: its last `Date` plus the time measured since.
    fn now(&self) -> Millis;

    /// Before when no `late`, `archived` or `full` run may start, as their
    /// share of the daily budget is spent.
    fn passes_from(&self) -> Option<Millis> {
        None
    }

    /// The account, asked anew.
    fn portal(&self) -> impl Future<Output = Result<Portal, SourceError>> + Send;

    /// The properties that the portal defines for an object type.
    fn definitions(
        &self,
        object_type: &str,
    ) -> impl Future<Output = Result<Fetched<Vec<Property>>, SourceError>> + Send;

    /// A page of up to 100 of the list, live or archived, with the properties
    /// named.
    fn list(
        &self,
        object_type: &str,
        archived: bool,
        after: Option<&str>,
        properties: &Definitions,
    ) -> impl Future<Output = Result<Fetched<ListPage>, SourceError>> + Send;

    /// A page of up to 200 ids.
    fn search(
        &self,
        object_type: &str,
        search: Search,
    ) -> impl Future<Output = Result<Fetched<SearchPage>, SourceError>> + Send;

    /// Up to 100 objects by id.
    fn batch_read(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        properties: &Definitions,
    ) -> impl Future<Output = Result<Fetched<Batch>, SourceError>> + Send;
}

/// What one commit holds: records and the checkpoint that speaks of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order in which they are to be written.
    pub records: Vec<Record>,
    /// The position after them.
    pub checkpoint: Checkpoint,
    /// New definitions, written before the records that use them.
    pub definitions: Option<Definitions>,
}

/// A record before it is encoded. What its run and stream share is in the
/// page's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The object; of a deleted one, its id and times.
    pub object: Object,
    /// Erased, merged away or gone.
    pub deleted: bool,
    /// The object that took its place.
    pub merged_into: Option<i64>,
    /// HubSpot's time when the request was sent.
    pub fetched_at: Millis,
    /// Orders the reads of one object.
    pub fetch_sequence: i64,
}

/// The sink takes no more: ownership was lost or the process ends. The run
/// ends without a word; whoever owns the stream goes on from the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink is closed")]
pub struct SinkClosed;

/// Where pages go: one for each stream; pages are committed in the order in
/// which they were submitted.
pub trait Sink: Send + Sync + 'static {
    /// Hands a page over, waiting for room (bounded in bytes), not for the
    /// commit.
    fn submit(&self, page: Page) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// Waits until every page submitted before is committed.
    fn settle(&self) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// End offsets of the records topic by partition, after a settle.
    fn end_offsets(&self) -> impl Future<Output = Result<Vec<i64>, SinkClosed>> + Send;
}
