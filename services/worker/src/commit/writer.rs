//! The loop of one partition's transactions.
//!
//! It must not know Kafka's client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    ABORTS, CommitContext, Item, Log, RECORDS, SECONDS, SETTLE_LIMIT, TRANSACTIONS,
    log::Failure,
    transaction::{Batch, Scratch},
};
use crate::crash;

/// Between two tries of a step that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the loop ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Told to.
    Closed,
    /// The producer is of no use any more.
    Lost(String),
}

pub(super) struct Writer<L> {
    pub(super) partition: i32,
    pub(super) log: L,
    pub(super) queue: mpsc::UnboundedReceiver<Item>,
    pub(super) closing: Arc<AtomicBool>,
    pub(super) context: Arc<CommitContext>,
    pub(super) room: Scratch,
}

impl<L: Log> Writer<L> {
    /// Commits until it is told to end or cannot go on.
    pub(super) fn run(mut self) {
        let partition = self.partition;
        match self.follow() {
            End::Closed => tracing::debug!(partition, "transactions closed"),
            End::Lost(error) => tracing::warn!(partition, error, "transactions cannot go on"),
        }
        self.queue.close();
    }

    fn follow(&mut self) -> End {
        loop {
            let Some(first) = self.next() else {
                return End::Closed;
            };
            let mut batch = Batch::default();
            let mut questions = Vec::new();
            questions.extend(batch.add(first, &self.context));
            let limits = self.context.limits;
            while questions.is_empty()
                && batch.records < limits.transaction_records
                && batch.bytes < limits.transaction_bytes
                && let Ok(item) = self.queue.try_recv()
            {
                questions.extend(batch.add(item, &self.context));
            }
            batch.seal(self.partition, &self.context);
            if let Err(end) = self.commit(batch) {
                return end;
            }
            for question in questions {
                if let Err(end) = self.answer(question) {
                    return end;
                }
            }
        }
    }

    fn next(&mut self) -> Option<Item> {
        match self.queue.blocking_recv()? {
            Item::Close => None,
            _ if self.closing() => None,
            item => Some(item),
        }
    }

    fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    fn answer(&mut self, question: oneshot::Sender<Vec<i64>>) -> Result<(), End> {
        loop {
            match self.log.end_offsets() {
                Ok(offsets) => {
                    // Whoever asked may have gone.
                    drop(question.send(offsets));
                    return Ok(());
                }
                Err(Failure::Fatal(error)) => return Err(End::Lost(error)),
                Err(error) => self.pause(&error)?,
            }
        }
    }

    /// Writes a batch as one transaction, again and again until it is in.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), End> {
        if batch.is_empty() {
            batch.committed();
            return Ok(());
        }
        let started = Instant::now();
        loop {
            match self.attempt(&batch) {
                Ok(()) => break,
                Err(Failure::Fatal(error)) => return Err(End::Lost(error)),
                Err(Failure::Rejected(places)) => {
                    for (place, error) in places {
                        batch.bury(place, "rejected", error, &self.context);
                    }
                    self.abort()?;
                }
                Err(error @ (Failure::Retry(_) | Failure::Abort(_))) => {
                    self.abort()?;
                    self.pause(&error)?;
                }
            }
        }
        crash::point(crash::Point::AfterCommit);
        metrics::counter!(TRANSACTIONS).increment(1);
        metrics::counter!(RECORDS).increment(batch.records as u64);
        metrics::histogram!(SECONDS).record(started.elapsed().as_secs_f64());
        batch.committed();
        Ok(())
    }

    fn attempt(&mut self, batch: &Batch) -> Result<(), Failure> {
        crash::point(crash::Point::BeforeBegin);
        self.repeat(Log::begin)?;
        crash::point(crash::Point::AfterBegin);
        let middle = batch.len() / 2;
        let context = Arc::clone(&self.context);
        let mut room = std::mem::take(&mut self.room);
        for place in 0..batch.len() {
            if place == middle {
                crash::point(crash::Point::MidProduce);
            }
            if self.closing() {
                return Err(Failure::Abort("closed".to_owned()));
            }
            if let Some(message) = batch.message(place, &mut room, &context) {
                self.repeat(|log| log.send(place, &message))?;
            }
        }
        self.room = room;
        let sent = Instant::now();
        self.log.drain()?;
        let drained = sent.elapsed();
        crash::point(crash::Point::BeforeCommit);
        self.repeat(Log::commit)?;
        tracing::trace!(
            partition = self.partition,
            messages = batch.len(),
            drained_ms = drained.as_millis(),
            total_ms = sent.elapsed().as_millis(),
            "transaction committed"
        );
        Ok(())
    }

    /// The same call until it settles. If it does not, its outcome is unknown:
    /// the producer is given up, and the log tells.
    fn repeat(&mut self, call: impl Fn(&mut L) -> Result<(), Failure>) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            match call(&mut self.log) {
                Err(Failure::Retry(error)) if started.elapsed() < SETTLE_LIMIT => {
                    tracing::warn!(
                        partition = self.partition,
                        error,
                        "transaction step repeated"
                    );
                    crate::pause(PAUSE);
                }
                Err(Failure::Retry(error)) => return Err(Failure::Fatal(error)),
                settled => return settled,
            }
        }
    }

    fn abort(&mut self) -> Result<(), End> {
        metrics::counter!(ABORTS).increment(1);
        match self.repeat(Log::abort) {
            Ok(()) => Ok(()),
            Err(error) => Err(End::Lost(error.to_string())),
        }
    }

    fn pause(&self, error: &Failure) -> Result<(), End> {
        if self.closing() {
            return Err(End::Closed);
        }
        tracing::warn!(partition = self.partition, %error, "transaction is made again");
        crate::pause(PAUSE);
        Ok(())
    }
}
