//! The process's life: bind the API's port, wait for Kafka and the registry,
//! then run the control readers, the loader and the API until the process
//! ends. The parts meet here.

use std::{collections::HashMap, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use chassis::{
    Context, kafka::TopicSpec, registry::Registry, secret::Secret, startup, tls::TlsConnector,
};
use schemas::{Topics, subject};
use tokio::net::TcpListener;

use crate::{
    api::{self, Api, ApiSettings, Tokens, front::Front},
    backend::Storage,
    config::Config,
    control::{
        ControlPlane, View,
        follow::{self, Followed, Kind},
        log::KafkaLog,
    },
    ingest::{self, Ingest},
    message_rules::message_rules,
    reconciliation::{self, Comparisons},
    warehouse::{SqlReader, Warehouse, WarehouseSettings},
};

/// How long a worker that starts at the same time may take to register the
/// schemas, before this process registers them.
const REGISTRATION: Duration = Duration::from_secs(2);

/// Time between two checks for tables whose parts should be merged.
const MERGE_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two attempts to give `changes` its present layout.
const FORMER_CHANGES_RETRY: Duration = Duration::from_secs(5);

/// What the settings name or hold, checked.
struct Secrets {
    tokens: Tokens,
    clickhouse: Option<Secret>,
    clickhouse_reader: Option<Secret>,
    clickhouse_tls: TlsConnector,
}

/// The process, from its arguments to its exit code. All of it is compiled here,
/// once, and not again in the binary.
pub fn main() -> ExitCode {
    let config = match chassis::settings::parse(Config::problems) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let process = config.process.clone();
    chassis::run("data-streams", &process, move |context| {
        run(config, context)
    })
}

/// Runs the process until it is asked to end. The API's port answers from the
/// start; everything else waits for Kafka and the registry.
async fn run(config: Config, context: Context) -> anyhow::Result<()> {
    api::describe_metrics();
    ingest::describe_metrics();
    let [all, read] = config.api_tokens()?;
    let secrets = Secrets {
        tokens: Tokens { all, read },
        clickhouse: config.clickhouse_secret()?,
        clickhouse_reader: config.clickhouse_reader_secret()?,
        clickhouse_tls: config.clickhouse_tls()?,
    };
    tracing::info!(?config, "starting");
    let address = config.api_address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (--api-address)"))?;
    let registry = Registry::new(&config.registry)?;
    let names = Topics::with_prefix(&config.kafka.topic_prefix);
    // Health says from the start what the process waits for.
    let front = Front::new(context.clone());
    let draining = context.draining().clone();
    let limits = chassis::http::Limits::default();
    let serving = chassis::http::serve(listener, front.clone().router(), limits, draining);
    let starting = async {
        let started = context.unless_draining(start(&config, &context, registry, &names, secrets));
        if let Some(router) = started.await.transpose()? {
            front.open(router);
            context.health().holds(chassis::health::START);
        }
        anyhow::Ok(())
    };
    let serving = async {
        serving.await;
        anyhow::Ok(())
    };
    futures::future::try_join(starting, serving).await?;
    Ok(())
}

/// Prepares topics and schemas, then starts every part; returns the API.
async fn start(
    config: &Config,
    context: &Context,
    registry: Registry,
    names: &Topics,
    secrets: Secrets,
) -> anyhow::Result<axum::Router> {
    let ids = prepare(config, context, &registry, names).await?;
    let id = |topic: &str| ids.get(topic).map_or(0, |(id, _)| *id);

    let view = View::default();
    for (topic, kind) in [
        (&names.commands, Kind::Commands),
        (&names.status, Kind::Status),
    ] {
        let followed = Followed {
            topic: topic.clone(),
            kind,
            partitions: config.kafka.control_partitions,
            schemas: ids.values().copied().collect(),
        };
        let kafka = config.kafka.clone();
        let following = follow::run(
            context.clone(),
            kafka,
            registry.clone(),
            followed,
            view.clone(),
        );
        // Set here, not in the task: the process would be ready until it runs.
        context.health().fails(kind.condition(), "being read");
        context.spawn(kind.condition(), following);
    }
    let log = KafkaLog::new(&config.kafka, &names.commands, id(&names.commands))?;
    let control = ControlPlane::new(view, Arc::new(log), context.clock().clone());

    let (warehouse, sql) = clickhouse(config, &secrets);
    let ingest = Ingest::new(
        ingest_settings(config, id(&names.records)),
        Arc::<Warehouse>::clone(&warehouse),
        Arc::new(control.clone()),
        Arc::new(registry),
        context.clone(),
    );
    context
        .health()
        .fails(ingest::conditions::CLICKHOUSE, "not checked yet");
    context.spawn("ingest", ingest.clone().run());
    context.spawn(
        "merges",
        merge_idle_tables(context.clone(), Arc::clone(&warehouse)),
    );

    context.spawn(
        "former changes",
        replace_former_changes(context.clone(), Arc::clone(&warehouse)),
    );
    let comparisons = start_comparing(
        context,
        reconciliation::Parts {
            clock: context.clock().clone(),
            control: control.clone(),
            ingest: ingest.clone(),
            warehouse: Arc::clone(&warehouse),
        },
    );
    let settings = ApiSettings {
        tokens: secrets.tokens,
        max_requests: config.api_max_requests,
        max_streams: config.api_max_streams,
        stop_wait: config.stop_wait,
    };
    let storage = Storage {
        warehouse,
        ingest,
        comparisons,
        sql,
    };
    Ok(Api::new(context.clone(), control, Arc::new(storage), settings).router())
}

/// The warehouse, and what answers questions in SQL, where there is a user for them.
fn clickhouse(config: &Config, secrets: &Secrets) -> (Arc<Warehouse>, Option<SqlReader>) {
    let settings = |user: &str, password: Option<&Secret>| WarehouseSettings {
        url: config.clickhouse_url.clone(),
        tls: secrets.clickhouse_tls.clone(),
        user: user.to_owned(),
        password: password.cloned(),
        compress: config.compresses(),
    };
    let writer = settings(&config.clickhouse_user, secrets.clickhouse.as_ref());
    let password = secrets.clickhouse_reader.as_ref();
    let reader = password.map(|it| settings(&config.clickhouse_reader_user, Some(it)));
    (
        Arc::new(Warehouse::new(&writer)),
        reader.map(|it| SqlReader::new(&it)),
    )
}

fn ingest_settings(config: &Config, record_schema_id: u32) -> ingest::IngestSettings {
    ingest::IngestSettings {
        kafka: config.kafka.clone(),
        limits: ingest::BatchLimits {
            rows: config.batch_rows,
            bytes: config.batch_bytes,
            age: config.batch_age,
            ..ingest::BatchLimits::default()
        },
        wait_limits: ingest::WaitLimits::default(),
        record_schema_id,
    }
}

/// Starts to compare verdicts with the warehouse; the outcomes, as they come.
fn start_comparing(context: &Context, parts: reconciliation::Parts) -> Comparisons {
    let comparisons = Comparisons::default();
    let comparing = reconciliation::run(context.clone(), parts, comparisons.clone());
    context.spawn("reconciliation", comparing);
    comparisons
}

/// Merges the parts of idle tables every [`MERGE_INTERVAL`]. Only the speed of
/// queries depends on it, so a failure is not retried before the next check.
async fn merge_idle_tables(context: Context, warehouse: Arc<Warehouse>) -> anyhow::Result<()> {
    let merge = async || {
        tokio::time::sleep(MERGE_INTERVAL).await;
        if let Err(error) = warehouse.merge_idle_tables().await {
            tracing::debug!(%error, "idle tables were not merged");
        }
    };
    while context.unless_draining(merge()).await.is_some() {}
    Ok(())
}

/// Gives `changes` the layout of this version, and tries again every
/// [`FORMER_CHANGES_RETRY`] while that fails. Loads and reads go on meanwhile.
async fn replace_former_changes(context: Context, warehouse: Arc<Warehouse>) -> anyhow::Result<()> {
    let replaced = async {
        while let Err(error) = warehouse.replace_former_changes().await {
            tracing::debug!(%error, "`changes` does not have its present layout yet");
            tokio::time::sleep(FORMER_CHANGES_RETRY).await;
        }
    };
    context.unless_draining(replaced).await;
    Ok(())
}

/// Waits for Kafka and the registry and makes sure that our topics and schemas
/// are in them; returns id and schema by topic.
async fn prepare(
    config: &Config,
    context: &Context,
    registry: &Registry,
    names: &Topics,
) -> anyhow::Result<HashMap<String, (u32, &'static str)>> {
    let specs: Vec<_> = names
        .all()
        .into_iter()
        .map(|topic| TopicSpec {
            name: topic.name,
            is_control: topic.is_control,
            required: topic.required,
            advised: topic.advised,
        })
        .collect();
    let schemas = names.schemas();
    let contract = startup::Contract {
        topics: &specs,
        schemas: &schemas.map(|(topic, schema)| (subject(topic), schema)),
        patience: REGISTRATION,
        // Only the worker reads checkpoints; dead letters have no schema of
        // their own.
        read: &[
            &names.commands,
            &names.status,
            &names.definitions,
            &names.records,
        ],
        rules: &message_rules(names.clone()),
    };
    let ids = startup::prepare(context, &config.kafka, registry, contract).await?;
    let with_ids = schemas.into_iter().zip(ids);
    Ok(with_ids
        .map(|((topic, schema), id)| (topic.to_owned(), (id, schema)))
        .collect())
}
