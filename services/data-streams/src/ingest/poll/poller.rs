//! The consumer of the records topic, on a thread of its own.
//!
//! Everything about it happens here: polling, batches by time, rebalances,
//! back pressure, and whether the committed offsets belong to this warehouse.
//! It must not know how a batch is stored.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chassis::Health;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    batch::{Batch, Batcher},
    group::{Event, GroupContext},
    guard::AssignmentGuard,
    handover::{BatchSender, PartitionHold},
    message::{Arena, Message},
    progress::{HeldPartition, Progress},
};
use crate::ingest::conditions::{ANOTHER_WAREHOUSE, KAFKA, WAREHOUSE};

const POLL: Duration = Duration::from_millis(100);
const HOLD: Duration = Duration::from_secs(5);
/// Pausing throws away what was fetched ahead, so short waits do without.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

/// Polls until it is told to stop.
pub(crate) struct Poller {
    pub(crate) consumer: Arc<BaseConsumer<GroupContext>>,
    pub(crate) topic: String,
    pub(crate) batcher: Batcher,
    pub(crate) out: BatchSender,
    pub(crate) holds: mpsc::UnboundedReceiver<PartitionHold>,
    pub(crate) guard: Arc<AssignmentGuard>,
    pub(crate) warehouse: watch::Receiver<String>,
    pub(crate) health: Health,
    pub(crate) runtime: Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) progress: Progress,
    pub(crate) arena: Arena,
}

