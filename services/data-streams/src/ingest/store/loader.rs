//! Stores batches one after another, while the poller reads the next one.
//!
//! An offset is committed only after the store has acknowledged every row before
//! it, and Kafka every dead letter before it. Where the tables of one target fail, its
//! rows wait, and those of the others are stored; see [`WaitingTargets`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use chassis::Context;
use futures::{StreamExt as _, stream};
use metrics::{counter, gauge, histogram};
use tokio::{sync::mpsc, time::Instant};

use super::{
    dead_letter::{DeadLetter, DeadLetterSink},
    inserter::{Backoff, Inserter, Stopped, Unstored},
    notes::LoadedNotes,
    waiting::WaitingTargets,
};
use crate::{
    crash,
    ingest::{
        Commits, ControlState, RefusedRow, StoreError, StoreErrorKind, Target,
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

/// Targets that are prepared or stored into at a time.
const TARGETS_AT_ONCE: usize = 8;

/// Time between two looks at what was purged.
const PURGED_INTERVAL: Duration = Duration::from_secs(1);

/// Stores a prepared batch and commits its offsets.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) inserter: Arc<Inserter>,
    pub(crate) control: Arc<dyn ControlState>,
    pub(crate) waiting: WaitingTargets,
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
    /// The assignment of the last batch.
    pub(crate) generation: u64,
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

    fn read_again(&mut self, partition: i32, offset: i64) {
        self.held.insert(partition, self.round);
        self.send_hold(partition, offset);
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
            self.held.clear();
            return Ok(None);
        }
        if batch.generation != self.generation {
            // What is not committed is read again.
            self.generation = batch.generation;
            self.delivery.waiting.clear();
        }
        self.refresh_purged().await;
        let rounds = batch.messages.iter().map(|message| message.round);
        self.round = rounds.max().unwrap_or(0).max(self.round);
        self.skip_held(&mut batch);
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
    /// Prepares the tables of all groups. Takes those out that wait.
    async fn prepare_all(&mut self, routed: &mut RoutedMessages) -> Result<(), Stopped> {
        let groups = std::mem::take(&mut routed.groups);
        let inserter = &self.inserter;
        let waiting = &mut self.waiting;
        let groups = groups
            .into_iter()
            .filter(|group| !waiting.takes(&routed.decoded, group));
        let prepared = stream::iter(groups)
            .map(async |group| (inserter.prepare_tables(&group).await, group))
            .buffer_unordered(TARGETS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (outcome, group) in prepared {
            match outcome {
                Ok(()) => routed.groups.push(group),
                Err(Unstored::Stopped) => return Err(Stopped),
                Err(Unstored::Target(error)) => {
                    let poison = self.set_aside(&routed.decoded, group, &error);
                    routed.poison.extend(poison);
                }
            }
        }
        Ok(())
    }

    /// Lets a group wait after this error; or returns its rows as dead letters, where
    /// they will never be stored.
    fn set_aside(
        &mut self,
        decoded: &DecodedMessages,
        group: RowGroup,
        error: &StoreError,
    ) -> Vec<PoisonMessage> {
        self.inserter.preparer.forget_target(&group.target);
        if !is_hopeless(self.control.as_ref(), &group.target, error.kind) {
            self.waiting.add(decoded, &group, error);
            return Vec::new();
        }
        let rows = group.rows.into_iter();
        rows.map(|index| PoisonMessage {
            index,
            reason: "refused_by_store",
            error: error.to_string(),
        })
        .collect()
    }

    /// Stores a batch and commits it. Returns the offsets that were committed.
    async fn deliver(&mut self, mut work: PreparedBatch) -> Result<BTreeMap<i32, i64>, Stopped> {
        let guard = Arc::clone(&self.guard);
        let Some(permit) = guard.begin(work.generation) else {
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
        let (written, stored) = tokio::join!(poison, stored);
        written?;
        let (refused, failed) = stored?;
        let refused = refused.into_iter().map(|row| PoisonMessage {
            index: row.index,
            reason: "refused_by_store",
            error: row.error,
        });
        let mut refused: Vec<_> = refused.collect();
        for (group, error) in failed {
            refused.extend(self.set_aside(&decoded, group, &error));
        }
        self.write_all(&decoded, refused).await?;
        if !permit.may_commit() {
            return Ok(BTreeMap::new());
        }
        if rows > 0 {
            crash::point(crash::Point::BeforeCommit);
        }
        self.waiting.cap(&mut work.next);
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

    /// Stores groups, several at a time. Returns the rows that the store rejects, and
    /// the groups whose tables fail.
    async fn store_all(
        &self,
        decoded: &DecodedMessages,
        groups: Vec<RowGroup>,
    ) -> Result<(Vec<RefusedRow>, Vec<(RowGroup, StoreError)>), Stopped> {
        let mut outcomes = stream::iter(groups)
            .map(async |group| (self.inserter.store(decoded, &group).await, group))
            .buffer_unordered(TARGETS_AT_ONCE);
        let (mut refused, mut failed) = (Vec::new(), Vec::new());
        while let Some((outcome, group)) = outcomes.next().await {
            match outcome {
                Ok(rows) => refused.extend(rows),
                Err(Unstored::Stopped) => return Err(Stopped),
                Err(Unstored::Target(error)) => failed.push((group, error)),
            }
        }
        Ok((refused, failed))
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

/// Whether rows of a target will never be stored, after a failure of this kind: there
/// can be no such table, or the connection of a destination that is not its own is
/// deleted.
fn is_hopeless(control: &dyn ControlState, target: &Target, kind: StoreErrorKind) -> bool {
    match kind {
        StoreErrorKind::Poison => true,
        StoreErrorKind::NotOurs => control.is_deleted(&target.connection),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
