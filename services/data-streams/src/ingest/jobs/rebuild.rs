//! Rebuilds the warehouse from the log while live loading continues.
//!
//! The rebuild reads the log from its beginning to its end into shadow tables and
//! exchanges these with the live ones. Meanwhile loaders store rows in the old
//! tables. Those rows come from the part of the log between the offsets read so
//! far and its end after the exchange, so the rebuild reads that part too, into
//! the tables that are live by then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chassis::kafka::reader::{Step, TopicReader};
use serde::Serialize;
use tokio::sync::watch;

use crate::ingest::{
    StoreErrorKind, TableSet,
    conditions::WAREHOUSE,
    decode::router::{DecodedMessages, RowGroup, TargetRouter},
    parts::Parts,
    poll::{
        batch::{Batch, Batcher},
        message::Message,
    },
    store::inserter::{Inserter, Unstored},
};

/// How long the tables of one target may fail before the rebuild does.
const TARGET_LIMIT: Duration = Duration::from_mins(5);
/// Time between two attempts on them.
const TARGET_PAUSE: Duration = Duration::from_secs(2);

/// What a rebuild is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildPhase {
    /// Filling the shadow tables.
    Reading,
    /// Exchanging the tables, and reading the records that arrived meanwhile.
    Exchanging,
    /// Done.
    Done,
    /// Failed. If it had begun to exchange tables, the next start of the process
    /// starts a new rebuild; otherwise the live tables are unchanged.
    Failed,
}

/// The progress of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildState {
    /// UUID.
    pub id: String,
    /// What it is doing.
    pub phase: RebuildPhase,
    /// Records read.
    pub records: u64,
    /// Offsets in the log when it began. This is more than the number of records:
    /// transaction markers and compacted records count too.
    pub expected: u64,
    /// When it began, in ms.
    pub started_at: i64,
    /// When it ended, in ms.
    pub ended_at: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

impl RebuildState {
    /// The state of a rebuild that begins at `now`, in ms.
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

/// The rebuilds of this process, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Rebuilds {
    last: watch::Sender<Option<RebuildState>>,
}

impl Rebuilds {
    /// Starts a rebuild on its own thread, unless one is running. Returns the state
    /// of the running rebuild.
    pub(crate) fn start(self: &Arc<Self>, parts: &Arc<Parts>) -> RebuildState {
        let mut begun = false;
        let mut current = RebuildState::begun_at(parts.context.clock().now_ms());
        self.last.send_modify(|slot| match slot {
            Some(running) if running.ended_at.is_none() => current.clone_from(running),
            _ => {
                begun = true;
                *slot = Some(current.clone());
            }
        });
        if begun {
            let rebuilds = Arc::clone(self);
            let job = Arc::clone(parts);
            drop(parts.runtime.spawn_blocking(move || rebuilds.run(&job)));
        }
        current
    }

    /// Waits until the rebuild with this id has ended; the state at its end.
    pub(crate) async fn ended(&self, id: &str) -> Option<RebuildState> {
        let mut last = self.last.subscribe();
        let is_over = |state: &Option<RebuildState>| {
            let state = state.as_ref();
            state.is_none_or(|it| it.id != id || it.ended_at.is_some())
        };
        // Fails only when the sender is gone, and `self` has it.
        let state = last.wait_for(is_over).await.ok()?.clone();
        state.filter(|it| it.id == id)
    }

    /// The last rebuild.
    pub(crate) fn last(&self) -> Option<RebuildState> {
        self.last.borrow().clone()
    }

