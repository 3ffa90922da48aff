//! The log as the commit loop needs it, and what its failures ask for.
//!
//! It must not know Kafka's client; a test scripts it.

use super::transaction::Outgoing;

/// What a failed step asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The same call again.
    #[error("to be repeated: {0}")]
    Retry(String),
    /// Abort, then the same messages again.
    #[error("to be aborted: {0}")]
    Abort(String),
    /// These messages, by their index, can never be sent; abort, then the
    /// others again.
    #[error("messages that cannot be sent: {0:?}")]
    Rejected(Vec<(usize, String)>),
    /// The producer is of no use any more: another one fenced it, or its state
    /// is unknown.
    #[error("fatal: {0}")]
    Fatal(String),
}

/// A transactional log.
pub trait TransactionalLog: Send {
    /// Begins a transaction.
    fn begin(&mut self) -> Result<(), Failure>;
    /// Hands over the message with that index in the transaction.
    fn send(&mut self, index: usize, message: &Outgoing<'_>) -> Result<(), Failure>;
    /// Waits until all that was handed over is delivered.
    fn drain(&mut self) -> Result<(), Failure>;
    /// Commits.
    fn commit(&mut self) -> Result<(), Failure>;
    /// Aborts.
    fn abort(&mut self) -> Result<(), Failure>;
    /// End offsets of the records topic.
    fn end_offsets(&mut self) -> Result<Vec<i64>, Failure>;
}
