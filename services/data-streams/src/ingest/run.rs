//! Creates the poller, the loader and the jobs, runs them, and serves the API's
//! requests about dead letters and rebuilds.

mod thread;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, atomic::Ordering},
};

use anyhow::Context as _;
use chassis::{
    Context, kafka::producer::SingleProducer, registry::SchemaSource, schema_lookup::SchemaLookup,
};
use rdkafka::consumer::BaseConsumer;
use tokio::sync::mpsc;

use thread::on_thread;

use super::{
    Commits, ControlState, KnownRebuild, RebuildPhase, RebuildState, Store, StoreError, TableSet,
    conditions::CLICKHOUSE,
    decode::definitions::DefinitionsReader,
    jobs::{
        JobError,
        changes::{self, ChangeBatch, ChangeQuery},
        dead_letters::{self, ListedLetter, Reprocessed},
        loaded,
        rebuild::{self, RebuildJob},
        tables::TableJob,
    },
    parts::{IngestSettings, Parts},
    poll::{
        GroupCommits, GroupContext, Progress,
        batch::Batcher,
        guard::AssignmentGuard,
        handover::{self, BatchSender, PartitionHold},
        poller::Poller,
    },
    store::{
        dead_letter::KafkaDeadLetters, delivery::Delivery, inserter::Backoff, loader::Loader,
        notes::LoadedNotes, positions::Positions, waiting::WaitingTargets,
    },
};
use crate::message_rules::message_rules;

/// The loader of the records topic. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    parts: Arc<Parts>,
}

impl Ingest {
    /// An ingest that is not running yet. Has to be called on a runtime.
    pub fn new(
        settings: IngestSettings,
        store: Arc<dyn Store>,
        control: Arc<dyn ControlState>,
        schemas: Arc<dyn SchemaSource>,
        context: Context,
    ) -> Self {
        let parts = Parts::new(settings, store, control, schemas, context);
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Loads until the process drains. Returns after the batches that were read
    /// are stored and committed.
    pub async fn run(self) -> anyhow::Result<()> {
        if !self.parts.find_warehouse().await {
            return Ok(());
        }
        let parts = Arc::clone(&self.parts);
        let guard = Arc::new(AssignmentGuard::default());
        let (out, batches) = handover::batches(1);
        let (holds, held) = mpsc::unbounded_channel();
        let consumer = Arc::new(parts.group_consumer(&guard)?);
        let commits: Arc<dyn Commits> = Arc::new(GroupCommits {
            consumer: Arc::clone(&consumer),
            topic: parts.topics.records.clone(),
            warehouse: parts.warehouse.subscribe(),
        });
        // An ingest runs once, so this is set once.
        drop(parts.commits.set(Arc::clone(&commits)));
        let definitions_reader = parts.definitions_reader();
        let poller = parts.poller(&consumer, &guard, out, held);
        let delivery = Delivery {
            inserter: Arc::new(parts.inserter(Arc::clone(&parts.preparer))),
            control: Arc::clone(&parts.control),
            waiting: WaitingTargets::new(parts.context.health().clone(), parts.waiting.clone()),
            letters: Arc::new(parts.dead_letter_sink()?),
            commits,
            guard,
            context: parts.context.clone(),
        };
        let loader = Loader {
            topic: parts.topics.records.clone(),
            router: parts.router(TableSet::Live),
            delivery,
            batches,
            holds,
            positions: Positions::default(),
            notes: LoadedNotes::new(Arc::clone(&parts.store), &parts.topics.records),
            purged_at: None,
        };
        let tables = TableJob {
            parts: Arc::clone(&parts),
        };
        drop(parts.context.spawn_owned(tables.run()));
        let rebuilds = RebuildJob::new(Arc::clone(&parts));
        drop(parts.context.spawn_owned(rebuilds.run()));
        let runtime = parts.runtime.clone();
        futures::future::try_join3(
            on_thread("definitions", move || definitions_reader.run())?,
            on_thread("records", move || poller.run())?,
            // Encoding keeps a core busy, so it gets its own thread.
            on_thread("loader", move || runtime.block_on(loader.run()))?,
        )
        .await?;
        // Leaving the group blocks.
        tokio::task::spawn_blocking(move || drop(consumer))
            .await
            .context("leaving the group")
    }

    /// The newest dead letters that are not stored yet, oldest first.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<ListedLetter>, JobError> {
        dead_letters::newest(Arc::clone(&self.parts), limit).await
    }