impl Poller {
    /// Blocks its thread. Hands over what is open when it ends.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        self.consumer
            .subscribe(&[&self.topic])
            .context("subscription to the records topic")?;
        while !self.stop.is_cancelled() {
            self.step();
        }
        let last = self.take();
        self.progress.pending.extend(last);
        for batch in std::mem::take(&mut self.progress.pending) {
            let limit = Duration::from_secs(3);
            let sent = self
                .runtime
                .block_on(async { tokio::time::timeout(limit, self.out.send(batch)).await });
            if sent != Ok(true) {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self) {
        self.apply_holds();
        self.retry_suspended();
        self.hand_over();
        if !self.progress.pending.is_empty() && !self.progress.paused {
            return;
        }
        let now = Instant::now();
        let timeout = if self.progress.pending.is_empty() {
            self.batcher
                .due_at()
                .map_or(POLL, |due| due.saturating_duration_since(now).min(POLL))
        } else {
            Duration::ZERO
        };
        // The consumer is borrowed by its message, the rest of `self` changes.
        let consumer = Arc::clone(&self.consumer);
        let polled = consumer.poll(timeout);
        self.apply_rebalances();
        match polled {
            None => self.idle(),
            Some(Ok(message)) => {
                self.health.holds(KAFKA);
                let message = Message::detach(&message, self.progress.round, &mut self.arena);
                self.take_in(message);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.progress.end_was_read(partition);
                self.batcher.end(partition, Instant::now());
            }
            Some(Err(error)) => {
                // librdkafka goes on by itself; whether it is connected is seen
                // in its statistics.
                tracing::debug!(%error, "the log cannot be read");
            }
        }
        if self
            .batcher
            .due_at()
            .is_some_and(|due| due <= Instant::now())
        {
            let batch = self.take();
            self.progress.pending.extend(batch);
        }
    }

    fn take_in(&mut self, message: Message) {
        let partition = message.partition;
        self.progress.has_more(partition);
        if self.progress.suspended.is_some() || self.progress.holding.contains_key(&partition) {
            return;
        }
        self.progress
            .positions
            .insert(partition, message.offset + 1);
        if let Some(mut before) = self.batcher.push(message, Instant::now()) {
            before.generation = self.guard.generation();
            self.progress.pending.push_back(before);
        }
    }

    fn take(&mut self) -> Option<Batch> {
        let mut batch = self.batcher.take()?;
        batch.generation = self.guard.generation();
        Some(batch)
    }

    /// The queue is empty. What lies between the last record and the end of a
    /// partition are marks of transactions: the offsets move over them, so that
    /// the lag is zero and a full pass is seen to be loaded.
    fn idle(&mut self) {
        let context = Arc::clone(self.consumer.client().context());
        if context.connected.load(Ordering::Relaxed) {
            self.health.holds(KAFKA);
        } else {
            self.health.fails(KAFKA, "no broker is connected");
        }
        let ends = context
            .ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if !self.batcher.is_empty() {
            return;
        }
        let next = self.progress.skip_markers(ends);
        if !next.is_empty() {
            let generation = self.guard.generation();
            self.progress.pending.push_back(Batch {
                generation,
                next,
                ..Batch::default()
            });
        }
    }

    /// Gives batches to the loader; waits a little where it is busy, and pauses
    /// where it stays so.
    fn hand_over(&mut self) {
        let out = self.out.clone();
        while let Some(batch) = self.progress.pending.pop_front() {
            let wait = if self.progress.paused {
                POLL
            } else {
                Duration::from_millis(250)
            };
            let reserved = self
                .runtime
                .block_on(async { tokio::time::timeout(wait, out.permit()).await });
            match reserved {
                Ok(Some(permit)) => permit.send(batch),
                // The loader has ended: so does the process.
                Ok(None) => {
                    self.stop.cancel();
                    return;
                }
                Err(_) => {
                    self.progress.pending.push_front(batch);
                    let since = *self.progress.blocked_since.get_or_insert_with(Instant::now);
                    if !self.progress.paused && since.elapsed() > PAUSE_AFTER {
                        self.progress.paused = true;
                        self.pause(&self.progress.assigned.clone());
                    }
                    return;
                }
            }
        }
        self.progress.blocked_since = None;
        if self.progress.paused {
            self.progress.paused = false;
            self.resume();
        }
    }

    fn apply_rebalances(&mut self) {
        let context = Arc::clone(self.consumer.client().context());
        let events = std::mem::take(
            &mut *context
                .events
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for event in events {
            self.batcher.reset();
            let round = self.progress.round + 1;
            self.progress = Progress::of_round(round);
            context
                .ends
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            if let Event::Assigned(partitions) = event {
                tracing::info!(?partitions, "assigned");
                self.progress.assigned = partitions;
                // What was paused before is paused still, though it went away in
                // between: librdkafka keeps that with the partition.
                self.resume();
                if !self.offsets_are_ours() {
                    self.pause(&self.progress.assigned.clone());
                    self.progress.suspended = Some(Instant::now() + Duration::from_secs(2));
                }
            }
        }
    }

    /// Reads the committed offsets, and whether this warehouse signed them.
    fn offsets_are_ours(&mut self) -> bool {
        let id = self.warehouse.borrow().clone();
        let list = self.list(&self.progress.assigned);
        let committed = match self
            .consumer
            .committed_offsets(list, Duration::from_secs(5))
        {
            Ok(committed) => committed,
            Err(error) => {
                tracing::warn!(%error, "committed offsets cannot be read");
                return false;
            }
        };
        for element in committed.elements() {
            if let Offset::Offset(offset) = element.offset() {
                if element.metadata() != id {
                    self.health.fails(WAREHOUSE, ANOTHER_WAREHOUSE);
                    return false;
                }
                self.progress.positions.insert(element.partition(), offset);
            }
        }
        self.health.holds(WAREHOUSE);
        true
    }

    /// While suspended: whether a rebuild has signed the offsets meanwhile.
    fn retry_suspended(&mut self) {
        if self.progress.suspended.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.progress.suspended = Some(Instant::now() + Duration::from_secs(2));
        if !self.offsets_are_ours() {
            return;
        }
        self.progress.suspended = None;
        self.batcher.reset();
        self.progress.round += 1;
        self.resume();
        for partition in self.progress.assigned.clone() {
            let offset = self.progress.positions.get(&partition).copied();
            self.seek(partition, offset.map_or(Offset::Beginning, Offset::Offset));
        }
    }

    fn apply_holds(&mut self) {
        while let Ok(PartitionHold { partition, offset }) = self.holds.try_recv() {
            if self.progress.assigned.contains(&partition) {
                self.batcher.forget(partition);
                self.pause(&[partition]);
                let until = Instant::now() + HOLD;
                self.progress
                    .holding
                    .insert(partition, HeldPartition { offset, until });
            }
        }
        let now = Instant::now();
        let due: Vec<(i32, i64)> = self
            .progress
            .holding
            .iter()
            .filter(|(_, held)| held.until <= now)
            .map(|(partition, held)| (*partition, held.offset))
            .collect();
        for (partition, offset) in due {
            self.progress.round += 1;
            self.progress.holding.remove(&partition);
            self.progress.positions.insert(partition, offset);
            if let Err(error) = self.consumer.resume(&self.list(&[partition])) {
                tracing::warn!(partition, %error, "cannot resume");
            }
            self.seek(partition, Offset::Offset(offset));
        }
    }

    fn seek(&mut self, partition: i32, offset: Offset) {
        self.progress.has_more(partition);
        let context = Arc::clone(self.consumer.client().context());
        context
            .ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&partition);
        let sought = self
            .consumer
            .seek(&self.topic, partition, offset, Duration::from_secs(10));
        if let (Err(error), Offset::Offset(offset)) = (sought, offset) {
            tracing::warn!(partition, %error, "cannot seek: trying again");
            let until = Instant::now() + POLL;
            self.progress
                .holding
                .insert(partition, HeldPartition { offset, until });
        }
    }

    fn pause(&mut self, partitions: &[i32]) {
        // What was fetched ahead is thrown away.
        for partition in partitions {
            self.progress.has_more(*partition);
        }
        if let Err(error) = self.consumer.pause(&self.list(partitions)) {
            tracing::warn!(%error, "cannot pause");
        }
    }

    /// Resumes all that nothing else holds.
    fn resume(&self) {
        if self.progress.suspended.is_some() {
            return;
        }
        let partitions: Vec<i32> = self
            .progress
            .assigned
            .iter()
            .filter(|partition| !self.progress.holding.contains_key(partition))
            .copied()
            .collect();
        if let Err(error) = self.consumer.resume(&self.list(&partitions)) {
            tracing::warn!(%error, "cannot resume");
        }
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }
}
