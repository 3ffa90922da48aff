//! Pages become transactions: one thread for each owned partition takes what
//! its streams have submitted and commits it as one transaction.
//!
//! In reading order: [`sink`] is where a stream submits its pages, [`writer`] the
//! loop that commits them, [`collecting`] how long it waits for more of them,
//! [`transaction`] the messages of one transaction, [`commit_span`] a page's part of a
//! trace, [`log`] the log as the loop needs it, [`producer`] that log on Kafka. It must not
//! know what a page means, nor why a partition is owned.

mod collecting;
mod commit_span;
mod log;
mod producer;
mod sink;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use schemas::{Checkpoint, Definitions};
use tokio::sync::{Semaphore, oneshot, watch};

pub(crate) use log::TransactionalLog;
pub(crate) use producer::fence;
pub(crate) use sink::{StreamSink, StreamState};
#[cfg(test)]
pub(crate) use {log::Failure, transaction::Outgoing};

use crate::{
    config::CommitArgs,
    index::StreamIndex,
    messages::{Message, Messages},
    sync::SinkClosed,
};

/// Counter: committed transactions.
const TRANSACTIONS: &str = "worker_transactions_total";
/// Counter: aborted transactions.
const ABORTS: &str = "worker_transactions_aborted_total";
/// Counter: committed records.
const RECORDS: &str = "worker_records_total";
/// Counter: messages that can never be sent.
const DEAD_LETTERS: &str = "worker_dead_letters_total";
/// Histogram: seconds from begin to committed.
const SECONDS: &str = "worker_transaction_seconds";

/// Describes this module's metrics to the recorder.
pub(crate) fn describe_metrics() {
    metrics::describe_counter!(TRANSACTIONS, "Transactions committed.");
    metrics::describe_counter!(ABORTS, "Transactions aborted and made again.");
    metrics::describe_counter!(RECORDS, "Records committed.");
    metrics::describe_counter!(DEAD_LETTERS, "Records that could never be sent.");
    metrics::describe_histogram!(SECONDS, "Seconds from begin to committed.");
}

/// What the commits of all partitions share.
#[derive(Debug)]
pub(crate) struct CommitContext {
    /// Makes the messages of the small topics.
    pub(crate) messages: Messages,
    /// Limits of one transaction.
    pub(crate) limits: CommitArgs,
    /// The time of day.
    pub(crate) clock: chassis::Clock,
}

/// What the queue of a partition holds.
#[derive(Debug)]
enum Item {
    Page(Box<sink::Submitted>),
    Messages(Vec<Message>, oneshot::Sender<()>),
    /// Wakes the thread so that it ends.
    Close,
}

/// Queues pages and messages for the transactions of one partition. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    /// The control partition.
    pub(crate) partition: i32,
    items: mpsc::Sender<Item>,
    permits: Arc<Semaphore>,
    capacity: usize,
    closing: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
    context: Arc<CommitContext>,
}

impl Committer {
    /// Starts the thread that owns the fenced log of a partition. Fails when the
    /// system has no thread left.
    pub(crate) fn start(
        partition: i32,
        log: Box<dyn TransactionalLog>,
        context: Arc<CommitContext>,
    ) -> std::io::Result<Self> {
        let (items, queue) = mpsc::channel();
        let capacity = context.limits.pending_bytes.max(1);
        let closing = Arc::new(AtomicBool::new(false));
        let permits = Arc::new(Semaphore::new(capacity));
        let (ended_tx, ended) = watch::channel(false);
        let writer = writer::TransactionWriter {
            partition,
            log,
            queue,
            permits: Arc::clone(&permits),
            closing: Arc::clone(&closing),
            context: Arc::clone(&context),
            buffer: transaction::RecordBuffer::default(),
            collecting: collecting::Collecting::default(),
        };
        std::thread::Builder::new()
            .name(format!("commit-{partition}"))
            .spawn(move || {
                writer.run();
                ended_tx.send_replace(true);
            })?;
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

    /// Accepts nothing more. A transaction that is being committed settles, one
    /// that is still being sent is aborted, and what is queued is dropped.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.permits.close();
        // The thread may have ended already.
        drop(self.items.send(Item::Close));
    }

    /// Waits until the thread has closed its producer.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The sender is dropped only after it has sent.
        drop(ended.wait_for(|ended| *ended).await);
    }

    /// Whether the thread has closed its producer.
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Queues messages behind all that was submitted before. The future ends when
    /// they are committed; they are also committed when it is dropped.
    pub(crate) fn publish(
        &self,
        messages: Vec<Message>,
    ) -> impl Future<Output = Result<(), SinkClosed>> + use<> {
        let (done, committed) = oneshot::channel();
        let queued = self.items.send(Item::Messages(messages, done));
        async move {
            queued.or(Err(SinkClosed))?;
            committed.await.or(Err(SinkClosed))
        }
    }

    /// Queues messages behind all that was submitted before.
    pub(crate) fn post(&self, messages: Vec<Message>) -> Result<(), SinkClosed> {
        let (done, _) = oneshot::channel();
        self.items
            .send(Item::Messages(messages, done))
            .or(Err(SinkClosed))
    }

    /// A sink for a stream, from what the log has.
    pub(crate) fn sink(
        &self,
        checkpoint: Checkpoint,
        definitions: Arc<Definitions>,
        index: StreamIndex,
    ) -> StreamSink {
        StreamSink::new(self.clone(), checkpoint, definitions, index)
    }

    /// What the commits of all partitions share.
    pub(crate) fn context(&self) -> &Arc<CommitContext> {
        &self.context
    }
}
