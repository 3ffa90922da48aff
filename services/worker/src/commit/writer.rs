//! The loop that commits one partition's transactions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{
    ABORTS, CommitContext, Item, RECORDS, SECONDS, TRANSACTIONS, TransactionalLog,
    collecting::Collecting,
    log::{Failure, RejectedMessage},
    transaction::{RecordBuffer, Transaction},
};
use crate::crash;

/// Pause before a step that failed is repeated.
const RETRY: Duration = Duration::from_millis(100);

/// How long a step is repeated before its outcome counts as unknown. Three times
/// the 15 s after which the broker aborts a transaction.
const SETTLE_LIMIT: Duration = Duration::from_secs(45);

/// Why the loop ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriterEnd {
    /// [`super::Committer::close`] was called, or nobody can submit any more.
    Closed,
    /// The producer was fenced, or its state is unknown.
    Lost(String),
}

pub(super) struct TransactionWriter {
    pub(super) partition: i32,
    pub(super) log: Box<dyn TransactionalLog>,
    pub(super) queue: mpsc::Receiver<Item>,
    /// A permit for each byte that may be submitted besides what is queued.
    pub(super) permits: Arc<Semaphore>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) context: Arc<CommitContext>,
    pub(super) buffer: RecordBuffer,
    pub(super) collecting: Collecting,
}

impl TransactionWriter {
    /// Commits until it is closed or its producer is lost.
    pub(super) fn run(mut self) {
        let partition = self.partition;
        match self.commit_all() {
            WriterEnd::Closed => tracing::debug!(partition, "transactions closed"),
            WriterEnd::Lost(error) => {
                tracing::warn!(partition, error, "the partition's producer is lost");
            }
        }
    }

    fn commit_all(&mut self) -> WriterEnd {
        loop {
            let Some(first) = self.next() else {
                return WriterEnd::Closed;
            };
            let mut transaction = self.collect(first);
            transaction.seal(self.partition, &self.context);
            if let Err(end) = self.commit(transaction) {
                return end;
            }
        }
    }

    fn next(&mut self) -> Option<Item> {
        match self.queue.recv().ok()? {
            Item::Close => None,
            _ if self.closing() => None,
            item => Some(item),
        }
    }

    /// Takes what is queued, and what comes while it collects, until it is full.
    fn collect(&mut self, first: Item) -> Transaction {
        let mut transaction = Transaction::default();
        let mut next = Some(first);
        while let Some(item) = next {
            self.collecting.take(item.interval());
            transaction.add(item, &self.context);
            let wait = self.collecting.wait(Instant::now());
            next = if self.is_full(&transaction) {
                None
            } else if wait.is_zero() || self.is_crowded() {
                self.queue.try_recv().ok()
            } else {
                self.queue.recv_timeout(wait).ok()
            };
        }
        self.collecting.written(Instant::now());
        transaction
    }

    fn is_full(&self, transaction: &Transaction) -> bool {
        let limits = self.context.limits;
        transaction.records >= limits.transaction_records
            || transaction.bytes >= limits.transaction_bytes
    }

    /// Whether pages would soon wait to be submitted. A page holds its bytes until it is
    /// committed, also where its records are not written.
    fn is_crowded(&self) -> bool {
        self.permits.available_permits() < self.context.limits.pending_bytes / 2
    }

    fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Tries a transaction until it is committed.
    pub(super) fn commit(&mut self, mut transaction: Transaction) -> Result<(), WriterEnd> {
        if transaction.is_empty() {
            transaction.committed();
            return Ok(());
        }
        let started = Instant::now();
        loop {
            match self.attempt(&transaction) {
                Ok(()) => break,
                Err(Failure::Fatal(error)) => return Err(WriterEnd::Lost(error)),
                Err(Failure::Rejected(rejected)) => {
                    let mut goes_on = false;
                    let mut last = String::new();
                    for RejectedMessage { index, error } in rejected {
                        last.clone_from(&error);
                        goes_on |= transaction.mark_dead(index, "rejected", error, &self.context);
                    }
                    self.abort()?;
                    if !goes_on {
                        self.pause(&Failure::Abort(last))?;
                    }
                }
                Err(error @ (Failure::Retry(_) | Failure::Abort(_))) => {
                    self.abort()?;
                    self.pause(&error)?;
                }
            }
        }
        crash::point(crash::Point::AfterCommit);
        metrics::counter!(TRANSACTIONS).increment(1);
        metrics::counter!(RECORDS).increment(transaction.records as u64);
        metrics::histogram!(SECONDS).record(started.elapsed().as_secs_f64());
        transaction.committed();
        Ok(())
    }

    /// Writes the pages of a transaction once: begins it, sends every message, waits
    /// for their delivery, and commits.
    fn attempt(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        crash::point(crash::Point::BeforeBegin);
        self.repeat(|log| log.begin())?;
        crash::point(crash::Point::AfterBegin);
        let middle = transaction.len() / 2;
        let context = Arc::clone(&self.context);
        let mut buffer = std::mem::take(&mut self.buffer);
        for index in 0..transaction.len() {
            if index == middle {
                crash::point(crash::Point::MidProduce);
            }
            if self.closing() {
                return Err(Failure::Abort("closed".to_owned()));
            }
            if let Some(message) = transaction.message(index, &mut buffer, &context) {
                if message.payload.is_none() {
                    crash::point(crash::Point::BeforeTombstone);
                }
                self.repeat(|log| log.send(index, &message))?;
            }
        }
        self.buffer = buffer;
        let sent = Instant::now();
        self.log.drain()?;
        let drained = sent.elapsed();
        crash::point(crash::Point::BeforeCommit);
        self.repeat(|log| {
            let committed = log.commit();
            if matches!(committed, Err(Failure::Retry(_))) {
                crash::point(crash::Point::UnknownCommit);
            }
            committed
        })?;
        tracing::trace!(
            partition = self.partition,
            messages = transaction.len(),
            drained_ms = drained.as_millis(),
            total_ms = sent.elapsed().as_millis(),
            "transaction committed"
        );
        Ok(())
    }

    /// Repeats a call while it fails with [`Failure::Retry`]. After [`SETTLE_LIMIT`]
    /// its outcome is unknown: the producer is closed, and the next owner of the
    /// partition reads from the log whether the transaction was committed.
    fn repeat(
        &mut self,
        call: impl Fn(&mut dyn TransactionalLog) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            match call(&mut *self.log) {
                Err(Failure::Retry(error)) if started.elapsed() < SETTLE_LIMIT => {
                    tracing::warn!(
                        partition = self.partition,
                        error,
                        "repeating a step of a transaction"
                    );
                    crate::pause(RETRY);
                }
                Err(Failure::Retry(error)) => return Err(Failure::Fatal(error)),
                settled => return settled,
            }
        }
    }

    fn abort(&mut self) -> Result<(), WriterEnd> {
        metrics::counter!(ABORTS).increment(1);
        match self.repeat(|log| log.abort()) {
            Ok(()) => Ok(()),
            Err(error) => Err(WriterEnd::Lost(error.to_string())),
        }
    }

    fn pause(&self, error: &Failure) -> Result<(), WriterEnd> {
        if self.closing() {
            return Err(WriterEnd::Closed);
        }
        tracing::warn!(partition = self.partition, %error, "making a transaction again");
        crate::pause(RETRY);
        Ok(())
    }
}
