//! Stores batches one after another, while the poller reads the next one.
//!
//! An offset is committed only after the store has acknowledged every row before
//! it, and Kafka every dead letter before it.

use std::{collections::BTreeMap, time::Duration};

use chassis::traces::{TARGET, TraceParent};
use futures::{StreamExt as _, stream};
use metrics::counter;
use tokio::{sync::mpsc, time::Instant};
use tracing::Span;

use super::{
    delivery::{Delivery, PreparedBatch, TARGETS_AT_ONCE, is_hopeless},
    inserter::Stopped,
    notes::LoadedNotes,
    positions::Positions,
};
use crate::ingest::{
    StoreError, Target,
    conditions::REGISTRY,
    decode::router::{HeldMessage, TargetRouter},
    metrics as names,
    poll::{
        batch::Batch,
        handover::{BatchReceiver, PartitionHold},
    },
};

/// Time between two looks at what was purged.
const PURGED_INTERVAL: Duration = Duration::from_secs(1);

/// Prepares batches and delivers them in order.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) topic: String,
    pub(crate) router: TargetRouter,
    pub(crate) delivery: Delivery,
    pub(crate) batches: BatchReceiver,
    pub(crate) holds: mpsc::UnboundedSender<PartitionHold>,
    pub(crate) positions: Positions,
    pub(crate) notes: LoadedNotes,
    /// When what was purged was last looked at.
    pub(crate) purged_at: Option<Instant>,
}

impl Loader {
    /// Runs until the poller has ended and all batches are delivered.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut refresh = tokio::time::interval(Duration::from_secs(1));
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let batch = tokio::select! {
                batch = self.batches.receive() => batch,
                _ = refresh.tick() => {
                    self.apply_new_definitions().await;
                    self.try_waiting();
                    let lost = self.notes.write_due().await;
                    self.load_again(lost);
                    continue;
                }
            };
            let Some(batch) = batch else { break };
            let _until_noted = insert_spans(&batch);
            let delivered = match self.prepare(batch).await {
                Ok(Some(work)) => self.delivery.deliver(work).await,
                Ok(None) => Ok(BTreeMap::new()),
                Err(Stopped) => Err(Stopped),
            };
            let Ok(committed) = delivered else {
                return Ok(());
            };
            self.notes.add(committed);
        }
        // Otherwise the next start reads again what was loaded since the last note.
        if let Err(error) = self.notes.write().await {
            tracing::debug!(%error, "how far is loaded was not noted");
        }
        Ok(())
    }

    /// Reads partitions again that the store has less of than was noted.
    fn load_again(&mut self, lost: Result<BTreeMap<i32, i64>, StoreError>) {
        let lost = match lost {
            Ok(lost) => lost,
            Err(error) => {
                tracing::debug!(%error, "how far is loaded was not noted; will retry");
                return;
            }
        };
        for (partition, offset) in lost {
            tracing::warn!(
                partition,
                offset,
                "the warehouse has gone back to an earlier state, as after the restore of a \
                 backup; loading the log again from there"
            );
            self.read_again(partition, offset);
        }
    }

    /// Asks the poller to read a partition again from this offset.
    fn read_again(&mut self, partition: i32, offset: i64) {
        let hold = self.positions.go_back(partition, offset);
        if hold.is_some_and(|hold| self.holds.send(hold).is_err()) {
            tracing::debug!("the poller ended before a partition could be held");
        }
    }

    /// Tries the targets that wait, and reads again what those lack that work again.
    fn try_waiting(&mut self) {
        let Delivery {
            inserter,
            control,
            waiting,
            ..
        } = &mut self.delivery;
        let is_hopeless = |target: &Target, kind| is_hopeless(control.as_ref(), target, kind);
        for (partition, offset) in waiting.try_again(inserter, is_hopeless) {
            self.read_again(partition, offset);
        }
    }

    /// Looks at what was purged, so that the records of it are skipped.
    async fn refresh_purged(&mut self) {
        if self
            .purged_at
            .is_some_and(|at| at.elapsed() < PURGED_INTERVAL)
        {
            return;
        }
        match self.delivery.inserter.store.purged(&self.topic).await {
            Ok(purged) => {
                self.router.set_purged(purged);
                self.purged_at = Some(Instant::now());
            }
            Err(error) => tracing::debug!(%error, "what was purged is not known now"),
        }
    }

    /// Applies new definitions, so that new columns appear before the first record
    /// that has a value for them.
    async fn apply_new_definitions(&self) {
        let preparer = &self.delivery.inserter.preparer;
        let behind = stream::iter(preparer.behind());
        let apply = async |target| {
            if let Err(error) = preparer.apply(&target).await {
                tracing::debug!(%error, "definitions cannot be applied now; will retry");
            }
        };
        behind.for_each_concurrent(TARGETS_AT_ONCE, apply).await;
    }

    /// Decodes and routes a batch, and prepares its tables; `None` if its
    /// assignment was revoked.
    async fn prepare(&mut self, mut batch: Batch) -> Result<Option<PreparedBatch>, Stopped> {
        if batch.generation != self.delivery.guard.generation() {
            return Ok(None);
        }
        if self.positions.is_of_another_assignment(&batch) {
            // What is not committed is read again.
            self.delivery.waiting.clear();
        }
        self.refresh_purged().await;
        let skipped = self.positions.admit(&mut batch);
        if skipped > 0 {
            tracing::debug!(skipped, "messages of held partitions skipped");
        }
        let messages = std::mem::take(&mut batch.messages);
        let mut routed = self.router.route(&self.topic, messages).await;
        self.hold(&mut batch, std::mem::take(&mut routed.held));
        self.delivery.prepare_all(&mut routed).await?;
        let Batch {
            generation, next, ..
        } = batch;
        Ok(Some(PreparedBatch {
            generation,
            next,
            routed,
        }))
    }

    fn hold(&mut self, batch: &mut Batch, held: BTreeMap<i32, HeldMessage>) {
        let health = self.delivery.context.health().clone();
        if held.is_empty() && self.positions.none_is_held() {
            health.holds(REGISTRY);
        }
        for (partition, held) in held {
            counter!(names::HOLDS).increment(1);
            tracing::warn!(
                partition,
                offset = held.offset,
                reason = held.reason,
                "partition held"
            );
            health.fails(REGISTRY, held.reason);
            // Everything before the held message is in this batch or an earlier
            // one, so its offset can be committed.
            batch.next.insert(partition, held.offset);
            self.read_again(partition, held.offset);
        }
    }
}

/// A span for each one that wrote messages of the batch, until it is stored and committed.
fn insert_spans(batch: &Batch) -> Vec<Span> {
    let span = |parent: &TraceParent| {
        let span = tracing::info_span!(
            target: TARGET,
            "insert",
            otel.kind = "consumer",
            batch_messages = batch.messages.len(),
            batch_bytes = batch.bytes,
        );
        parent.adopt(&span);
        span
    };
    batch.traces.iter().map(span).collect()
}

#[cfg(test)]
mod tests;
