//! Rebuilds the warehouse from the log while live loading continues.
//!
//! The rebuild reads the log from its beginning to its end into shadow tables and
//! exchanges these with the live ones. Meanwhile loaders store rows in the old
//! tables. Those rows come from the part of the log between the offsets read so
//! far and its end after the exchange, so the rebuild reads that part too, into
//! the tables that are live by then.
//!
//! Any instance can be asked for one. The store keeps its state, and the one instance
//! that leads the group carries it out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chassis::kafka::reader::{Step, TopicReader};
use tokio::sync::watch;

use super::JobError;
use crate::ingest::{
    KnownRebuild, RebuildLease, RebuildPhase, RebuildState, StoreError, StoreErrorKind, TableSet,
    conditions::WAREHOUSE,
    decode::router::{DecodedMessages, RowGroup, TargetRouter},
    parts::Parts,
    poll::{
        batch::{Batch, Batcher},
        message::Message,
    },
    store::inserter::{Inserter, Unstored, describe},
};

/// How long the tables of one target may fail before the rebuild does.
const TARGET_LIMIT: Duration = Duration::from_mins(5);
/// Time between two attempts on them.
const TARGET_PAUSE: Duration = Duration::from_secs(2);

/// Time between two looks for a rebuild to carry out.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two notes of an instance that it still carries a rebuild out.
const NOTE: Duration = Duration::from_secs(2);
/// An instance that has noted nothing for this time has ended.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a failed statement, or read of the log's ends, is tried again.
const RETRY_LIMIT: Duration = Duration::from_mins(5);

/// Asks for a rebuild, unless one is asked for already; its state.
pub(crate) async fn ask(parts: &Parts) -> Result<RebuildState, StoreError> {
    // Makes the store's own tables where they are missing.
    parts.store.warehouse_id().await?;
    let state = RebuildState::asked_at(parts.context.clock().now_ms());
    parts.store.ask_rebuild(&state).await?;
    // The oldest one, as two instances may have asked at once. One run serves both.
    let open = parts.store.rebuilds().await?.into_iter();
    let oldest = open.filter(KnownRebuild::is_open).last();
    Ok(oldest.map_or(state, |it| it.state))
}

/// Waits until the rebuild with this id has ended; the state at its end.
pub(crate) async fn ended(parts: &Parts, id: &str) -> Result<RebuildState, JobError> {
    loop {
        let known = parts.store.rebuilds().await;
        let found = known.ok().and_then(|known| {
            let mut states = known.into_iter().map(|it| it.state);
            states.find(|it| it.id == id && it.ended_at.is_some())
        });
        if let Some(state) = found {
            return Ok(state);
        }
        let pause = tokio::time::sleep(LOOK);
        let waited = parts.context.unless_draining(pause).await;
        waited.ok_or(JobError::Stopped)?;
    }
}

/// Carries out the rebuilds that any instance was asked for, where this one leads the
/// group. One whose instance has ended is begun anew.
pub(crate) struct RebuildJob {
    parts: Arc<Parts>,
    /// Names this instance among those that carry out rebuilds.
    owner: String,
}

