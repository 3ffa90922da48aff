//! Where pages go: [`Sink`] and what it takes.

use std::future::Future;

use schemas::{Millis, Property, PropertySelection};

use super::{Change, Extent, Fetched, Findings, Listed, Object};
use crate::index::Entry;

/// What one commit holds: records, and what they change in the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// In the order in which they are written.
    pub(crate) records: Vec<Record>,
    /// Objects that were last read with a lower fetch sequence are written even if the
    /// log has the same content.
    pub(crate) rewrites_below: Option<i64>,
    /// What the read says of objects that it did not bring.
    pub(crate) findings: Findings,
    /// What the log has of objects that the index lacks.
    pub(crate) seed: Vec<Entry>,
    /// What it changes in the checkpoint.
    pub(crate) change: Change,
}

/// A record before it is encoded. What all records of a run share is in the page's
/// change.
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
    /// Orders the reads of one object; grows with each answer. Set when the record is
    /// queued.
    pub(crate) fetch_sequence: i64,
    /// Set when the record is queued, by the definitions that it then names.
    pub(crate) content_hash: u64,
}

/// The sink accepts no more pages, as the ownership was lost or the process ends. The
/// run ends without another page; the next owner continues from the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink is closed")]
pub(crate) struct SinkClosed;

/// Where pages go, one per stream. A page is reduced to what the log lacks when it is
/// submitted, and pages are committed in that order. It counts the records of runs and
/// streams, and says when suspects are read again.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Hands over a page. Waits for capacity, which is bounded in bytes, and not
    /// for the commit.
    fn submit(&self, page: Page) -> impl Future<Output = Result<(), SinkClosed>> + Send;

    /// The objects that seem to be gone.
    fn suspects(&self) -> Suspects;

    /// What was submitted of the objects of a list.
    fn extent(&self, archived: bool) -> Extent;

    /// Takes the properties that the portal lists; they are written with the next page.
    /// `selection` is which of them are read. `begins_full_pass` is whether all records are
    /// read from now on.
    fn list_definitions(
        &self,
        listed: Fetched<Vec<Property>>,
        selection: Option<&PropertySelection>,
        begins_full_pass: bool,
    ) -> Listed;
}

/// Objects that seem to be gone, by what was submitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Suspects {
    /// Ascending.
    pub(crate) ids: Vec<i64>,
    /// How many of them are live ones, not archived.
    pub(crate) live: usize,
    /// How many live objects there are, these included.
    pub(crate) live_objects: usize,
    /// How many of them are archived.
    pub(crate) archived: usize,
    /// How many archived objects there are, these included.
    pub(crate) archived_objects: usize,
}
