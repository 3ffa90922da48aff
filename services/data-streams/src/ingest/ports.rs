//! What the ingest needs of others: a store, the control state, commits.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use async_trait::async_trait;
use schemas::{Definitions, FullPass, default_destination};

use super::{LogPosition, Rows, Stored, TableSet, Target};

/// Inserts into the tables of one target, with the columns that they had when
/// it was made.
#[async_trait]
pub trait Inserts: Send + Sync {
    /// Inserts rows as a whole. The same rows through the same inserts are
    /// inserted once, however often.
    async fn insert(&self, rows: Rows<'_>) -> Result<Stored, StoreError>;
}

/// What to do about a [`StoreError`].
#[derive(Debug, Clone, PartialEq, Eq, Copy)]
pub enum StoreErrorKind {
    /// Send the same again until it succeeds.
    Unavailable,
    /// The tables are not what the rows were encoded for: apply, begin anew.
    SchemaChanged,
    /// The rows are refused for what is in them.
    Poison,
    /// No retry helps until somebody changes something (a wrong password, a
    /// full disk); it is tried again all the same, as data is never dropped.
    Fatal,
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct StoreError {
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// What was tried. Names no value of a row.
    pub context: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error without a cause of its own.
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }
}

/// The warehouse as the ingest sees it.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Id that the warehouse was given when it was made; another warehouse, or
    /// an emptied one, has another.
    async fn warehouse_id(&self) -> Result<String, StoreError>;

    /// Brings the tables and views of a target to these definitions: creates
    /// them, adds columns. Without definitions the tables have no property
    /// columns yet. Called again after [`StoreErrorKind::SchemaChanged`], then
    /// with whatever cache of columns there is to be read anew.
    async fn apply(
        &self,
        target: &Target,
        definitions: Option<&Definitions>,
    ) -> Result<(), StoreError>;

    /// Inserts into the tables of a target, which has been applied before.
    fn inserts(&self, target: &Target) -> Result<Box<dyn Inserts + '_>, StoreError>;

    /// Marks the rows of a target as deleted whose fetch sequence is below the
    /// pass's and that are not marked yet; returns how many. Doing it twice is
    /// doing it once.
    async fn mark_deleted(&self, target: &Target, pass: &FullPass) -> Result<u64, StoreError>;

    /// Empties the shadow tables of an earlier rebuild, if there are any.
    async fn begin_rebuild(&self) -> Result<(), StoreError>;

    /// Exchanges every live table with its shadow, which has been applied
    /// before, and drops what was live. Live tables without a shadow are
    /// emptied: the log no longer has their rows. From its first exchange on
    /// the rebuild is unfinished, until it is closed.
    async fn finish_rebuild(&self) -> Result<(), StoreError>;

    /// What was loaded into the old tables meanwhile is in the new ones.
    async fn close_rebuild(&self) -> Result<(), StoreError>;

    /// Whether a rebuild was cut off between its first exchange and its close:
    /// the tables may lack what was loaded meanwhile.
    async fn rebuild_is_unfinished(&self) -> Result<bool, StoreError>;

    /// Places whose dead letters have been stored since.
    async fn recovered(&self) -> Result<HashSet<LogPosition>, StoreError>;

    /// Keeps in mind that the dead letters of these places are stored now.
    async fn remember_recovered(&self, places: &[LogPosition]) -> Result<(), StoreError>;
}

/// A full pass of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPass {
    /// The connection.
    pub connection: String,
    /// The object type.
    pub object_type: String,
    /// The pass.
    pub pass: FullPass,
}

impl StreamPass {
    /// The target of the stream.
    pub(crate) fn target(&self, control: &dyn ControlState, tables: TableSet) -> Target {
        Target {
            connection: self.connection.clone(),
            destination: control
                .destination(&self.connection)
                .unwrap_or_else(|| default_destination(&self.connection)),
            object_type: self.object_type.clone(),
            tables,
        }
    }
}

/// What the ingest asks of the control state, which is folded from the
/// commands and status topics.
pub trait ControlState: fmt::Debug + Send + Sync + 'static {
    /// Destination of a connection; `None` where no command names it (yet).
    fn destination(&self, connection: &str) -> Option<String>;

    /// The last full pass of every stream that has one.
    fn full_passes(&self) -> Vec<StreamPass>;
}

/// Commits what is stored.
#[async_trait]
pub trait Commits: fmt::Debug + Send + Sync + 'static {
    /// Commits the offsets to go on from.
    async fn commit(&self, next: &BTreeMap<i32, i64>) -> Result<(), String>;
}
