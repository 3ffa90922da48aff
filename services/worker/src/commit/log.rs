//! The log as the commit loop needs it, and what to do about its failures. Tests
//! replace it by one with scripted failures.

use super::transaction::Outgoing;

/// What to do about a step that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Repeat the call.
    #[error("to be repeated: {0}")]
    Retry(String),
    /// Abort, then send the same messages again.
    #[error("to be aborted: {0}")]
    Abort(String),
    /// Abort, then send these messages to dead letters and the others again.
    #[error("messages that can never be sent: {0:?}")]
    Rejected(Vec<RejectedMessage>),
    /// Close the producer: another one fenced it, or its state is unknown.
    #[error("fatal: {0}")]
    Fatal(String),
}

/// A message that can never be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RejectedMessage {
    /// Its index in the transaction.
    pub(crate) index: usize,
    /// What the broker or the client said.
    pub(crate) error: String,
}

/// A transactional log. Every call may block.
pub(crate) trait TransactionalLog: Send {
    /// Begins a transaction.
    fn begin(&mut self) -> Result<(), Failure>;
    /// Hands over the message with that index in the transaction.
    fn send(&mut self, index: usize, message: &Outgoing<'_>) -> Result<(), Failure>;
    /// Waits until every message handed over is delivered.
    fn drain(&mut self) -> Result<(), Failure>;
    /// Commits.
    fn commit(&mut self) -> Result<(), Failure>;
    /// Aborts.
    fn abort(&mut self) -> Result<(), Failure>;
}
