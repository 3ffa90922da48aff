//! Jobs beside the loader: rebuilds, the reprocessing of dead letters, tables of
//! streams without records, reading the log for others, and waiting for the loader.

pub(crate) mod changes;
pub(crate) mod dead_letters;
pub(crate) mod loaded;
pub(crate) mod rebuild;
mod refill;
pub(crate) mod tables;

use super::StoreError;

/// Why dead letters or a rebuild could not be served.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The log cannot be read.
    #[error("kafka: {0}")]
    Kafka(String),
    /// The store does not answer.
    #[error("store: {0}")]
    Store(String),
    /// A record of the log cannot be decoded now.
    #[error("schema: {0}")]
    Schema(String),
    /// A rebuild failed.
    #[error("rebuild: {0}")]
    Rebuild(String),
    /// The process is shutting down.
    #[error("shutting down")]
    Stopped,
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.describe())
    }
}

/// The result of a task that reads Kafka.
fn flatten<T>(read: Result<anyhow::Result<T>, tokio::task::JoinError>) -> Result<T, JobError> {
    match read {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(JobError::Kafka(format!("{error:#}"))),
        Err(error) => Err(JobError::Kafka(error.to_string())),
    }
}
