//! Rebuilds the warehouse from the log while live loading continues.
//!
//! The rebuild reads the log from its beginning to its end into shadow tables and
//! exchanges these with the live ones. Meanwhile loaders store rows in the old
//! tables. Those rows come from the part of the log between the offsets read so
//! far and its end after the exchange, so the rebuild reads that part too, into
//! the tables that are live by then.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chassis::kafka::reader::{Step, TopicReader};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use schemas::Millis;
use tokio::sync::watch;

use crate::ingest::{
    RebuildLease, RebuildPhase, RebuildState, StoreError, StoreErrorKind, TableSet,
    conditions::WAREHOUSE,
    decode::router::{DecodedMessages, RowGroup, TargetRouter},
    parts::Parts,
    poll::{
        batch::{Batch, Batcher},
        message::Message,
    },
    store::{
        delivery::TARGETS_AT_ONCE,
        inserter::{Inserter, Unstored},
    },
};

/// How long the tables of one target may fail before the rebuild does.
const TARGET_LIMIT: Duration = Duration::from_mins(5);
/// Time between two attempts on them.
const TARGET_PAUSE: Duration = Duration::from_secs(2);

/// How long a failed statement, or read of the log's ends, is tried again.
const RETRY_LIMIT: Duration = Duration::from_mins(5);
/// What was fetched this long before the ends were read is in the log before them, in ms.
const MARGIN: Millis = 60_000;
/// Time between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A running rebuild.
pub(super) struct Refill {
    parts: Arc<Parts>,
    lease: Arc<RebuildLease>,
    progress: watch::Sender<RebuildState>,
    reader: TopicReader,
    batcher: Batcher,
    router: TargetRouter,
    inserter: Inserter,
}

impl Refill {
    pub(super) fn new(
        parts: &Arc<Parts>,
        lease: &Arc<RebuildLease>,
        progress: &watch::Sender<RebuildState>,
    ) -> anyhow::Result<Self> {
        let config = parts.reader("rebuild");
        let topic = &parts.topics.records;
        let reader = retried(parts, lease, || Ok(TopicReader::whole(&config, topic)?))?;
        Ok(Self {
            batcher: Batcher::new(parts.settings.limits),
            router: parts.router(TableSet::Shadow),
            inserter: parts.own_inserter(),
            reader,
            parts: Arc::clone(parts),
            lease: Arc::clone(lease),
            progress: progress.clone(),
        })
    }

    /// Blocks its thread until the tables are rebuilt.
    pub(super) fn go(mut self) -> anyhow::Result<()> {
        let parts = Arc::clone(&self.parts);
        let store = &parts.store;
        self.statement("cannot prepare the shadow tables", || store.begin_rebuild())?;
        let ends = self.ends()?;
        self.progress.send_modify(|state| {
            state.expected = ends.values().map(|end| end.unsigned_abs()).sum();
        });
        let before = parts.context.clock().now_ms() - MARGIN;
        self.read_to(&ends)?;
        let lease = Arc::clone(&self.lease);
        if !lease.accepts_loss {
            let losses = || store.rebuild_losses(before);
            let loss = self.statement("cannot compare the tables with their shadows", losses)?;
            loss.map_or(Ok(()), Err)?;
        }
        self.progress
            .send_modify(|state| state.phase = RebuildPhase::Exchanging);
        self.statement("cannot exchange the tables", || {
            store.finish_rebuild(&lease)
        })?;
        tracing::info!("tables exchanged");
        parts.preparer.forget();
        self.inserter.preparer.forget();
        self.catch_up()?;
        let note = "cannot note that the exchange has ended";
        self.statement(note, || store.close_rebuild())?;
        parts.runtime.block_on(self.take_over_offsets())
    }

    /// Loads the records that were loaded into the old tables meanwhile: those before
    /// the present ends. What comes later is loaded into the new ones.
    fn catch_up(&mut self) -> anyhow::Result<()> {
        self.router.set_tables(TableSet::Live);
        let ends = self.ends()?;
        let next = self.reader.next_offsets().clone();
        self.reader.assign(next)?;
        self.read_to(&ends)
    }

