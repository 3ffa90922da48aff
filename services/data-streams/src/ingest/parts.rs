//! What the loader and the jobs share: settings, the ports, and constructors of
//! their parts.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use chassis::{Context, kafka::KafkaArgs, registry::SchemaSource};
use rdkafka::ClientConfig;
use schemas::Topics;
use tokio::{runtime::Handle, sync::watch};

use super::{
    Commits, ControlState, Store, TableSet,
    decode::{
        decoders::Decoders,
        definitions::KnownDefinitions,
        router::{TargetRouter, WaitLimits},
    },
    poll::batch::BatchLimits,
    store::{inserter::Inserter, preparer::TablePreparer, waiting::WaitingReasons},
};

/// Settings of the ingest.
#[derive(Debug, Clone)]
pub struct IngestSettings {
    /// How to reach Kafka.
    pub kafka: KafkaArgs,
    /// When a batch is due.
    pub limits: BatchLimits,
    /// How long a batch waits for definitions and destinations.
    pub wait_limits: WaitLimits,
    /// Id under which the schema of records was registered at start.
    pub record_schema_id: u32,
}

/// Shared by the loader and the jobs.
pub(crate) struct Parts {
    pub(crate) settings: IngestSettings,
    pub(crate) topics: Topics,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) control: Arc<dyn ControlState>,
    pub(crate) schemas: Arc<dyn SchemaSource>,
    pub(crate) context: Context,
    pub(crate) runtime: Handle,
    pub(crate) known: watch::Sender<KnownDefinitions>,
    /// Id of the warehouse that offsets are committed for.
    pub(crate) warehouse: watch::Sender<String>,
    pub(crate) commits: OnceLock<Arc<dyn Commits>>,
    /// Whether this member of the group has the first partition.
    pub(crate) leads: Arc<AtomicBool>,
    /// Prepares the live tables for the loader.
    pub(crate) preparer: Arc<TablePreparer>,
    /// Why targets wait.
    pub(crate) waiting: WaitingReasons,
}

impl Parts {
    /// Has to be called on a runtime.
    pub(crate) fn new(
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
        Self {
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
            leads: Arc::default(),
            preparer,
            waiting: WaitingReasons::default(),
        }
    }

    /// Name of the loader's consumer group.
    pub(crate) fn group(&self) -> String {
        format!("{}warehouse", self.settings.kafka.topic_prefix)
    }

    /// Settings of a consumer outside the group, which reads a topic to its end.
    pub(crate) fn reader(&self, purpose: &str) -> ClientConfig {
        let (client_id, group) = self.names(purpose);
        self.settings.kafka.consumer(&client_id, &group)
    }

    /// The same for one that follows a topic.
    pub(crate) fn follower(&self, purpose: &str) -> ClientConfig {
        let (client_id, group) = self.names(purpose);
        self.settings.kafka.follower(&client_id, &group)
    }

    /// Names of a consumer outside the group: its client id and its own group.
    fn names(&self, purpose: &str) -> (String, String) {
        (
            format!("data-streams.{purpose}"),
            format!("{}.{purpose}", self.group()),
        )
    }

    pub(crate) fn router(&self, tables: TableSet) -> TargetRouter {
        let schemas = Arc::clone(&self.schemas);
        let decoders = Decoders::new(schemas, self.settings.record_schema_id);
        TargetRouter::new(
            decoders,
            Arc::clone(&self.control),
            tables,
            self.settings.wait_limits,
        )
    }

    pub(crate) fn inserter(&self, preparer: Arc<TablePreparer>) -> Inserter {
        Inserter {
            store: Arc::clone(&self.store),
            preparer,
            health: self.context.health().clone(),
            stop: self.context.draining().clone(),
            expected: self.warehouse.subscribe(),
        }
    }

    /// An inserter with its own record of prepared tables, apart from the loader's.
    pub(crate) fn own_inserter(&self) -> Inserter {
        self.inserter(Arc::new(TablePreparer::new(
            Arc::clone(&self.store),
            self.known.subscribe(),
            self.settings.wait_limits,
        )))
    }
}