    /// Sends part of the log; an error is the last that is sent.
    pub async fn changes<E: Send + 'static>(
        &self,
        query: ChangeQuery,
        out: mpsc::Sender<Result<ChangeBatch, E>>,
        failed: fn(JobError) -> E,
    ) {
        changes::read(Arc::clone(&self.parts), query, out, failed).await;
    }

    /// Stores the dead letters that can be stored now.
    pub async fn reprocess(&self) -> Result<Reprocessed, JobError> {
        dead_letters::reprocess(Arc::clone(&self.parts)).await
    }

    /// The streams of a connection whose records wait, and why, as far as this instance
    /// loads them.
    pub fn waiting(&self, connection: &str) -> BTreeMap<String, String> {
        self.parts.waiting.of(connection)
    }

    /// From now on, skips what the log has of these connections.
    pub async fn skip(&self, connections: &[String]) -> Result<(), JobError> {
        loaded::skip(Arc::clone(&self.parts), connections).await
    }

    /// Asks for a refill of the warehouse from the log, unless one is asked for already.
    /// Tables lose objects that the log no longer has only where that is accepted.
    /// Returns the state of the rebuild.
    pub async fn start_rebuild(&self, accepts_loss: bool) -> Result<RebuildState, JobError> {
        Ok(rebuild::ask(&self.parts, accepts_loss).await?)
    }

    /// Refills the warehouse from the log, and returns once that is done. Joins a
    /// rebuild that is running.
    pub async fn refill(&self) -> Result<(), JobError> {
        let asked = self.start_rebuild(false).await?;
        let ended = rebuild::ended(&self.parts, &asked.id).await?;
        match ended.phase {
            RebuildPhase::Done => Ok(()),
            _ => Err(JobError::Rebuild(ended.error.unwrap_or_default())),
        }
    }

    /// Whether a rebuild is to be carried out, by whichever instance.
    pub async fn is_rebuilding(&self) -> Result<bool, JobError> {
        let known = self.parts.store.rebuilds().await?;
        Ok(known.iter().any(KnownRebuild::is_open))
    }

    /// Whether this member of the group reads the first partition of the records:
    /// what is to be done by one instance only is done by this one.
    pub fn leads(&self) -> bool {
        self.parts.leads.load(Ordering::Relaxed)
    }

    /// Waits until every record that the log has now is stored; false if some wait for
    /// their tables.
    pub async fn until_loaded(&self) -> Result<bool, JobError> {
        loaded::until_loaded(Arc::clone(&self.parts)).await
    }

    /// The objects of a stream for which `wanted` holds and of which a dead letter is
    /// not stored yet.
    pub async fn dead_objects(
        &self,
        portal_id: i64,
        object_type: &str,
        wanted: impl Fn(i64) -> bool + Send + 'static,
    ) -> Result<BTreeSet<i64>, JobError> {
        let parts = Arc::clone(&self.parts);
        dead_letters::objects(parts, portal_id, object_type, wanted).await
    }

    /// The last rebuilds, by whichever instance, newest first.
    pub async fn rebuilds(&self) -> Result<Vec<RebuildState>, JobError> {
        let known = self.parts.store.rebuilds().await?;
        Ok(known.into_iter().map(|it| it.state).collect())
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest")
            .field("settings", &self.parts.settings)
            .finish_non_exhaustive()
    }
}

impl Parts {
    fn group_consumer(
        &self,
        guard: &Arc<AssignmentGuard>,
    ) -> anyhow::Result<BaseConsumer<GroupContext>> {
        let context = GroupContext::new(Arc::clone(guard), &self.topics.records);
        self.settings
            .kafka
            .follower("data-streams.records", &self.group())
            // The partitions of a crashed member move to others after 6 s.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1500")
            .set("statistics.interval.ms", "1000")
            .create_with_context(context)
            .context("consumer of the records topic")
    }

    fn definitions_reader(&self) -> DefinitionsReader {
        let schemas = Arc::clone(&self.schemas);
        let rules = message_rules(self.topics.clone());
        DefinitionsReader {
            config: self.follower("definitions"),
            topic: self.topics.definitions.clone(),
            lookup: SchemaLookup::new(schemas, rules, []),
            known: self.known.clone(),
            runtime: self.runtime.clone(),
            context: self.context.clone(),
        }
    }

    fn poller(
        &self,
        consumer: &Arc<BaseConsumer<GroupContext>>,
        guard: &Arc<AssignmentGuard>,
        out: BatchSender,
        holds: mpsc::UnboundedReceiver<PartitionHold>,
    ) -> Poller {
        Poller {
            consumer: Arc::clone(consumer),
            topic: self.topics.records.clone(),
            batcher: Batcher::new(self.settings.limits),
            out,
            holds,
            guard: Arc::clone(guard),
            warehouse: self.warehouse.subscribe(),
            store: Arc::clone(&self.store),
            health: self.context.health().clone(),
            runtime: self.runtime.clone(),
            stop: self.context.draining().clone(),
            leads: Arc::clone(&self.leads),
            progress: Progress::default(),
        }
    }

    fn dead_letter_sink(&self) -> anyhow::Result<KafkaDeadLetters> {
        let settings = self.settings.kafka.producer("data-streams.dead-letters");
        let producer = SingleProducer::new(&settings).context("producer of the dead letters")?;
        Ok(KafkaDeadLetters {
            producer,
            topic: self.topics.dead_letters.clone(),
        })
    }

    /// Waits for the store, then sets this warehouse's id. Asks for the rebuild again that
    /// was interrupted. False if the process stops first.
    async fn find_warehouse(&self) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let found = async {
                let id = self.store.warehouse_id().await?;
                self.store.upgrade().await?;
                rebuild::ask_if_unfinished(self).await?;
                Ok(id)
            };
            match found.await {
                Ok(id) => {
                    self.context.health().holds(CLICKHOUSE);
                    self.warehouse.send_replace(id);
                    return true;
                }
                Err::<_, StoreError>(error) => {
                    self.context.health().fails(CLICKHOUSE, error.describe());
                }
            }
            tokio::select! {
                () = self.context.draining().cancelled() => return false,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
