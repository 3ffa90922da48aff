//! Loads records from Kafka into the warehouse. The modules, in the order in
//! which a record passes them:
//!
//! 1. `poll` reads messages from Kafka and collects them in batches.
//! 2. `decode` decodes each message and routes its record to a target.
//! 3. `store` prepares the tables, inserts the rows, writes what cannot be
//!    stored to the dead letters, and commits the offsets.
//! 4. `jobs` run beside this: rebuilds, the reprocessing of dead letters, and the
//!    tables of streams without records.
//!
//! An offset is committed only after the store has acknowledged every row before
//! it, and Kafka every dead letter before it. `ports` are the traits that others
//! implement, `parts` is what loader and jobs share, `run` connects them all.
//!
//! The ingest must not know `ClickHouse` or HTTP.

pub mod conditions;
mod decode;
#[cfg(test)]
mod fakes;
mod jobs;
mod metrics;
mod parts;
mod poll;
mod ports;
mod rebuild_state;
mod run;
mod store;

use std::{ops::AddAssign, time::Duration};

use schemas::{CrmRecord, Properties};

pub(crate) use metrics::describe_metrics;
pub use ports::{
    Commits, ControlState, Inserts, Purged, PurgedEnd, ReadStream, Store, StoreError,
    StoreErrorKind,
};
pub use run::Ingest;
pub use {
    decode::router::WaitLimits,
    jobs::{
        JobError,
        changes::{ChangeBatch, ChangeQuery, LoggedRecord},
        dead_letters::{ListedLetter, Reprocessed},
    },
    parts::IngestSettings,
    poll::batch::BatchLimits,
    rebuild_state::{KnownRebuild, RebuildLease, RebuildPhase, RebuildState, TableLoss},
    store::rows::Rows,
};

/// The position of a message in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition {
    /// Topic, including its prefix.
    pub topic: String,
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// A record to store, borrowed from its message.
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

/// The two copies of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableSet {
    /// The tables that users query.
    Live,
    /// The tables that a rebuild fills.
    Shadow,
}

/// Where the records of one object type of one connection and account go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The connection that fetches them.
    pub connection: String,
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// The database that users query.
    pub destination: String,
    /// Object type.
    pub object_type: String,
    /// Live or shadow tables.
    pub tables: TableSet,
}

/// What was inserted into one table.
#[derive(Debug, Clone)]
pub struct Inserted {
    /// Full name of the table, for logs and metrics.
    pub table: String,
    /// Number of rows.
    pub rows: usize,
    /// Size of the encoded rows, in bytes.
    pub bytes: usize,
    /// Time from the encoding of the first row to the answer.
    pub took: Duration,
}

/// How many values are stored as text, beside or instead of their columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptAsText {
    /// Values that do not fit the type of their column.
    pub text: u64,
    /// Values whose exact text cannot be restored from their column.
    pub form: u64,
}

impl AddAssign for KeptAsText {
    fn add_assign(&mut self, other: Self) {
        self.text += other.text;
        self.form += other.form;
    }
}

/// A row that the store rejects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// Index of the row.
    pub index: usize,
    /// What is wrong with it.
    pub error: String,
}

/// The result of [`Inserts::insert`].
#[derive(Debug, Default)]
pub struct Stored {
    /// What was inserted into each table.
    pub tables: Vec<Inserted>,
    /// Rows that cannot be stored, by their index among those given.
    pub refused: Vec<RefusedRow>,
    /// Values stored as text.
    pub kept_as_text: KeptAsText,
}
