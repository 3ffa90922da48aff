//! Stored records and the questions about them: what the API asks and the
//! warehouse answers.

use schemas::Millis;

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
    /// Whether to include archived objects.
    pub archived: ArchivedFilter,
    /// Only these properties; `None` for every property that is set.
    pub properties: Option<Vec<String>>,
}

impl RecordQuery {
    /// Whether nearly every stored object matches: no filter but the default one
    /// on archived objects, of which there are few.
    pub(crate) fn matches_nearly_all(&self) -> bool {
        self.ids.is_none()
            && self.updated_since.is_none()
            && self.updated_before.is_none()
            && self.archived != ArchivedFilter::Only
    }
}

/// Whether a query includes archived objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchivedFilter {
    /// Only objects that are not archived.
    #[default]
    Exclude,
    /// Only archived objects.
    Only,
    /// Both.
    Include,
}

impl ArchivedFilter {
    pub(crate) fn matches(self, is_archived: bool) -> bool {
        match self {
            Self::Exclude => !is_archived,
            Self::Only => is_archived,
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
