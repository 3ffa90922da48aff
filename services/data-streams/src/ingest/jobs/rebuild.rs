//! The warehouse refilled from the log, beside live loading.
//!
//! Shadow tables are filled from the beginning of the log to its end and then
//! exchanged with the live ones. What other loaders put into the old tables
//! meanwhile lies between the place read to and the log's end after the
//! exchange; it is read once more, into the tables that are live by then. It
//! must not know how tables are exchanged.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use anyhow::Context as _;
use serde::Serialize;

use super::full_passes::target;
use crate::ingest::{
    Inner, ReplayError, StoreError, StreamPass, Tables,
    conditions::WAREHOUSE,
    decode::router::Sorter,
    poll::{
        batch::{Batch, Batcher},
        message::{Arena, Message},
    },
    replay::{Replay, Step},
    store::{
        inserter::{Inserter, describe},
        preparer::Preparer,
    },
};

/// What a rebuild is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildPhase {
    /// Filling the tables beside the live ones.
    Reading,
    /// Exchanging them, and reading what came meanwhile.
    Exchanging,
    /// Done.
    Done,
    /// Given up. Where it had begun to exchange tables, the next start begins
    /// one anew; else the live tables are as they were.
    Failed,
}

/// How far a rebuild is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildState {
    /// UUID.
    pub id: String,
    /// What it is doing.
    pub phase: RebuildPhase,
    /// Records read.
    pub records: u64,
    /// Records that were in the log, marks of transactions and compacted ones
    /// included, when it began.
    pub expected: u64,
    /// When it began, in ms.
    pub started_at: i64,
    /// When it ended, in ms.
    pub ended_at: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

impl RebuildState {
    /// Of a rebuild that begins now, in ms.
    pub(crate) fn begun_at(now: i64) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            phase: RebuildPhase::Reading,
            records: 0,
            expected: 0,
            started_at: now,
            ended_at: None,
            error: None,
        }
    }
}

/// One rebuild under way.
pub(crate) struct Rebuild {
    inner: Arc<Inner>,
    replay: Replay,
    batcher: Batcher,
    arena: Arena,
    sorter: Sorter,
    inserter: Inserter,
}

impl Rebuild {
    /// Blocks its thread until the rebuild has ended.
    pub(crate) fn run(inner: &Arc<Inner>) {
        let outcome = Self::new(Arc::clone(inner)).and_then(Self::go);
        let now = inner.context.clock().now_ms();
        inner.rebuild.send_modify(|state| {
            let Some(state) = state else { return };
            state.ended_at = Some(now);
            match &outcome {
                Ok(()) => state.phase = RebuildPhase::Done,
                Err(error) => {
                    state.phase = RebuildPhase::Failed;
                    state.error = Some(format!("{error:#}"));
                }
            }
        });
        match outcome {
            Ok(()) => tracing::info!("warehouse rebuilt"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "rebuild failed"),
        }
    }

    fn new(inner: Arc<Inner>) -> anyhow::Result<Self> {
        let replay = Replay::new(inner.consumer("rebuild")?, &inner.topics.records)?;
        let preparer = Arc::new(Preparer::new(
            Arc::clone(&inner.store),
            inner.known.subscribe(),
            inner.settings.patience,
        ));
        Ok(Self {
            batcher: Batcher::new(inner.settings.limits),
            arena: Arena::default(),
            sorter: inner.sorter(Tables::Shadow),
            inserter: inner.inserter(preparer),
            replay,
            inner,
        })
    }

