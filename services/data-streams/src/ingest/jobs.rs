//! Jobs beside the loader: rebuilds, the reprocessing of dead letters, and tables of
//! streams without records.

pub(crate) mod dead_letters;
pub(crate) mod rebuild;
pub(crate) mod tables;

use super::{StoreError, store::inserter::describe};

/// Why dead letters or a rebuild could not be served.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The log cannot be read.
    #[error("kafka: {0}")]
    Kafka(String),
    /// The store does not answer.
    #[error("store: {0}")]
    Store(String),
    /// The process is shutting down.
    #[error("shutting down")]
    Stopped,
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        Self::Store(describe(&error))
    }
}
