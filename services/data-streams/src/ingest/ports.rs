//! What the ingest needs from others: a store, the control state, commits.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use async_trait::async_trait;
use schemas::{Definitions, Millis, default_destination};

use super::{
    KnownRebuild, LogPosition, RebuildLease, RebuildState, Rows, Stored, TableLoss, TableSet,
    Target,
};

/// Inserts into the tables of one target, with the columns that these had when
/// the inserts were created.
#[async_trait]
pub trait Inserts: Send + Sync {
    /// Inserts all rows or none. Repeating the same rows through the same inserts
    /// stores them once.
    async fn insert(&self, rows: Rows<'_>) -> Result<Stored, StoreError>;
}

/// What to do about a [`StoreError`].
#[derive(Debug, Clone, PartialEq, Eq, Copy)]
pub enum StoreErrorKind {
    /// Retry the same request until it succeeds.
    Unavailable,
    /// The columns differ from those that the rows were encoded for: apply the
    /// definitions, then encode again.
    SchemaChanged,
    /// The store rejects the rows because of their content.
    Poison,
    /// Retries fail until somebody fixes the cause, such as a wrong password or a
    /// full disk. The request is retried anyway, because no data is dropped.
    Fatal,
    /// The store answers, and the tables of this target fail. Others may work.
    Target,
    /// The target's tables, or their names, belong to somebody else. Others may work.
    NotOurs,
}

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct StoreError {
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// What was attempted. Contains no values of rows.
    pub context: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error without a source.
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// The error with its sources, on one line.
    pub(crate) fn describe(&self) -> String {
        chassis::with_causes(self)
    }
}

/// The warehouse as the ingest sees it.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The id that the warehouse got when it was created. Another warehouse, or
    /// one that was emptied, has another id.
    async fn warehouse_id(&self) -> Result<String, StoreError>;

    /// Adds to the existing tables what an earlier version of this program did not
    /// have.
    async fn upgrade(&self) -> Result<(), StoreError>;

    /// Creates the tables and views of a target, and adds the columns of these
    /// definitions. Without definitions, new tables have no property columns yet.
    /// Reads the tables' columns again, because it is also called after
    /// [`StoreErrorKind::SchemaChanged`].
    async fn apply(
        &self,
        target: &Target,
        definitions: Option<&Definitions>,
    ) -> Result<(), StoreError>;

    /// Inserts for the tables of a target, to which definitions were applied
    /// before.
    fn inserts(&self, target: &Target) -> Result<Box<dyn Inserts + '_>, StoreError>;

    /// Removes the shadow tables of an earlier rebuild.
    async fn begin_rebuild(&self) -> Result<(), StoreError>;

    /// The first live table that would lose many objects by the exchange, of those that
    /// were fetched before a time; `None` where exchanges have begun already.
    async fn rebuild_losses(&self, before: Millis) -> Result<Option<TableLoss>, StoreError>;

    /// Exchanges every live table with its shadow table and drops the old one.
    /// Live tables without a shadow table are emptied, because the log no longer
    /// has their rows. The rebuild counts as unfinished from the first exchange
    /// until it is closed. Exchanges nothing more once the lease is another instance's.
    async fn finish_rebuild(&self, lease: &RebuildLease) -> Result<(), StoreError>;

    /// Ends the rebuild: the new tables also have the rows that were loaded into
    /// the old ones meanwhile.
    async fn close_rebuild(&self) -> Result<(), StoreError>;

    /// Whether a rebuild was interrupted between its first exchange and its close.
    /// The tables may then lack rows that were loaded meanwhile.
    async fn rebuild_is_unfinished(&self) -> Result<bool, StoreError>;

    /// Keeps a rebuild that somebody asks for, unless one is to be carried out already.
    async fn ask_rebuild(&self, asked: &RebuildState) -> Result<(), StoreError>;

    /// The last rebuilds, newest first.
    async fn rebuilds(&self) -> Result<Vec<KnownRebuild>, StoreError>;

    /// Keeps the state of a rebuild that `before` carries out, and `owner` from now on.
    /// Does nothing where somebody else carries it out.
    async fn note_rebuild(
        &self,
        state: &RebuildState,
        before: &str,
        owner: &str,
    ) -> Result<(), StoreError>;

    /// How far a topic was loaded when that was last noted: by partition, the next
    /// offset to read. A store that was restored from a backup says how far it was
    /// then.
    async fn loaded(&self, topic: &str) -> Result<BTreeMap<i32, i64>, StoreError>;

    /// Notes how far a topic is loaded.
    async fn note_loaded(&self, topic: &str, next: &BTreeMap<i32, i64>) -> Result<(), StoreError>;

    /// Up to where the records of connections were purged.
    async fn purged(&self, topic: &str) -> Result<Purged, StoreError>;

    /// Notes that the records of a connection before these offsets are purged.
    async fn note_purged(
        &self,
        connection: &str,
        topic: &str,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<(), StoreError>;

    /// Positions whose dead letters were stored later.
    async fn recovered(&self) -> Result<HashSet<LogPosition>, StoreError>;

    /// Notes that the dead letters of these positions are stored now.
    async fn remember_recovered(&self, positions: &[LogPosition]) -> Result<(), StoreError>;
}

/// A stream whose first full pass has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadStream {
    /// The connection.
    pub connection: String,
    /// The object type.
    pub object_type: String,
    /// HubSpot's id of the account.
    pub portal_id: i64,
}

impl ReadStream {
    /// The target of the stream, by the default rule if no command names its
    /// destination.
    pub(crate) fn target(&self, control: &dyn ControlState, tables: TableSet) -> Target {
        Target {
            connection: self.connection.clone(),
            portal_id: self.portal_id,
            destination: control
                .destination(&self.connection)
                .unwrap_or_else(|| default_destination(&self.connection)),
            object_type: self.object_type.clone(),
            tables,
        }
    }
}

/// What the ingest reads from the control state, which is built from the commands
/// and status topics.
pub trait ControlState: fmt::Debug + Send + Sync + 'static {
    /// Destination of a connection; `None` if no command names it yet.
    fn destination(&self, connection: &str) -> Option<String>;

    /// Whether all commands were read once.
    fn has_read_all(&self) -> bool;

    /// Whether the last command of a connection deleted it.
    fn is_deleted(&self, connection: &str) -> bool;

    /// The streams whose first full pass has ended.
    fn read_streams(&self) -> Vec<ReadStream>;
}

/// Up to where the records of connections were purged, by connection and partition.
pub type Purged = HashMap<String, BTreeMap<i32, PurgedEnd>>;

/// Up to where the records of a connection were purged in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgedEnd {
    /// The next offset to load.
    pub offset: i64,
    /// When that was noted, in ms by the store's clock. A later record with a lower offset
    /// is in a topic that was made anew.
    pub at: i64,
}

/// Commits offsets.
#[async_trait]
pub trait Commits: fmt::Debug + Send + Sync + 'static {
    /// Commits the next offset to read, by partition. `read` is further where records of
    /// some streams wait: all others are stored up to there.
    async fn commit(
        &self,
        next: &BTreeMap<i32, i64>,
        read: &BTreeMap<i32, i64>,
    ) -> Result<(), String>;
}
