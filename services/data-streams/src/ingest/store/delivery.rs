//! Prepares the tables of a batch, stores its rows, and commits its offsets.
//!
//! Where the tables of one target fail, its rows wait, and those of the others are
//! stored; see [`WaitingTargets`].

use std::{collections::BTreeMap, sync::Arc};

use chassis::Context;
use futures::{StreamExt as _, stream};
use metrics::{counter, gauge, histogram};

use super::{
    dead_letter::{DeadLetter, DeadLetterSink},
    inserter::{Backoff, Inserter, Stopped, Unstored},
    waiting::WaitingTargets,
};
use crate::{
    crash,
    ingest::{
        Commits, ControlState, RefusedRow, StoreError, StoreErrorKind, Target,
        conditions::DEAD_LETTERS,
        decode::router::{DecodedMessages, PoisonMessage, RoutedMessages, RowGroup},
        metrics as names,
        poll::guard::AssignmentGuard,
    },
};

/// Targets that are prepared or stored into at a time.
pub(crate) const TARGETS_AT_ONCE: usize = 8;

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
pub(super) struct PreparedBatch {
    pub(super) generation: u64,
    pub(super) next: BTreeMap<i32, i64>,
    pub(super) routed: RoutedMessages,
}

impl Delivery {
    /// Prepares the tables of all groups. Takes those out that wait.
    pub(super) async fn prepare_all(&mut self, routed: &mut RoutedMessages) -> Result<(), Stopped> {
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
    pub(super) async fn deliver(
        &mut self,
        mut work: PreparedBatch,
    ) -> Result<BTreeMap<i32, i64>, Stopped> {
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
        let read = work.next.clone();
        self.waiting.cap(&mut work.next);
        let is_committed = self.commit(&work.next, &read).await;
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
    async fn commit(&self, next: &BTreeMap<i32, i64>, read: &BTreeMap<i32, i64>) -> bool {
        if next.is_empty() {
            return true;
        }
        let mut backoff = Backoff::default();
        for _ in 0..4 {
            match self.commits.commit(next, read).await {
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
pub(super) fn is_hopeless(
    control: &dyn ControlState,
    target: &Target,
    kind: StoreErrorKind,
) -> bool {
    match kind {
        StoreErrorKind::Poison => true,
        StoreErrorKind::NotOurs => control.is_deleted(&target.connection),
        _ => false,
    }
}
