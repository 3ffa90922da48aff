//! Stores batches one after another, while the poller reads the next one.
//!
//! An offset is committed only after the store has acknowledged every row before
//! it, and Kafka every dead letter before it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chassis::Context;
use metrics::{counter, gauge, histogram};
use tokio::sync::mpsc;

use super::{
    dead_letter::{DeadLetter, DeadLetterSink},
    inserter::{Backoff, Inserter, Stopped},
    notes::LoadedNotes,
    preparer::PortalTarget,
};
use crate::{
    crash,
    ingest::{
        Commits, RefusedRow, StoreError,
        conditions::{DEAD_LETTERS, REGISTRY},
        decode::router::{
            DecodedMessages, HeldMessage, PoisonMessage, RoutedMessages, RowGroup, TargetRouter,
        },
        metrics as names,
        poll::{
            batch::Batch,
            guard::AssignmentGuard,
            handover::{BatchReceiver, PartitionHold},
        },
    },
};

/// Stores a prepared batch and commits its offsets.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) inserter: Inserter,
    pub(crate) letters: Arc<dyn DeadLetterSink>,
    pub(crate) commits: Arc<dyn Commits>,
    pub(crate) guard: Arc<AssignmentGuard>,
    pub(crate) context: Context,
}

/// A batch that is decoded and routed.
#[derive(Debug)]
struct PreparedBatch {
    generation: u64,
    next: BTreeMap<i32, i64>,
    routed: RoutedMessages,
}

/// Prepares batches and delivers them in order.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) topic: String,
    pub(crate) router: TargetRouter,
    pub(crate) delivery: Delivery,
    pub(crate) batches: BatchReceiver,
    pub(crate) holds: mpsc::UnboundedSender<PartitionHold>,
    /// Held partitions, with the round of the message that could not be decoded.
    /// Messages up to that round are skipped, because they will be read again.
    pub(crate) held: HashMap<i32, u64>,
    pub(crate) notes: LoadedNotes,
    /// The newest round of the messages so far.
    pub(crate) round: u64,
}

impl Loader {
    /// Runs until the poller has ended and all batches are delivered.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut refresh = tokio::time::interval(std::time::Duration::from_secs(1));
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let batch = tokio::select! {
                batch = self.batches.receive() => batch,
                _ = refresh.tick() => {
                    self.apply_new_definitions().await;
                    let lost = self.notes.write_due().await;
                    self.load_again(lost);
                    continue;
                }
            };
            let Some(batch) = batch else { break };
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
            self.held.insert(partition, self.round);
            self.send_hold(partition, offset);
        }
    }

    fn send_hold(&self, partition: i32, offset: i64) {
        if self
            .holds
            .send(PartitionHold { partition, offset })
            .is_err()
        {
            tracing::debug!("the poller ended before a partition could be held");
        }
    }

    /// Applies new definitions, so that new columns appear before the first record
    /// that has a value for them.
    async fn apply_new_definitions(&self) {
        let preparer = &self.delivery.inserter.preparer;
        for PortalTarget { target, portal_id } in preparer.behind() {
            if let Err(error) = preparer.apply(&target, portal_id).await {
                tracing::debug!(%error, "definitions cannot be applied now; will retry");
            }
        }
    }

    /// Decodes and routes a batch, and prepares its tables; `None` if its
    /// assignment was revoked.
    async fn prepare(&mut self, mut batch: Batch) -> Result<Option<PreparedBatch>, Stopped> {
        if batch.generation != self.delivery.guard.generation() {
            self.held.clear();
            return Ok(None);
        }
        let rounds = batch.messages.iter().map(|message| message.round);
        self.round = rounds.max().unwrap_or(0).max(self.round);
        self.skip_held(&mut batch);
        let messages = std::mem::take(&mut batch.messages);
        let mut routed = self.router.route(&self.topic, messages).await;
        self.hold(&mut batch, std::mem::take(&mut routed.held));
        for group in &routed.groups {
            self.delivery.inserter.prepare_tables(group).await?;
        }
        let Batch {
            generation, next, ..
        } = batch;
        Ok(Some(PreparedBatch {
            generation,
            next,
            routed,
        }))
    }

    /// Drops messages of held partitions that were read before the poller restarted
    /// at the held message.
    fn skip_held(&mut self, batch: &mut Batch) {
        if self.held.is_empty() {
            return;
        }
        let before = batch.messages.len();
        let held = &mut self.held;
        let next = &mut batch.next;
        batch
            .messages
            .retain(|message| match held.get(&message.partition) {
                Some(round) if message.round <= *round => {
                    next.remove(&message.partition);
                    false
                }
                _ => {
                    held.remove(&message.partition);
                    true
                }
            });
        if batch.messages.len() < before {
            tracing::debug!(
                skipped = before - batch.messages.len(),
                "messages of held partitions skipped"
            );
        }
        let stalled: Vec<i32> = held.keys().copied().collect();
        for partition in stalled {
            next.remove(&partition);
        }
    }

    fn hold(&mut self, batch: &mut Batch, held: BTreeMap<i32, HeldMessage>) {
        let health = self.delivery.context.health();
        if held.is_empty() && self.held.is_empty() {
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
            self.held.insert(partition, held.round);
            self.send_hold(partition, held.offset);
        }
    }
}