    /// The ends of the log now.
    fn ends(&self) -> anyhow::Result<BTreeMap<i32, i64>> {
        retried(&self.parts, &self.lease, || Ok(self.reader.ends()?))
    }

    /// Runs a statement of the store; tries again while it fails.
    fn statement<T, F>(&self, what: &'static str, run: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let runtime = &self.parts.runtime;
        retried(&self.parts, &self.lease, || {
            runtime
                .block_on(run())
                .map_err(|error| anyhow::anyhow!(error.describe()))
        })
        .context(what)
    }

    /// Loads every partition up to these offsets, or to its end, however long Kafka is
    /// away. The last offsets of a partition may be markers, which are no messages.
    fn read_to(&mut self, ends: &BTreeMap<i32, i64>) -> anyhow::Result<()> {
        let mut left: BTreeMap<i32, i64> = ends.clone();
        loop {
            let next = self.reader.next_offsets();
            left.retain(|partition, end| next.get(partition).is_none_or(|next| next < end));
            if left.is_empty() {
                return self.flush();
            }
            let step = self.reader.step(Message::detach);
            self.check_stopped()?;
            match step {
                Step::Message(message) => self.take_in(message)?,
                Step::Unavailable(error) => tracing::debug!(%error, "cannot read the records now"),
                Step::End(partition) => {
                    left.remove(&partition);
                }
                Step::Idle => {}
            }
        }
    }

    /// If the committed offsets belong to another warehouse, notes and commits the
    /// offsets up to which this one is filled.
    async fn take_over_offsets(&self) -> anyhow::Result<()> {
        let id = self.parts.store.warehouse_id().await?;
        let failures = self.parts.context.health().failures();
        let is_known = failures
            .iter()
            .any(|(condition, _)| *condition == WAREHOUSE);
        // It may have been emptied since this instance last looked.
        let other = is_known || *self.parts.warehouse.borrow() != id;
        self.parts.warehouse.send_replace(id);
        if other && let Some(commits) = self.parts.commits.get() {
            let next = self.reader.next_offsets();
            let topic = &self.parts.topics.records;
            // First: what is committed and not noted is read again.
            self.parts.store.note_loaded(topic, next).await?;
            commits.commit(next, next).await.map_err(|error| {
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
        let parts = Arc::clone(&self.parts);
        let (runtime, topic) = (&parts.runtime, &parts.topics.records);
        // Each time, as something may be purged meanwhile.
        let purged = self.statement("cannot read what was purged", || parts.store.purged(topic))?;
        self.router.set_purged(purged);
        let count = u64::try_from(batch.messages.len()).unwrap_or_default();
        runtime.block_on(async {
            let routed = self.router.route(topic, batch.messages).await;
            if let Some(held) = routed.held.into_values().next() {
                anyhow::bail!("{}", held.reason);
            }
            stream::iter(&routed.groups)
                .map(|group| self.store(&routed.decoded, group))
                .buffer_unordered(TARGETS_AT_ONCE)
                .try_collect::<()>()
                .await
        })?;
        self.progress.send_modify(|state| state.records += count);
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

    fn check_stopped(&self) -> anyhow::Result<()> {
        check_stopped(&self.parts, &self.lease)
    }
}

fn check_stopped(parts: &Parts, lease: &RebuildLease) -> anyhow::Result<()> {
    if parts.context.draining().is_cancelled() {
        anyhow::bail!("the process was stopped");
    }
    if lease.is_lost.load(Ordering::Relaxed) {
        anyhow::bail!("another instance carries it out");
    }
    Ok(())
}

/// Tries again for [`RETRY_LIMIT`] while an attempt fails.
fn retried<T>(
    parts: &Parts,
    lease: &RebuildLease,
    attempt: impl Fn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        check_stopped(parts, lease)?;
        if began.elapsed() > RETRY_LIMIT {
            return Err(error);
        }
        tracing::warn!(
            error = format!("{error:#}"),
            "a step of a rebuild failed; will retry"
        );
        parts.runtime.block_on(tokio::time::sleep(RETRY_PAUSE));
    }
}
