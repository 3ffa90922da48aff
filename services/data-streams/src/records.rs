//! Stored records and the questions about them: what the API asks and the
//! warehouse answers.

use std::time::Duration;

use schemas::Millis;
use serde_json::value::RawValue;

/// Which records of one object type to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// Database that the connection syncs into.
    pub destination: String,
    /// Object type.
    pub object_type: String,
    /// Maximum number of records on a page; at least 1.
    pub limit: usize,
    /// Only objects with a larger id.
    pub after: Option<u64>,
    /// Only these objects.
    pub ids: Option<Vec<u64>>,
    /// Only objects last modified at or after this time.
    pub updated_since: Option<Millis>,
    /// Only objects last modified before this time.
    pub updated_before: Option<Millis>,
    /// Only objects that were fetched at or after this time.
    pub synced_since: Option<Millis>,
    /// Whether to include archived objects.
    pub archived: FlagFilter,
    /// Whether to include deleted objects.
    pub deleted: FlagFilter,
    /// Only these properties; `None` for every property that is set.
    pub properties: Option<Vec<String>>,
}

impl RecordQuery {
    /// Whether nearly every stored object matches: no filter but the default ones
    /// on archived and deleted objects, of which there are few.
    pub(crate) fn matches_nearly_all(&self) -> bool {
        self.ids.is_none()
            && self.updated_since.is_none()
            && self.updated_before.is_none()
            && self.synced_since.is_none()
            && self.archived != FlagFilter::Only
            && self.deleted != FlagFilter::Only
    }
}

/// Whether a query includes objects with a flag: archived or deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FlagFilter {
    /// Only objects without it.
    #[default]
    Exclude,
    /// Only objects with it.
    Only,
    /// Both.
    Include,
}

impl FlagFilter {
    pub(crate) fn matches(self, is_set: bool) -> bool {
        match self {
            Self::Exclude => !is_set,
            Self::Only => is_set,
            Self::Include => true,
        }
    }
}

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// HubSpot's id of the object.
    pub id: u64,
    /// HubSpot's `createdAt`.
    pub created_at: Millis,
    /// HubSpot's `updatedAt`.
    pub updated_at: Millis,
    /// Whether the object is in HubSpot's recycle bin.
    pub archived: bool,
    /// Whether it was erased, merged into another one, or is gone from HubSpot. It then
    /// has no properties.
    pub deleted: bool,
    /// The properties that are set, as a JSON object with typed values.
    pub properties: String,
}

/// A page of records, by ascending id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecordPage {
    /// At most [`RecordQuery::limit`].
    pub records: Vec<StoredRecord>,
    /// [`RecordQuery::after`] of the next page; `None` on the last page.
    pub next: Option<u64>,
}

/// Which versions of one object to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Database that the connection syncs into.
    pub destination: String,
    /// Object type.
    pub object_type: String,
    /// HubSpot's id of the object.
    pub id: u64,
    /// Maximum number of versions on a page; at least 1.
    pub limit: usize,
    /// Only versions before this one.
    pub before: Option<u128>,
}

/// A version of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVersion {
    /// Made by [`schemas::version`]; the current one has the largest.
    pub version: u128,
    /// HubSpot's `createdAt`.
    pub created_at: Millis,
    /// HubSpot's `updatedAt`.
    pub updated_at: Millis,
    /// When the worker fetched it.
    pub synced_at: Millis,
    /// Whether the object was in HubSpot's recycle bin.
    pub archived: bool,
    /// Whether it was erased, merged into another one, or gone from HubSpot.
    pub deleted: bool,
    /// The object that it was merged into.
    pub merged_into: Option<u64>,
    /// Connection of the worker that fetched it.
    pub connection: String,
    /// The run that fetched it.
    pub run_id: String,
    /// Why that run was made.
    pub reason: String,
    /// Its topic in Kafka.
    pub topic: String,
    /// Its partition in Kafka.
    pub partition: i32,
    /// Its offset in Kafka.
    pub offset: i64,
    /// The properties that were set, as a JSON object with typed values.
    pub properties: String,
}

/// A page of versions, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryPage {
    /// At most [`HistoryQuery::limit`].
    pub versions: Vec<StoredVersion>,
    /// The version before the last of the page: what that one is compared with, and the
    /// first of the next page. `None` on the last page.
    pub earlier: Option<StoredVersion>,
}

/// A question in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlQuery {
    /// The query.
    pub(crate) text: String,
    /// Values of the parameters `{name:Type}` in it.
    pub(crate) parameters: Vec<(String, String)>,
    /// Maximum number of rows.
    pub(crate) limit: usize,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct SqlColumn {
    /// Its name.
    pub(crate) name: String,
    /// ClickHouse's type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// An answer to a question in SQL.
#[derive(Debug)]
pub(crate) struct SqlRows {
    /// Its columns.
    pub(crate) columns: Vec<SqlColumn>,
    /// Each row as a JSON array, in the order of the columns.
    pub(crate) rows: Vec<Box<RawValue>>,
    /// Whether there are more rows than were asked for.
    pub(crate) is_cut: bool,
    /// How long ClickHouse took.
    pub(crate) elapsed: Duration,
}
