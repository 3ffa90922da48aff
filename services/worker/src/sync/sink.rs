//! Where pages go: [`Sink`] and what it takes.

use std::future::Future;

use schemas::{Checkpoint, Definitions, Millis};

use super::Object;

/// What one commit holds: records and the checkpoint after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// In the order in which they are written.
    pub(crate) records: Vec<Record>,
    /// The checkpoint after them.
    pub(crate) checkpoint: Checkpoint,
    /// New definitions, written before the records that use them.
    pub(crate) definitions: Option<Definitions>,
}

/// A record before it is encoded. What all records of a run share is in the page's
/// checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The object; for a deletion only id and times.
    pub(crate) object: Object,
    /// Erased, merged into another object, or gone.
    pub(crate) deleted: bool,
    /// The object that it was merged into.
    pub(crate) merged_into: Option<i64>,
    /// HubSpot's time when the request was sent.
    pub(crate) fetched_at: Millis,
    /// Orders the reads of one object; grows with each answer.
    pub(crate) fetch_sequence: i64,
    /// Set when the record is queued, by the definitions that it then names.
    pub(crate) content_hash: u64,
}

/// The sink accepts no more pages, as the ownership was lost or the process ends. The
/// run ends without another page; the next owner continues from the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink is closed")]
pub(crate) struct SinkClosed;

/// Where pages go, one per stream. Pages are committed in the order in which they
/// were submitted.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Hands over a page. Waits for capacity, which is bounded in bytes, and not
    /// for the commit.
    fn submit(&self, page: Page) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// Waits until all pages submitted so far are committed.
    fn settle(&self) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// End offsets of the records topic by partition, after a settle.
    fn end_offsets(&self) -> impl Future<Output = Result<Vec<i64>, SinkClosed>> + Send;
}
