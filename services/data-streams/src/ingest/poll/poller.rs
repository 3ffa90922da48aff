//! Polls the records topic on its own thread: batches, rebalances, back
//! pressure, held partitions, and the check that the committed offsets belong
//! to this warehouse.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    message::Message,
    metadata,
    progress::Progress,
};
use crate::ingest::{
    Store, StoreError,
    conditions::{ANOTHER_WAREHOUSE, KAFKA, WAREHOUSE},
};

/// How long one poll waits, and so how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// Time until a held partition is read again.
const HOLD: Duration = Duration::from_secs(5);
/// How long the loader may be busy before the consumer pauses. Pausing discards
/// the messages fetched ahead, so short waits do not pause.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// How long the poller waits for the loader before it polls again. Kafka's
/// client has to be polled, or the group excludes this member.
const HAND_OVER_LIMIT: Duration = Duration::from_millis(250);
/// How often suspended partitions check whose offsets are committed.
const SUSPENDED_CHECK: Duration = Duration::from_secs(2);
/// How long the loader may take for each batch that is left at a stop.
const LAST_BATCH_LIMIT: Duration = Duration::from_secs(3);
/// How long Kafka may take to return the committed offsets.
const COMMITTED_LIMIT: Duration = Duration::from_secs(5);
/// How long a seek may take.
const SEEK_LIMIT: Duration = Duration::from_secs(10);

/// Polls the records topic until the process stops.
pub(crate) struct Poller {
    pub(crate) consumer: Arc<BaseConsumer<GroupContext>>,
    pub(crate) topic: String,
    pub(crate) batcher: Batcher,
    pub(crate) out: BatchSender,
    pub(crate) holds: mpsc::UnboundedReceiver<PartitionHold>,
    pub(crate) guard: Arc<AssignmentGuard>,
    /// Id of this warehouse.
    pub(crate) warehouse: watch::Receiver<String>,
    /// Knows how far it is loaded.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Health,
    pub(crate) runtime: Handle,
    pub(crate) stop: CancellationToken,
    /// Whether this member of the group has the first partition.
    pub(crate) leads: Arc<AtomicBool>,
    pub(crate) progress: Progress,
}

impl Poller {
    /// Blocks its thread. At the end it hands over the open batch.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        self.consumer
            .subscribe(&[&self.topic])
            .context("subscription to the records topic")?;
        while !self.stop.is_cancelled() {
            self.step();
        }
        if let Some(last) = self.batcher.take() {
            self.queue(last);
        }
        for batch in std::mem::take(&mut self.progress.pending) {
            let sent = self.runtime.block_on(async {
                tokio::time::timeout(LAST_BATCH_LIMIT, self.out.send(batch)).await
            });
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
        // The message borrows the consumer while the rest of `self` changes.
        let consumer = Arc::clone(&self.consumer);
        let polled = consumer.poll(timeout);
        self.apply_rebalances();
        match polled {
            None => self.idle(),
            Some(Ok(message)) => {
                self.health.holds(KAFKA);
                let message = Message::detach(&message);
                self.take_in(message);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.progress.end_was_read(partition);
            }
            Some(Err(error)) => {
                // librdkafka retries by itself. Its statistics say whether a
                // broker is connected.
                tracing::debug!(%error, "cannot read the records topic");
            }
        }
        if let Some(due) = self.batcher.take_due(Instant::now()) {
            self.queue(due);
        }
    }

    fn take_in(&mut self, message: Message) {
        let partition = message.partition;
        self.progress.has_more(partition);
        if self.progress.suspended.is_some() || self.progress.is_held(partition) {
            return;
        }
        self.progress
            .positions
            .insert(partition, message.offset + 1);
        if let Some(before) = self.batcher.push(message, Instant::now()) {
            self.queue(before);
        }
    }

    /// Queues a batch of the current assignment for the loader.
    fn queue(&mut self, mut batch: Batch) {
        batch.generation = self.guard.generation();
        batch.sought.clone_from(&self.progress.sought);
        self.progress.pending.push_back(batch);
    }

    /// Runs when the client's queue is empty. Between the last record and the end
    /// of a partition there are only transaction markers. The offsets move past
    /// them, so that the lag becomes zero.
    fn idle(&mut self) {
        let context = Arc::clone(self.consumer.client().context());
        if context.connected.load(Ordering::Relaxed) {
            self.health.holds(KAFKA);
        } else {
            self.health.fails(KAFKA, "no broker is connected");
        }
        if !self.batcher.is_empty() {
            return;
        }
        let ends = context.ends().clone();
        let next = self.progress.skip_markers(ends);
        if !next.is_empty() {
            self.queue(Batch {
                next,
                ..Batch::default()
            });
        }
    }

