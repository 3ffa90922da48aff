//! Kafka into the warehouse: poll, decode, batch, store, commit.
//!
//! The order is the promise: a place in the log is committed only after the
//! store has answered for everything before it, and what cannot be stored is
//! in the dead letters by then. It must not know `ClickHouse`, nor HTTP.

pub mod conditions;
pub mod decode;
pub mod definitions;
#[cfg(test)]
mod fakes;
pub mod jobs;
pub mod metrics;
pub mod poll;
mod replay;
mod run;
pub mod store;

use std::{collections::HashSet, fmt, ops::AddAssign, time::Duration};

use async_trait::async_trait;
use schemas::{CrmRecord, Definitions, FullPass, property_map::Properties};

use run::Inner;
pub use run::{Ingest, ReplayError, Settings};
pub use store::rows::Rows;
// The paths that the crate's other modules use.
pub use {decode::router as intake, jobs::rebuild, poll::batch, store::dead_letter};

/// Where a record came from: its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Topic, prefix included.
    pub topic: String,
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// One record to store, read where it lies in its message.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The record.
    pub record: CrmRecord<'a, Properties<'a>>,
    /// Topic it was read from.
    pub topic: &'a str,
    /// Partition it was read from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// Which copy of the tables is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tables {
    /// The tables that people query.
    Live,
    /// The tables that a rebuild fills beside them.
    Shadow,
}

/// Where the records of one object type of one connection go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The connection that fetched them.
    pub connection: String,
    /// The database that people query.
    pub destination: String,
    /// Object type.
    pub object_type: String,
    /// Live or shadow tables.
    pub tables: Tables,
}

/// What was inserted into one table.
#[derive(Debug, Clone)]
pub struct Inserted {
    /// Full name of the table, for logs and metrics.
    pub table: String,
    /// How many rows.
    pub rows: usize,
    /// Size of the encoded rows.
    pub bytes: usize,
    /// From the encoding of its first row to the answer.
    pub took: Duration,
}

/// How many values are kept as their text, beside or instead of their columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptAsText {
    /// They do not fit the type of their column.
    pub text: u64,
    /// The column alone does not give their text back.
    pub form: u64,
}

impl AddAssign for KeptAsText {
    fn add_assign(&mut self, other: Self) {
        self.text += other.text;
        self.form += other.form;
    }
}

/// What became of the rows given to [`Inserts::insert`].
#[derive(Debug, Default)]
pub struct Stored {
    /// By table.
    pub tables: Vec<Inserted>,
    /// Place among the rows of each that no column can take, and why.
    pub refused: Vec<(usize, String)>,
    /// Of the values stored.
    pub kept_as_text: KeptAsText,
}

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
    async fn close_rebuild(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether a rebuild was cut off between its first exchange and its close:
    /// the tables may lack what was loaded meanwhile.
    async fn rebuild_is_unfinished(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Places whose dead letters have been stored since.
    async fn recovered(&self) -> Result<HashSet<Place>, StoreError> {
        Ok(HashSet::new())
    }

    /// Keeps in mind that the dead letters of these places are stored now.
    async fn remember_recovered(&self, places: &[Place]) -> Result<(), StoreError> {
        // A store that keeps nothing in mind stores them once more: the same rows.
        tracing::debug!(places = places.len(), "recovered places are not kept");
        Ok(())
    }
}

/// What the ingest asks of the control state, which is folded from the
/// commands and status topics.
pub trait Control: fmt::Debug + Send + Sync + 'static {
    /// Destination of a connection; `None` where no command names it (yet).
    fn destination(&self, connection: &str) -> Option<String>;

    /// Connection, object type and full pass of every stream that has one.
    fn full_passes(&self) -> Vec<(String, String, FullPass)>;
}