impl Delivery {
    /// Stores a batch and commits it. Returns the offsets that were committed.
    async fn deliver(&self, work: PreparedBatch) -> Result<BTreeMap<i32, i64>, Stopped> {
        let Some(permit) = self.guard.begin(work.generation) else {
            return Ok(BTreeMap::new());
        };
        let RoutedMessages {
            decoded,
            groups,
            poison,
            ..
        } = work.routed;
        let rows: usize = groups.iter().map(|group| group.rows.len()).sum();
        if rows > 0 {
            crash::point(crash::Point::BeforeInsert);
        }
        // Dead letters and rows are written concurrently.
        let poison = self.write_all(&decoded, poison);
        let stored = self.store_all(&decoded, groups);
        let (written, refused) = tokio::join!(poison, stored);
        written?;
        let refused = refused?
            .into_iter()
            .map(|row| PoisonMessage {
                index: row.index,
                reason: "refused_by_store",
                error: row.error,
            })
            .collect();
        self.write_all(&decoded, refused).await?;
        if !permit.may_commit() {
            return Ok(BTreeMap::new());
        }
        if rows > 0 {
            crash::point(crash::Point::BeforeCommit);
        }
        let is_committed = self.commit(&work.next).await;
        if rows > 0 {
            crash::point(crash::Point::AfterCommit);
            counter!(names::BATCHES).increment(1);
            #[expect(
                clippy::cast_precision_loss,
                reason = "a batch has far fewer than 2^52 rows"
            )]
            gauge!(names::BATCH_ROWS).set(rows as f64);
            if let Some(oldest) = decoded
                .messages
                .iter()
                .map(|message| message.timestamp)
                .min()
            {
                let age = self.context.clock().now_ms().saturating_sub(oldest).max(0);
                let age = std::time::Duration::from_millis(age.unsigned_abs());
                histogram!(names::FRESHNESS_SECONDS).record(age);
            }
            tracing::debug!(rows, "batch stored");
        }
        Ok(if is_committed {
            work.next
        } else {
            BTreeMap::new()
        })
    }

    async fn store_all(
        &self,
        decoded: &DecodedMessages,
        groups: Vec<RowGroup>,
    ) -> Result<Vec<RefusedRow>, Stopped> {
        let mut refused = Vec::new();
        for group in groups {
            refused.extend(self.inserter.store(decoded, &group).await?);
        }
        Ok(refused)
    }

    async fn write_all(
        &self,
        decoded: &DecodedMessages,
        poison: Vec<PoisonMessage>,
    ) -> Result<(), Stopped> {
        for PoisonMessage {
            index,
            reason,
            error,
        } in poison
        {
            let Some(message) = decoded.messages.get(index) else {
                continue;
            };
            tracing::warn!(
                partition = message.partition,
                offset = message.offset,
                reason,
                error,
                "message goes to the dead letters"
            );
            let letter = DeadLetter::new(&decoded.topic, message, reason, error);
            let mut backoff = Backoff::default();
            while let Err(error) = self.letters.write(&letter).await {
                self.context.health().fails(DEAD_LETTERS, error);
                self.inserter.pause(backoff.next()).await?;
            }
            self.context.health().holds(DEAD_LETTERS);
            counter!(names::POISON, "reason" => reason).increment(1);
        }
        Ok(())
    }

    /// Commits offsets; returns whether it succeeded. After four failures it gives up:
    /// the next batch commits them too, or their messages are read again.
    async fn commit(&self, next: &BTreeMap<i32, i64>) -> bool {
        if next.is_empty() {
            return true;
        }
        let mut backoff = Backoff::default();
        for _ in 0..4 {
            match self.commits.commit(next).await {
                Ok(()) => return true,
                Err(error) => tracing::warn!(error, "cannot commit offsets"),
            }
            tokio::time::sleep(backoff.next()).await;
        }
        false
    }
}

#[cfg(test)]
mod tests;
