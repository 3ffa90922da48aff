//! Where pages come from: [`Source`], its answers and its failures.

use std::future::Future;

use schemas::{
    Budget, Definitions, Millis, Property, PropertyMap, PropertySelection,
    checkpoint::ARCHIVED_LIST,
};

/// One object as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Object {
    /// HubSpot's id.
    pub(crate) id: i64,
    /// HubSpot's `createdAt`.
    pub(crate) created_at: Millis,
    /// HubSpot's `updatedAt`.
    pub(crate) updated_at: Millis,
    /// Whether it is in the recycle bin.
    pub(crate) archived: bool,
    /// Ids of objects merged into this one (`hs_merged_object_ids`).
    pub(crate) merged_ids: Vec<i64>,
    /// All properties that are set.
    pub(crate) properties: PropertyMap,
}

/// An answer of the source, with the time that orders it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetched<T> {
    /// HubSpot's time when the request was sent: its last `Date` plus the time
    /// measured since.
    pub(crate) sent_at: Millis,
    /// The answer.
    pub(crate) value: T,
}

/// Objects per page of a list, the most that HubSpot allows.
pub(crate) const FULL_PAGE: usize = 100;

/// The page of a list to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListRequest<'a> {
    /// Which of the two lists.
    pub(crate) archived: bool,
    /// Cursor of the page; `None` for the first one.
    pub(crate) after: Option<&'a str>,
    /// How many objects it has at most, up to [`FULL_PAGE`].
    pub(crate) limit: usize,
    /// Ids and times without properties.
    pub(crate) ids_only: bool,
}

/// A page of the list endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListPage {
    /// In the order of the answer.
    pub(crate) objects: Vec<Object>,
    /// Cursor of the next page; `None` at the end of the list.
    pub(crate) next: Option<String>,
}

/// A page of a search: ids only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SearchPage {
    /// In the order of the answer, which should be ascending.
    pub(crate) ids: Vec<i64>,
    /// How many objects match in total.
    pub(crate) total: i64,
    /// Whether the answer names a next page, which a short page can do as well.
    /// After an empty page that names one, the source itself reads the next
    /// page, as the search continues from an id.
    pub(crate) more: bool,
}

/// The result of a batch read by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObjectBatch {
    /// Objects with the id of the answer, without duplicates.
    pub(crate) objects: Vec<Object>,
    /// Requested ids that the answer does not have.
    pub(crate) missing: Vec<i64>,
}

/// A search for ids: last-modified in `[from, to)`, id above `after_id`,
/// ascending by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Search {
    /// Inclusive.
    pub(crate) from: Millis,
    /// Exclusive; `None` for no end.
    pub(crate) to: Option<Millis>,
    /// Only ids above it; 0 for all.
    pub(crate) after_id: i64,
    /// Only the highest id, with the number of all.
    pub(crate) highest: bool,
}

impl Search {
    /// The highest id of all objects, with their number.
    pub(crate) const HIGHEST: Self = Self {
        from: 0,
        to: None,
        after_id: 0,
        highest: true,
    };
}

/// The account behind a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Portal {
    /// HubSpot's id of the account.
    pub(crate) portal_id: i64,
    /// HubSpot's time now.
    pub(crate) now: Millis,
}

/// A failure of the source and what to do about it. The table in `hubspot/error.rs`
/// decides. Transient failures do not get here, as the source retries them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct SourceError {
    /// What to do.
    pub(crate) advice: Advice,
    /// Stable code, `snake_case`, for the status.
    pub(crate) code: &'static str,
    /// What went wrong and where, for people.
    pub(crate) problem: String,
    /// What the user can do about it.
    pub(crate) remedy: String,
}

/// A failure of a read of several objects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub(crate) struct ReadError {
    /// The failure.
    pub(crate) error: SourceError,
    /// The source failed on this request, after a few attempts: one that asks for fewer
    /// objects can work.
    pub(crate) may_shrink: bool,
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        Self {
            error,
            may_shrink: false,
        }
    }
}

impl From<ReadError> for SourceError {
    fn from(failed: ReadError) -> Self {
        failed.error
    }
}

/// What to do about a failure of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Try again at the given HubSpot time; the checkpoint is kept.
    WaitUntil(Millis),
    /// Skip this stream for minutes, growing to hours, or until the next command; others
    /// continue.
    SkipStream,
    /// Stop the connection's streams, and connect again after a growing time or at the next
    /// command.
    StopConnection,
    /// The answer contradicts the protocol, for example a cursor that is refused:
    /// end the run, and start the next one from the beginning.
    EndRun,
    /// The object type does not have this: go on without it, and try it again after
    /// growing times.
    DoWithout(Capability),
}

