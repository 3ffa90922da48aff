//! The ingest's parts put together, and what the API asks of it.
//!
//! It must not know HTTP, nor which store it fills.

mod thread;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use anyhow::Context as _;
use chassis::{Context, kafka::KafkaArgs};
use rdkafka::{ClientConfig, consumer::BaseConsumer, producer::FutureProducer};
use schemas::Topics;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use thread::on_thread;

use super::{
    Commits, ControlState, Store, StoreError, TableSet,
    conditions::CLICKHOUSE,
    decode::{
        decoders::{Decoders, SchemaSource},
        router::{TargetRouter, WaitLimits},
    },
    definitions::{DefinitionsReader, KnownDefinitions},
    jobs::{
        full_passes::FullPassJob,
        rebuild::{Rebuild, RebuildState},
        reprocess::Reprocessed,
    },
    poll::{
        GroupCommits, GroupContext, Progress,
        batch::{BatchLimits, Batcher},
        guard::AssignmentGuard,
        handover::{self, BatchSender, PartitionHold},
        message::Arena,
        poller::Poller,
    },
    store::{
        dead_letter::{DeadLetter, KafkaDeadLetters},
        inserter::{Backoff, Inserter, describe},
        loader::{Delivery, Loader},
        preparer::TablePreparer,
    },
};
use crate::writers::Writers;

/// What the ingest is told.
#[derive(Debug, Clone)]
pub struct IngestSettings {
    /// Where Kafka is.
    pub kafka: KafkaArgs,
    /// When a batch goes out.
    pub limits: BatchLimits,
    /// How long a batch waits for what should be on its way.
    pub wait_limits: WaitLimits,
    /// Id under which the record's schema was registered at start.
    pub record_schema_id: u32,
}

/// Why dead letters or a rebuild could not be served.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The log cannot be read.
    #[error("kafka: {0}")]
    Kafka(String),
    /// The store does not answer.
    #[error("store: {0}")]
    Store(String),
    /// The process is shutting down.
    #[error("shutting down")]
    Stopped,
}

pub(crate) struct Parts {
    pub(super) settings: IngestSettings,
    pub(super) topics: Topics,
    pub(super) store: Arc<dyn Store>,
    pub(super) control: Arc<dyn ControlState>,
    pub(super) schemas: Arc<dyn SchemaSource>,
    pub(super) context: Context,
    pub(super) runtime: Handle,
    pub(super) known: watch::Sender<KnownDefinitions>,
    /// Id of the warehouse that offsets are committed for.
    pub(super) warehouse: watch::Sender<String>,
    pub(super) commits: OnceLock<Arc<dyn Commits>>,
    pub(super) preparer: Arc<TablePreparer>,
    pub(super) rebuild: watch::Sender<Option<RebuildState>>,
    pub(super) epoch: Arc<AtomicU64>,
}

/// The loader of the records topic. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    parts: Arc<Parts>,
}

impl Ingest {
    /// An ingest that has not begun. Needs a runtime.
    pub fn new(
        settings: IngestSettings,
        store: Arc<dyn Store>,
        control: Arc<dyn ControlState>,
        schemas: Arc<dyn SchemaSource>,
        context: Context,
    ) -> Self {
        let known = watch::Sender::new(KnownDefinitions::default());
        let preparer = Arc::new(TablePreparer::new(
            Arc::clone(&store),
            known.subscribe(),
            settings.wait_limits,
        ));
        let parts = Parts {
            topics: Topics::with_prefix(&settings.kafka.topic_prefix),
            settings,
            store,
            control,
            schemas,
            context,
            runtime: Handle::current(),
            known,
            warehouse: watch::Sender::new(String::new()),
            commits: OnceLock::new(),
            preparer,
            rebuild: watch::Sender::new(None),
            epoch: Arc::default(),
        };
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Loads until the process drains; returns once what was begun is stored
    /// and committed.
    pub async fn run(self) -> anyhow::Result<()> {
        let Some(was_cut_off) = self.parts.find_warehouse().await else {
            return Ok(());
        };
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
        // Set once: an ingest runs once.
        drop(parts.commits.set(Arc::clone(&commits)));
        if was_cut_off {
            tracing::warn!("a rebuild was cut off while it exchanged tables: it begins anew");
            self.start_rebuild();
        }
        let definitions_reader = parts.definitions_reader()?;
        let poller = parts.poller(&consumer, &guard, out, held);
        let delivery = Delivery {
            inserter: parts.inserter(Arc::clone(&parts.preparer)),
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
            held: HashMap::new(),
        };
        drop(parts.context.spawn_owned(parts.full_pass_job()?.run()));
        let runtime = parts.runtime.clone();
        futures::future::try_join3(
            on_thread("definitions", move || definitions_reader.run())?,
            on_thread("records", move || poller.run())?,
            // Encoding keeps a core busy: not one of the runtime's threads.
            on_thread("loader", move || runtime.block_on(loader.run()))?,
        )
        .await?;
        // Leaving the group blocks.
        tokio::task::spawn_blocking(move || drop(consumer))
            .await
            .context("leaving the group")
    }

    /// The newest dead letters that are not stored yet, oldest first.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, JobError> {
        Arc::clone(&self.parts).letters(limit).await
    }