    /// Blocks its thread until the rebuild has ended.
    fn run(&self, parts: &Arc<Parts>) {
        let outcome = Rebuild::new(parts, self).and_then(Rebuild::go);
        let now = parts.context.clock().now_ms();
        self.update(|state| {
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

    fn update(&self, change: impl FnOnce(&mut RebuildState)) {
        self.last.send_modify(|state| {
            if let Some(state) = state {
                change(state);
            }
        });
    }
}

/// A running rebuild.
struct Rebuild<'r> {
    parts: Arc<Parts>,
    rebuilds: &'r Rebuilds,
    reader: TopicReader,
    batcher: Batcher,
    router: TargetRouter,
    inserter: Inserter,
}

impl<'r> Rebuild<'r> {
    fn new(parts: &Arc<Parts>, rebuilds: &'r Rebuilds) -> anyhow::Result<Self> {
        let reader = TopicReader::whole(&parts.reader("rebuild"), &parts.topics.records)?;
        Ok(Self {
            batcher: Batcher::new(parts.settings.limits),
            router: parts.router(TableSet::Shadow),
            inserter: parts.own_inserter(),
            reader,
            parts: Arc::clone(parts),
            rebuilds,
        })
    }

    fn go(mut self) -> anyhow::Result<()> {
        let parts = Arc::clone(&self.parts);
        let runtime = parts.runtime.clone();
        runtime
            .block_on(parts.store.begin_rebuild())
            .context("cannot prepare the shadow tables")?;
        let purged = parts.store.purged(&parts.topics.records);
        self.router.set_purged(runtime.block_on(purged)?);
        let ends = self.reader.ends()?;
        self.rebuilds.update(|state| {
            state.expected = ends.values().map(|end| end.unsigned_abs()).sum();
        });
        self.read_to_end()?;
        self.rebuilds
            .update(|state| state.phase = RebuildPhase::Exchanging);
        runtime
            .block_on(parts.store.finish_rebuild())
            .context("cannot exchange the tables")?;
        parts.preparer.forget();
        self.inserter.preparer.forget();
        self.catch_up()?;
        runtime
            .block_on(parts.store.close_rebuild())
            .context("cannot note that the exchange has ended")?;
        runtime.block_on(self.take_over_offsets())
    }

    /// Loads the records that were loaded into the old tables meanwhile.
    fn catch_up(&mut self) -> anyhow::Result<()> {
        self.router.set_tables(TableSet::Live);
        let next = self.reader.next_offsets().clone();
        self.reader.assign(next)?;
        self.read_to_end()
    }

    /// Loads up to the end of every partition, however long Kafka is away.
    fn read_to_end(&mut self) -> anyhow::Result<()> {
        while !self.reader.is_at_end() {
            let step = self.reader.step(|message| Message::detach(message, 0));
            if self.is_stopped() {
                anyhow::bail!("the process was stopped");
            }
            match step {
                Step::Message(message) => self.take_in(message)?,
                Step::Unavailable(error) => tracing::debug!(%error, "cannot read the records now"),
                Step::Idle | Step::End(_) => {}
            }
        }
        self.flush()
    }

    /// If the committed offsets belong to another warehouse, commits the offsets
    /// up to which this one is filled.
    async fn take_over_offsets(&self) -> anyhow::Result<()> {
        let id = self.parts.store.warehouse_id().await?;
        let other = self
            .parts
            .context
            .health()
            .failures()
            .iter()
            .any(|(condition, _)| *condition == WAREHOUSE);
        self.parts.warehouse.send_replace(id);
        if other && let Some(commits) = self.parts.commits.get() {
            commits
                .commit(self.reader.next_offsets())
                .await
                .map_err(|error| {
                    anyhow::anyhow!("cannot commit offsets for this warehouse: {error}")
                })?;
            self.parts.context.health().holds(WAREHOUSE);
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
        let runtime = self.parts.runtime.clone();
        let topic = self.parts.topics.records.clone();
        let count = u64::try_from(batch.messages.len()).unwrap_or_default();
        runtime.block_on(async {
            let routed = self.router.route(&topic, batch.messages).await;
            if let Some(held) = routed.held.into_values().next() {
                anyhow::bail!("{}", held.reason);
            }
            for group in &routed.groups {
                self.store(&routed.decoded, group).await?;
            }
            anyhow::Ok(())
        })?;
        self.rebuilds.update(|state| state.records += count);
        Ok(())
    }

    /// Stores a group. Rows that can go nowhere are in the dead letters already, or the
    /// live tables lack them too.
    async fn store(&self, decoded: &DecodedMessages, group: &RowGroup) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let stored = async {
                self.inserter.prepare_tables(group).await?;
                self.inserter.store(decoded, group).await
            };
            let error = match stored.await {
                Ok(_) => return Ok(()),
                Err(Unstored::Stopped) => anyhow::bail!("the process was stopped"),
                Err(Unstored::Target(error)) => error,
            };
            match error.kind {
                StoreErrorKind::Poison | StoreErrorKind::NotOurs => {
                    tracing::debug!(%error, "records are skipped");
                    return Ok(());
                }
                _ if began.elapsed() > TARGET_LIMIT => return Err(error.into()),
                _ => tokio::time::sleep(TARGET_PAUSE).await,
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.parts.context.draining().is_cancelled()
    }
}
