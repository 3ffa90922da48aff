//! The worker from its start to its end: waits for Kafka and the registry, wires
//! the parts together, and runs the supervisor until the process is to end.

use std::{collections::HashSet, future::Future, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use chassis::{
    Context,
    kafka::{KafkaArgs, TopicSpec},
    registry::Registry,
    startup,
};
use schemas::{Topics, subject};

use crate::{
    commit::{self, CommitContext, TransactionalLog},
    config::Config,
    hubspot::{self, ConnectionWaits, Http, HubSpot, HubSpotConfig},
    index::StreamIndex,
    messages::{self, Messages, SchemaIds},
    ownership::{self, ClaimKeys, Decoder, KnownDefinitions, ObjectScan, PartitionLease, Restored},
    supervisor::{self, ControlLog, Dependencies, SharedReads, Sources, Supervisor},
    sync::SourceError,
};

/// The process, from its arguments to its exit code. All of it is compiled here,
/// once, and not again in the binary.
pub fn main() -> ExitCode {
    let config = match chassis::settings::parse(Config::problems) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let process = config.process.clone();
    chassis::run("worker", &process, move |context| run(config, context))
}

/// Runs the worker until its process is to end.
async fn run(config: Config, context: Context) -> anyhow::Result<()> {
    describe_metrics();
    let topics = Topics::with_prefix(&config.kafka.topic_prefix);
    let registry = Registry::new(&config.registry)?;
    let prepared = context.unless_draining(prepare(&config, &context, &topics, &registry));
    let Some(ids) = prepared.await.transpose()? else {
        return Ok(());
    };
    let decoder = Arc::new(Decoder::new(
        registry,
        topics.clone(),
        [
            (ids.commands, schemas::command::SCHEMA),
            (ids.checkpoints, schemas::checkpoint::SCHEMA),
            (ids.status, schemas::status::SCHEMA),
            (ids.definitions, schemas::definitions::SCHEMA),
            (ids.index, schemas::index::SCHEMA),
        ],
    ));
    let commits = CommitContext {
        messages: Messages::new(topics, ids, messages::OWN)?,
        limits: config.commit,
        clock: context.clock().clone(),
    };
    let worker = config.worker_name.clone().unwrap_or_else(own_name);
    let waits = Arc::<ConnectionWaits>::default();
    let measured = Arc::clone(&waits);
    context
        .health()
        .also_measures(move |out| measured.measure(out));
    let dependencies = Dependencies {
        sources: Portals::new(config.hubspot.client(), waits)?,
        log: Box::new(KafkaControlLog {
            kafka: config.kafka.clone(),
            client_id: worker.clone(),
            decoder: Arc::clone(&decoder),
        }),
        control_partitions: config.kafka.control_partitions,
        worker: worker.clone(),
        commits: Arc::new(commits),
        decoder,
        claims: SharedReads::default(),
        definitions: SharedReads::default(),
        objects: SharedReads::default(),
        settings: config.schedule.settings(),
        traces: Arc::default(),
        context: context.clone(),
    };
    tracing::info!(worker, version = env!("CARGO_PKG_VERSION"), "worker starts");
    let (membership, mut events) = ownership::join(&config.kafka, &worker)?;
    let mut supervisor = Supervisor::new(Arc::new(dependencies));
    let outcome = supervisor.run(&mut events).await;
    // All is released, so a revocation need not wait for an answer.
    drop(events);
    let left = tokio::task::spawn_blocking(move || membership.leave()).await;
    outcome?;
    left.context("leaving the group failed")
}

/// HubSpot accounts, by their credentials.
#[derive(Debug)]
struct Portals {
    config: HubSpotConfig,
    http: Http,
    waits: Arc<ConnectionWaits>,
}

impl Portals {
    fn new(config: HubSpotConfig, waits: Arc<ConnectionWaits>) -> anyhow::Result<Self> {
        let http = Http::new(&config)?;
        Ok(Self {
            config,
            http,
            waits,
        })
    }
}

impl Sources for Portals {
    type Source = HubSpot;

    fn connect(
        &self,
        connection: &str,
        credential: &str,
        lease: PartitionLease,
    ) -> impl Future<Output = Result<HubSpot, SourceError>> + Send {
        let source = HubSpot::connect(
            &self.config,
            &self.http,
            credential,
            Arc::new(move || lease.is_valid()),
        );
        if let Ok(source) = &source {
            self.waits.add(connection, source.waits());
        }
        std::future::ready(source)
    }
}

/// The log on Kafka.
#[derive(Debug)]
struct KafkaControlLog {
    kafka: KafkaArgs,
    client_id: String,
    decoder: Arc<Decoder>,
}

impl ControlLog for KafkaControlLog {
    fn fence(&self, partition: i32) -> anyhow::Result<Box<dyn TransactionalLog>> {
        let log = commit::fence(&self.kafka, &self.client_id, partition)?;
        Ok(Box::new(log))
    }

    fn restore(&self, partitions: &[i32]) -> anyhow::Result<Restored> {
        ownership::restore(&self.kafka, &self.client_id, &self.decoder, partitions)
    }

    fn claims(&self, asked: &[ClaimKeys]) -> anyhow::Result<Vec<Vec<String>>> {
        ownership::claims(&self.kafka, &self.client_id, asked)
    }

    fn definitions(&self, keys: &HashSet<String>) -> anyhow::Result<KnownDefinitions> {
        ownership::definitions(&self.kafka, &self.client_id, &self.decoder, keys)
    }

    fn objects(&self, asked: &[ObjectScan]) -> anyhow::Result<Vec<StreamIndex>> {
        ownership::objects(&self.kafka, &self.client_id, asked)
    }
}

/// Waits for Kafka and the registry, with our topics and schemas in them.
async fn prepare(
    config: &Config,
    context: &Context,
    topics: &Topics,
    registry: &Registry,
) -> anyhow::Result<SchemaIds> {
    let specs: Vec<_> = topics
        .all()
        .into_iter()
        .map(|topic| TopicSpec {
            name: topic.name,
            is_control: topic.is_control,
            required: topic.required,
            advised: topic.advised,
        })
        .collect();
    let contract = startup::Contract {
        topics: &specs,
        schemas: &topics
            .schemas()
            .map(|(topic, schema)| (subject(topic), schema)),
        patience: Duration::ZERO,
        // It writes records, but reads none.
        read: &[
            &topics.commands,
            &topics.checkpoints,
            &topics.status,
            &topics.definitions,
            &topics.index,
        ],
        rules: &Arc::new(ownership::message_rules(topics.clone())),
    };
    let [commands, checkpoints, status, definitions, records, index] =
        startup::prepare(context, &config.kafka, registry, contract).await?;
    Ok(SchemaIds {
        commands,
        checkpoints,
        status,
        definitions,
        records,
        index,
    })
}

fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "worker",
        host => host,
    };
    format!("{host}-{}", std::process::id())
}

fn describe_metrics() {
    hubspot::describe_metrics();
    commit::describe_metrics();
    supervisor::describe_metrics();
}
