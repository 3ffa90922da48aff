//! Kafka into the warehouse: poll, decode, batch, store, commit.
//!
//! The order is the promise: a place in the log is committed only after the
//! store has answered for everything before it, and what cannot be stored is
//! in the dead letters by then. It must not know `ClickHouse`, nor HTTP.

pub mod conditions;
mod decode;
#[cfg(test)]
mod fakes;
mod jobs;
mod metrics;
mod parts;
mod poll;
mod ports;
mod run;
mod store;

use std::{ops::AddAssign, time::Duration};

use schemas::{CrmRecord, Properties};

pub use ports::{Commits, ControlState, Inserts, Store, StoreError, StoreErrorKind, StreamPass};
pub use run::{Ingest, IngestSettings};
pub use {
    decode::router::WaitLimits,
    jobs::{
        JobError,
        dead_letters::Reprocessed,
        rebuild::{RebuildPhase, RebuildState},
    },
    poll::batch::BatchLimits,
    store::{dead_letter::DeadLetter, rows::Rows},
};

/// Where a record came from: its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition {
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
pub enum TableSet {
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
    pub tables: TableSet,
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

/// A row that the store refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// Index among the rows.
    pub index: usize,
    /// What is wrong with it.
    pub error: String,
}

/// What became of the rows given to [`Inserts::insert`].
#[derive(Debug, Default)]
pub struct Stored {
    /// By table.
    pub tables: Vec<Inserted>,
    /// Rows that no column can take, by their index among those inserted.
    pub refused: Vec<RefusedRow>,
    /// Of the values stored.
    pub kept_as_text: KeptAsText,
}