    fn go(mut self) -> anyhow::Result<()> {
        let inner = Arc::clone(&self.inner);
        let runtime = inner.runtime.clone();
        runtime
            .block_on(inner.store.begin_rebuild())
            .context("cannot make shadow tables")?;
        let ends = self.replay.ends()?;
        inner.update(|state| {
            state.expected = ends.values().map(|end| end.unsigned_abs()).sum();
        });
        loop {
            let arena = &mut self.arena;
            let step = self
                .replay
                .step(|message| Message::detach(message, 0, arena));
            if self.stopped() {
                anyhow::bail!("the process was stopped");
            }
            match step {
                Step::Message(message) => self.take_in(message)?,
                Step::Nothing => {}
                Step::End => break,
            }
        }
        self.flush()?;
        for StreamPass {
            connection,
            object_type,
            pass,
        } in inner.control.full_passes()
        {
            let target = target(
                inner.control.as_ref(),
                &connection,
                &object_type,
                Tables::Shadow,
            );
            runtime.block_on(async {
                self.inserter
                    .preparer
                    .apply(&target, pass.portal_id)
                    .await?;
                inner.store.mark_deleted(&target, &pass).await
            })?;
        }
        inner.update(|state| state.phase = RebuildPhase::Exchanging);
        runtime
            .block_on(inner.store.finish_rebuild())
            .context("cannot exchange the tables")?;
        inner.preparer.forget();
        self.inserter.preparer.forget();
        self.catch_up()?;
        runtime
            .block_on(inner.store.close_rebuild())
            .context("cannot note the end of the exchange")?;
        inner.epoch.fetch_add(1, Ordering::AcqRel);
        runtime.block_on(self.sign())
    }

    /// Reads what was loaded into the old tables meanwhile.
    fn catch_up(&mut self) -> anyhow::Result<()> {
        self.sorter.aim(Tables::Live);
        let ends = self.replay.ends()?;
        let mut quiet_since = Instant::now();
        while !self.replay.has_reached(&ends, quiet_since) {
            let arena = &mut self.arena;
            let step = self
                .replay
                .step(|message| Message::detach(message, 0, arena));
            if let Step::Message(message) = step {
                quiet_since = Instant::now();
                self.take_in(message)?;
            }
        }
        self.flush()
    }

    /// Where the offsets belong to another warehouse, this one takes them over
    /// at the place up to which it was filled.
    async fn sign(&self) -> anyhow::Result<()> {
        let id = self.inner.store.warehouse_id().await?;
        let other = self
            .inner
            .context
            .health()
            .failures()
            .iter()
            .any(|(condition, _)| *condition == WAREHOUSE);
        self.inner.warehouse.send_replace(id);
        if other && let Some(commits) = self.inner.commits.get() {
            commits.commit(&self.replay.next).await.map_err(|error| {
                anyhow::anyhow!("offsets cannot be committed for this warehouse: {error}")
            })?;
            self.inner.context.health().holds(WAREHOUSE);
        }
        Ok(())
    }

    fn take_in(&mut self, message: Message) -> anyhow::Result<()> {
        let now = Instant::now();
        let before = self.batcher.push(message, now);
        let due = if before.is_none() {
            self.batcher.take_due(now)
        } else {
            None
        };
        match before.or(due) {
            Some(batch) => self.load(batch),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match self.batcher.take() {
            Some(batch) => self.load(batch),
            None => Ok(()),
        }
    }

    fn load(&mut self, batch: Batch) -> anyhow::Result<()> {
        let runtime = self.inner.runtime.clone();
        let topic = self.inner.topics.records.clone();
        let count = u64::try_from(batch.messages.len()).unwrap_or_default();
        runtime.block_on(async {
            let sorted = self.sorter.sort(&topic, batch.messages).await;
            if let Some(held) = sorted.held.into_values().next() {
                anyhow::bail!("{}", held.reason);
            }
            for group in &sorted.groups {
                let stored = async {
                    self.inserter.ready(group).await?;
                    // What the store refuses is in the dead letters already.
                    self.inserter.store(&sorted.source, group).await
                };
                if stored.await.is_err() {
                    anyhow::bail!("the process was stopped");
                }
            }
            Ok(())
        })?;
        self.inner.update(|state| state.records += count);
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.inner.context.draining().is_cancelled()
    }
}

impl Inner {
    fn update(&self, change: impl FnOnce(&mut RebuildState)) {
        self.rebuild.send_modify(|state| {
            if let Some(state) = state {
                change(state);
            }
        });
    }
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        Self::Store(describe(&error))
    }
}