    /// Hands the pending batches to the loader. If the loader stays busy for
    /// [`PAUSE_AFTER`], the partitions are paused.
    fn hand_over(&mut self) {
        let out = self.out.clone();
        while let Some(batch) = self.progress.pending.pop_front() {
            let wait = if self.progress.paused {
                POLL
            } else {
                HAND_OVER_LIMIT
            };
            let reserved = self
                .runtime
                .block_on(async { tokio::time::timeout(wait, out.permit()).await });
            match reserved {
                Ok(Some(permit)) => permit.send(batch),
                // The loader has ended, so the process has to end too.
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
        let events = std::mem::take(&mut *context.events());
        for event in events {
            self.batcher.reset();
            self.progress = Progress::default();
            context.ends().clear();
            self.leads.store(false, Ordering::Relaxed);
            if let Event::Assigned(partitions) = event {
                tracing::info!(?partitions, "assigned");
                self.progress.assigned = partitions;
                self.leads
                    .store(self.progress.assigned.contains(&0), Ordering::Relaxed);
                // librdkafka keeps a partition paused while it belongs to
                // another member, so it may come back paused.
                self.resume();
                if let Some(behind) = self.find_offsets() {
                    for (partition, offset) in behind {
                        self.seek(partition, Offset::Offset(offset));
                    }
                    self.queue_positions();
                } else {
                    self.pause(&self.progress.assigned.clone());
                    self.progress.suspended = Some(Instant::now() + SUSPENDED_CHECK);
                }
            } else {
                self.queue_positions();
            }
        }
    }

    /// Reads the committed offsets, and how far the store is loaded; the lower of the two
    /// is where reading goes on. Returns the partitions that the store has less of;
    /// `None` if the store was emptied meanwhile, or if the offsets do not carry this
    /// warehouse's id or cannot be read.
    fn find_offsets(&mut self) -> Option<Vec<(i32, i64)>> {
        let id = self.warehouse.borrow().clone();
        let list = self.list(&self.progress.assigned);
        let committed = self.consumer.committed_offsets(list, COMMITTED_LIMIT);
        let committed = committed
            .inspect_err(|error| tracing::warn!(%error, "cannot read the committed offsets"))
            .ok()?;
        // The store is asked for its id first. That also creates its own tables, without
        // which an emptied one could not say how far it is loaded.
        let found = self.runtime.block_on(async {
            let found = self.store.warehouse_id().await?;
            Ok::<_, StoreError>((found, self.store.loaded(&self.topic).await?))
        });
        let (found, loaded) = found
            .inspect_err(|error| {
                let error = error.describe();
                tracing::warn!(error, "cannot read how far the warehouse is loaded");
            })
            .ok()?;
        if found != id {
            self.health.fails(WAREHOUSE, ANOTHER_WAREHOUSE);
            return None;
        }
        let mut behind = Vec::new();
        for element in committed.elements() {
            let partition = element.partition();
            let Offset::Offset(committed) = element.offset() else {
                continue;
            };
            if metadata::parse(element.metadata(), committed).0 != id {
                self.health.fails(WAREHOUSE, ANOTHER_WAREHOUSE);
                return None;
            }
            // A backup may be older than the first note of a partition.
            let loaded = loaded.get(&partition).copied().unwrap_or(0);
            if loaded < committed {
                behind.push((partition, loaded));
            }
            let position = committed.min(loaded);
            self.progress.positions.insert(partition, position);
        }
        self.health.holds(WAREHOUSE);
        Some(behind)
    }

    /// While loading is suspended, checks whether a rebuild has committed offsets
    /// for this warehouse meanwhile.
    fn retry_suspended(&mut self) {
        if self.progress.suspended.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.progress.suspended = Some(Instant::now() + SUSPENDED_CHECK);
        if self.find_offsets().is_none() {
            return;
        }
        self.progress.suspended = None;
        self.batcher.reset();
        self.resume();
        for partition in self.progress.assigned.clone() {
            let offset = self.progress.positions.get(&partition).copied();
            self.seek(partition, offset.map_or(Offset::Beginning, Offset::Offset));
        }
        self.queue_positions();
    }

    /// Tells the loader of another assignment, and where it begins. It notes that, or a
    /// store that goes back would not be noticed by partitions in which nothing comes.
    fn queue_positions(&mut self) {
        let next = self.progress.positions.clone().into_iter().collect();
        self.queue(Batch {
            next,
            ..Batch::default()
        });
    }

    fn apply_holds(&mut self) {
        while let Ok(hold) = self.holds.try_recv() {
            let PartitionHold { partition, .. } = hold;
            let is_current = hold.generation == self.guard.generation();
            if is_current && self.progress.assigned.contains(&partition) {
                self.batcher.forget(partition);
                self.pause(&[partition]);
                self.progress
                    .hold(partition, hold.offset, HOLD, hold.number);
            }
        }
        for (partition, offset) in self.progress.end_due_holds(Instant::now()) {
            if let Err(error) = self.consumer.resume(&self.list(&[partition])) {
                tracing::warn!(partition, %error, "cannot resume a held partition");
            }
            self.seek(partition, Offset::Offset(offset));
        }
    }

    fn seek(&mut self, partition: i32, offset: Offset) {
        self.progress.has_more(partition);
        let context = self.consumer.client().context();
        context.ends().remove(&partition);
        let sought = self
            .consumer
            .seek(&self.topic, partition, offset, SEEK_LIMIT);
        if let (Err(error), Offset::Offset(offset)) = (sought, offset) {
            tracing::warn!(partition, %error, "cannot seek; will retry");
            let number = self.progress.sought.get(&partition).copied();
            let number = number.unwrap_or(0);
            self.progress.hold(partition, offset, POLL, number);
        }
    }

    fn pause(&mut self, partitions: &[i32]) {
        // Pausing discards the messages fetched ahead.
        for partition in partitions {
            self.progress.has_more(*partition);
        }
        if let Err(error) = self.consumer.pause(&self.list(partitions)) {
            tracing::warn!(%error, "cannot pause partitions");
        }
    }

    /// Resumes the assigned partitions, except held ones.
    fn resume(&self) {
        if self.progress.suspended.is_some() {
            return;
        }
        let partitions = self.list(&self.progress.not_held());
        if let Err(error) = self.consumer.resume(&partitions) {
            tracing::warn!(%error, "cannot resume partitions");
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