/// What most object types have and some do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Capability {
    /// A list of the archived objects.
    ArchivedList,
    /// Search.
    Search,
    /// Reads of several objects by their ids.
    BatchRead,
    /// The values of sensitive properties.
    Sensitive,
    /// The values of highly sensitive properties.
    HighlySensitive,
}

impl Capability {
    /// The kinds of properties whose values need scopes of their own.
    pub(crate) const SENSITIVE: [Self; 2] = [Self::Sensitive, Self::HighlySensitive];

    /// Its name in checkpoint and status.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ArchivedList => ARCHIVED_LIST,
            Self::Search => "search",
            Self::BatchRead => "batch_read",
            Self::Sensitive => "sensitive_properties",
            Self::HighlySensitive => "highly_sensitive_properties",
        }
    }

    /// What it costs to do without it, and what is done about it.
    pub(crate) const fn cost(self) -> &'static str {
        match self {
            Self::ArchivedList => {
                "none needed: objects that are archived are found by full passes only, and one \
                 that is erased then is not; the list is tried again at growing intervals"
            }
            Self::Search => {
                "none needed: changes are found by full passes only; search is tried again at \
                 growing intervals"
            }
            Self::BatchRead => {
                "none needed: objects are read one by one, which takes more requests; batch \
                 reads are tried again at growing intervals"
            }
            Self::Sensitive | Self::HighlySensitive => {
                "give the app or key the scope that HubSpot names; these properties are left \
                 out until then, and tried again at growing intervals"
            }
        }
    }
}

/// A portal to read from, one per connection, shared by its streams. Every method
/// waits for the rate limits and retries transient failures. Its future may be
/// dropped at any await, which cancels the request.
pub(crate) trait Source: Send + Sync + 'static {
    /// HubSpot's time now: its last `Date` plus the time measured since.
    fn now(&self) -> Millis;

    /// The time before which no recheck (`late`, `archived` or `full` run) may
    /// start, as their share of the daily allowance is spent. `None` without a
    /// restriction.
    fn rechecks_from(&self) -> Option<Millis> {
        None
    }

    /// How much of the account's limits is used now; `None` if the source has none.
    fn budget(&self) -> Option<Budget> {
        None
    }

    /// A run over changes is about to start: passes over the lists leave room for it
    /// from now on, at any time.
    fn make_way(&self) {}

    /// Reads the account.
    fn portal(&self) -> impl Future<Output = Result<Portal, SourceError>> + Send;

    /// Reads the scopes that the credential has, sorted by name; `None` if HubSpot does
    /// not say.
    fn scopes(&self) -> impl Future<Output = Option<Vec<String>>> + Send {
        async { None }
    }

    /// Reads the properties that the portal defines for an object type.
    fn definitions(
        &self,
        object_type: &str,
    ) -> impl Future<Output = Result<Fetched<Vec<Property>>, SourceError>> + Send;

    /// Reads the properties of a sensitive kind whose values the token may read, and how
    /// many requests that took. Reads no value of a property that `selection` lacks.
    /// Advises to do without the kind where the token may not.
    fn sensitive_properties(
        &self,
        _object_type: &str,
        _kind: Capability,
        _selection: Option<&PropertySelection>,
    ) -> impl Future<Output = Result<(Vec<Property>, i64), SourceError>> + Send {
        async { Ok((Vec::new(), 0)) }
    }

    /// What was learnt of the sensitive properties of an object type is read again by the
    /// next [`sensitive_properties`](Self::sensitive_properties).
    fn forget_sensitive(&self, _object_type: &str) {}

    /// Reads a page of the live or archived list, with all `properties`.
    fn list(
        &self,
        object_type: &str,
        request: ListRequest<'_>,
        properties: &Definitions,
    ) -> impl Future<Output = Result<Fetched<ListPage>, ReadError>> + Send;

    /// Reads how many live objects of a type the account has, whatever the token may see;
    /// `None` if HubSpot does not say.
    fn record_count(
        &self,
        object_type: &str,
    ) -> impl Future<Output = Result<Option<i64>, SourceError>> + Send;

    /// Reads a page of up to 200 ids.
    fn search(
        &self,
        object_type: &str,
        search: Search,
    ) -> impl Future<Output = Result<Fetched<SearchPage>, SourceError>> + Send;

    /// Reads up to 100 objects by id.
    fn batch_read(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        properties: &Definitions,
    ) -> impl Future<Output = Result<Fetched<ObjectBatch>, ReadError>> + Send;

    /// Reads objects by id, one by one, where the type has no batch read.
    fn read_each(
        &self,
        object_type: &str,
        ids: &[i64],
        archived: bool,
        properties: &Definitions,
    ) -> impl Future<Output = Result<Fetched<ObjectBatch>, ReadError>> + Send;
}