    /// Stores the dead letters that can be stored now.
    pub async fn reprocess(&self) -> Result<Reprocessed, JobError> {
        Arc::clone(&self.parts).reprocess().await
    }

    /// Begins to refill the warehouse from the log; the state of the one under
    /// way where there is one.
    pub fn start_rebuild(&self) -> RebuildState {
        let now = self.parts.context.clock().now_ms();
        let mut begun = false;
        let mut current = RebuildState::begun_at(now);
        self.parts.rebuild.send_modify(|slot| match slot {
            Some(under_way) if under_way.ended_at.is_none() => current.clone_from(under_way),
            _ => {
                begun = true;
                *slot = Some(current.clone());
            }
        });
        if begun {
            let parts = Arc::clone(&self.parts);
            drop(
                self.parts
                    .runtime
                    .spawn_blocking(move || Rebuild::run(&parts)),
            );
        }
        current
    }

    /// The last rebuild of this process.
    pub fn rebuild(&self) -> Option<RebuildState> {
        self.parts.rebuild.borrow().clone()
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
    fn group(&self) -> String {
        format!("{}warehouse", self.settings.kafka.topic_prefix)
    }

    fn group_consumer(
        &self,
        guard: &Arc<AssignmentGuard>,
    ) -> anyhow::Result<BaseConsumer<GroupContext>> {
        let context = GroupContext::new(Arc::clone(guard), &self.topics.records);
        self.settings
            .kafka
            .consumer("data-streams.records", &self.group())
            // A crashed member must not hold up the others for long.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1500")
            .set("statistics.interval.ms", "1000")
            .create_with_context(context)
            .context("consumer of the records topic")
    }

    fn definitions_reader(&self) -> anyhow::Result<DefinitionsReader> {
        Ok(DefinitionsReader {
            config: self.reader("definitions"),
            topic: self.topics.definitions.clone(),
            writers: Writers::new(
                Arc::clone(&self.schemas),
                self.topics.clone(),
                HashMap::new(),
            ),
            health: self.context.health().clone(),
            known: self.known.clone(),
            runtime: self.runtime.clone(),
            stop: self.context.draining().clone(),
        })
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
            health: self.context.health().clone(),
            runtime: self.runtime.clone(),
            stop: self.context.draining().clone(),
            progress: Progress::default(),
            arena: Arena::default(),
        }
    }

    fn full_pass_job(&self) -> anyhow::Result<FullPassJob> {
        let group = self
            .settings
            .kafka
            .consumer("data-streams.offsets", &self.group())
            .create()
            .context("reader of the committed offsets")?;
        Ok(FullPassJob {
            control: Arc::clone(&self.control),
            store: Arc::clone(&self.store),
            preparer: Arc::clone(&self.preparer),
            group: Arc::new(group),
            topic: self.topics.records.clone(),
            warehouse: self.warehouse.subscribe(),
            epoch: Arc::clone(&self.epoch),
            stop: self.context.draining().clone(),
        })
    }

    /// Settings of a consumer that is no member of the group.
    pub(super) fn reader(&self, purpose: &str) -> ClientConfig {
        let group = format!("{}.{purpose}", self.group());
        let client_id = format!("data-streams.{purpose}");
        self.settings.kafka.consumer(&client_id, &group)
    }

    pub(super) fn router(&self, tables: TableSet) -> TargetRouter {
        let schemas = Arc::clone(&self.schemas);
        let decoders = Decoders::new(schemas, self.settings.record_schema_id);
        TargetRouter::new(
            decoders,
            Arc::clone(&self.control),
            tables,
            self.settings.wait_limits,
        )
    }

    pub(super) fn inserter(&self, preparer: Arc<TablePreparer>) -> Inserter {
        Inserter {
            store: Arc::clone(&self.store),
            preparer,
            health: self.context.health().clone(),
            stop: self.context.draining().clone(),
            expected: self.warehouse.subscribe(),
        }
    }

    fn dead_letter_sink(&self) -> anyhow::Result<KafkaDeadLetters> {
        let producer: FutureProducer = self
            .settings
            .kafka
            .producer("data-streams.dead-letters")
            .create()
            .context("producer of the dead letters")?;
        Ok(KafkaDeadLetters {
            producer,
            topic: self.topics.dead_letters.clone(),
        })
    }

    /// Waits for the store and asks it who it is, and whether a rebuild of it
    /// was cut off; `None` where the process is told to stop first.
    async fn find_warehouse(&self) -> Option<bool> {
        let mut backoff = Backoff::default();
        loop {
            let found = async {
                let id = self.store.warehouse_id().await?;
                Ok((id, self.store.rebuild_is_unfinished().await?))
            };
            match found.await {
                Ok((id, was_cut_off)) => {
                    self.context.health().holds(CLICKHOUSE);
                    self.warehouse.send_replace(id);
                    return Some(was_cut_off);
                }
                Err::<_, StoreError>(error) => {
                    self.context.health().fails(CLICKHOUSE, describe(&error));
                }
            }
            tokio::select! {
                () = self.context.draining().cancelled() => return None,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
