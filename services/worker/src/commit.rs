//! Pages become transactions: one thread for each owned partition takes what
//! its streams have submitted and commits it as one.
//!
//! It must not know what a page means, nor why a partition is owned.

mod log;
mod producer;
mod sink;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use schemas::{Checkpoint, Definitions};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use log::TransactionalLog;
pub use producer::fence;
pub use sink::{StreamSink, StreamState};
#[cfg(test)]
pub use {log::Failure, transaction::Outgoing};

use crate::{
    config::CommitArgs,
    messages::{Message, Messages},
    sync::SinkClosed,
};

/// Name of the counter of committed transactions.
pub const TRANSACTIONS: &str = "worker_transactions_total";
/// Name of the counter of aborted transactions.
pub const ABORTS: &str = "worker_transactions_aborted_total";
/// Name of the counter of committed records.
pub const RECORDS: &str = "worker_records_total";
/// Name of the counter of records that could never be sent.
pub const DEAD_LETTERS: &str = "worker_dead_letters_total";
/// Name of the histogram of seconds from begin to committed.
pub const SECONDS: &str = "worker_transaction_seconds";

/// What the commits of all partitions share.
#[derive(Debug)]
pub struct CommitContext {
    /// Makes the messages that are not records.
    pub messages: Messages,
    /// Limits of one transaction.
    pub limits: CommitArgs,
    /// The time of day.
    pub clock: chassis::Clock,
}

/// What the thread takes.
#[derive(Debug)]
enum Item {
    Page(Box<sink::Submitted>),
    Messages(Vec<Message>, oneshot::Sender<()>),
    EndOffsets(oneshot::Sender<Vec<i64>>),
    /// Wakes a thread that waits, so that it sees that it is to end.
    Close,
}

/// The way into one partition's transactions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    /// The control partition.
    pub partition: i32,
    items: mpsc::UnboundedSender<Item>,
    permits: Arc<Semaphore>,
    capacity: usize,
    closing: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
    context: Arc<CommitContext>,
}

impl Committer {
    /// Starts the thread that owns the fenced log of a partition.
    pub fn start(
        partition: i32,
        log: Box<dyn TransactionalLog>,
        context: Arc<CommitContext>,
    ) -> std::io::Result<Self> {
        let (items, queue) = mpsc::unbounded_channel();
        let capacity = context.limits.pending_bytes.max(1);
        let closing = Arc::new(AtomicBool::new(false));
        let (ended_tx, ended) = watch::channel(false);
        let writer = writer::TransactionWriter {
            partition,
            log,
            queue,
            closing: Arc::clone(&closing),
            context: Arc::clone(&context),
            buffer: transaction::RecordBuffer::default(),
        };
        std::thread::Builder::new()
            .name(format!("commit-{partition}"))
            .spawn(move || {
                writer.run();
                ended_tx.send_replace(true);
            })?;
        let permits = Arc::new(Semaphore::new(capacity));
        Ok(Self {
            partition,
            items,
            permits,
            capacity,
            closing,
            ended,
            context,
        })
    }

    /// Takes nothing more: the transaction that is being committed settles, one
    /// that is not is aborted, what waits is dropped.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.permits.close();
        // The thread may have ended already.
        drop(self.items.send(Item::Close));
    }

    /// Waits until the thread has let go of its producer.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The sender is dropped only after it has sent.
        drop(ended.wait_for(|ended| *ended).await);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Commits messages, after all that was submitted before.
    pub async fn publish(&self, messages: Vec<Message>) -> Result<(), SinkClosed> {
        let (done, committed) = oneshot::channel();
        self.items
            .send(Item::Messages(messages, done))
            .or(Err(SinkClosed))?;
        committed.await.or(Err(SinkClosed))
    }

    /// Hands messages over, to be committed after all that was submitted before.
    pub fn post(&self, messages: Vec<Message>) -> Result<(), SinkClosed> {
        let (done, _) = oneshot::channel();
        self.items
            .send(Item::Messages(messages, done))
            .or(Err(SinkClosed))
    }

    /// A stream's way in, from the position and the definitions that the log
    /// has.
    pub fn sink(&self, checkpoint: Checkpoint, definitions: Arc<Definitions>) -> StreamSink {
        StreamSink::new(self.clone(), checkpoint, definitions)
    }

    async fn end_offsets(&self) -> Result<Vec<i64>, SinkClosed> {
        let (answer, offsets) = oneshot::channel();
        self.items
            .send(Item::EndOffsets(answer))
            .or(Err(SinkClosed))?;
        offsets.await.or(Err(SinkClosed))
    }

    /// What the commits of all partitions share.
    pub fn context(&self) -> &Arc<CommitContext> {
        &self.context
    }
}

/// How long a commit is repeated before the checkpoint has to tell whether it
/// took place. The broker gives a transaction 15 s.
const SETTLE_LIMIT: Duration = Duration::from_secs(45);