impl RebuildJob {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        let owner = uuid::Uuid::new_v4().to_string();
        Self { parts, owner }
    }

    /// Runs until the process stops.
    pub(crate) async fn run(self) {
        loop {
            let pause = tokio::time::sleep(LOOK);
            if self.parts.context.unless_draining(pause).await.is_none() {
                return;
            }
            self.take_over_warehouse().await;
            if !self.parts.leads.load(Ordering::Relaxed) {
                continue;
            }
            match self.claimed().await {
                Ok(ids) if ids.is_empty() => {}
                Ok(ids) => self.carry_out(ids).await,
                Err(error) => tracing::debug!(%error, "rebuilds cannot be looked for now"),
            }
        }
    }

    /// Where another instance has filled another warehouse, loading goes on there.
    async fn take_over_warehouse(&self) {
        let failures = self.parts.context.health().failures();
        if !failures.iter().any(|(name, _)| *name == WAREHOUSE) {
            return;
        }
        let Ok(id) = self.parts.store.warehouse_id().await else {
            return;
        };
        if let Ok(known) = self.parts.store.rebuilds().await
            && known
                .first()
                .is_some_and(|it| it.state.phase == RebuildPhase::Done)
        {
            self.parts.warehouse.send_replace(id);
        }
    }

    /// The rebuilds to carry out now, which are this instance's from now on; none while
    /// another instance carries one out.
    async fn claimed(&self) -> Result<Vec<String>, StoreError> {
        let store = &self.parts.store;
        let open: Vec<_> = store.rebuilds().await?;
        let open: Vec<_> = open.into_iter().filter(KnownRebuild::is_open).collect();
        let is_carried_out = |it: &KnownRebuild| {
            !it.owner.is_empty() && it.owner != self.owner && it.silent_for < SILENCE
        };
        if open.is_empty() || open.iter().any(is_carried_out) {
            return Ok(Vec::new());
        }
        let mut ids = Vec::new();
        for it in open {
            let before = it.owner.as_str();
            let begun = RebuildState {
                phase: RebuildPhase::Reading,
                records: 0,
                ..it.state
            };
            store.note_rebuild(&begun, before, &self.owner).await?;
            ids.push(begun.id);
        }
        let known = store.rebuilds().await?;
        let is_ours = |id: &String| {
            let mut of_id = known.iter().filter(|it| it.state.id == *id);
            of_id.all(|it| it.owner == self.owner)
        };
        ids.retain(is_ours);
        Ok(ids)
    }

    async fn carry_out(&self, ids: Vec<String>) {
        let lease = Arc::new(RebuildLease {
            ids,
            owner: self.owner.clone(),
            is_lost: AtomicBool::new(false),
        });
        let state = RebuildState::asked_at(self.parts.context.clock().now_ms());
        let progress = watch::Sender::new(state);
        let (parts, held, shown) = (
            Arc::clone(&self.parts),
            Arc::clone(&lease),
            progress.clone(),
        );
        tracing::info!(ids = ?lease.ids, "rebuild begins");
        let running = tokio::task::spawn_blocking(move || {
            Rebuild::new(&parts, &held, &shown).and_then(Rebuild::go)
        });
        tokio::pin!(running);
        let outcome = loop {
            tokio::select! {
                outcome = &mut running => break outcome.map_err(Into::into).flatten(),
                () = tokio::time::sleep(NOTE) => {
                    let state = progress.borrow().clone();
                    self.note(&lease, &state).await;
                }
            }
        };
        if self.parts.context.draining().is_cancelled() {
            // Another instance, or the next start, begins it anew.
            return;
        }
        let mut state = progress.borrow().clone();
        state.ended_at = Some(self.parts.context.clock().now_ms());
        match outcome {
            Ok(()) => {
                state.phase = RebuildPhase::Done;
                tracing::info!("warehouse rebuilt");
            }
            Err(error) => {
                state.phase = RebuildPhase::Failed;
                state.error = Some(format!("{error:#}"));
                tracing::error!(error = format!("{error:#}"), "rebuild failed");
            }
        }
        while !lease.is_lost.load(Ordering::Relaxed) && !self.note(&lease, &state).await {
            let pause = tokio::time::sleep(LOOK);
            if self.parts.context.unless_draining(pause).await.is_none() {
                return;
            }
        }
    }

    /// Notes the progress; whether that succeeded. Notices when the rebuild has become
    /// another instance's.
    async fn note(&self, lease: &RebuildLease, state: &RebuildState) -> bool {
        let store = &self.parts.store;
        let noted = async {
            let known = store.rebuilds().await?;
            for id in &lease.ids {
                let Some(it) = known.iter().find(|it| it.state.id == *id) else {
                    continue;
                };
                if it.owner != self.owner {
                    lease.is_lost.store(true, Ordering::Relaxed);
                }
                let state = RebuildState {
                    id: id.clone(),
                    started_at: it.state.started_at,
                    ..state.clone()
                };
                store.note_rebuild(&state, &self.owner, &self.owner).await?;
            }
            Ok::<_, StoreError>(())
        };
        let noted = noted.await;
        if let Err(error) = &noted {
            tracing::debug!(%error, "the progress of a rebuild was not noted");
        }
        noted.is_ok()
    }
}

/// A running rebuild.
struct Rebuild {
    parts: Arc<Parts>,
    lease: Arc<RebuildLease>,
    progress: watch::Sender<RebuildState>,
    reader: TopicReader,
    batcher: Batcher,
    router: TargetRouter,
    inserter: Inserter,
}

impl Rebuild {
    fn new(
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

    fn go(mut self) -> anyhow::Result<()> {
        let parts = Arc::clone(&self.parts);
        let store = &parts.store;
        self.statement("cannot prepare the shadow tables", || store.begin_rebuild())?;
        let topic = &parts.topics.records;
        let purged = self.statement("cannot read what was purged", || store.purged(topic))?;
        self.router.set_purged(purged);
        let ends = self.ends()?;
        self.progress.send_modify(|state| {
            state.expected = ends.values().map(|end| end.unsigned_abs()).sum();
        });
        self.read_to(&ends)?;
        self.progress
            .send_modify(|state| state.phase = RebuildPhase::Exchanging);
        let lease = Arc::clone(&self.lease);
        self.statement("cannot exchange the tables", || {
            store.finish_rebuild(&lease)
        })?;
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
                .map_err(|error| anyhow::anyhow!(describe(&error)))
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
            let step = self.reader.step(|message| Message::detach(message, 0));
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
        std::thread::sleep(LOOK);
    }
}
