//! Where pages go: [`Sink`] and what it takes.

use std::future::Future;

use schemas::{Checkpoint, Definitions, Millis};

use super::Object;

/// What one commit holds: records and the checkpoint that speaks of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// In the order in which they are to be written.
    pub(crate) records: Vec<Record>,
    /// The position after them.
    pub(crate) checkpoint: Checkpoint,
    /// New definitions, written before the records that use them.
    pub(crate) definitions: Option<Definitions>,
}

/// A record before it is encoded. What its run and stream share is in the
/// page's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The object; of a deleted one, its id and times.
    pub(crate) object: Object,
    /// Erased, merged away or gone.
    pub(crate) deleted: bool,
    /// The object that took its place.
    pub(crate) merged_into: Option<i64>,
    /// HubSpot's time when the request was sent.
    pub(crate) fetched_at: Millis,
    /// Orders the reads of one object.
    pub(crate) fetch_sequence: i64,
}

/// The sink takes no more: ownership was lost or the process ends. The run
/// ends without a word; whoever owns the stream goes on from the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink is closed")]
pub(crate) struct SinkClosed;

/// Where pages go: one for each stream; pages are committed in the order in
/// which they were submitted.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Hands a page over, waiting for room (bounded in bytes), not for the
    /// commit.
    fn submit(&self, page: Page) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// Waits until every page submitted before is committed.
    fn settle(&self) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// End offsets of the records topic by partition, after a settle.
    fn end_offsets(&self) -> impl Future<Output = Result<Vec<i64>, SinkClosed>> + Send;
}
