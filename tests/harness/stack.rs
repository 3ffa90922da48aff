//! The system of one scenario: a simulated HubSpot, a ClickHouse, and our
//! services, which use the shared Kafka and registry with a topic prefix of
//! their own.

mod builder;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hubspot_sim::Simulator;
use serde_json::{Value, json};

pub use self::builder::StackBuilder;
use crate::{
    Api, ClickHouse, HANG_LIMIT, Links, Process, RecordLog, eventually, secrets,
    servers::{KafkaAndRegistry, Server, free_port},
};

/// The token of the simulated portal.
pub const TOKEN: &str = "pat-na1-scenario-secret-token";

/// Password of ClickHouse's user `writer` in scenarios.
pub const WRITER_PASSWORD: &str = "scenario-writer";

/// Password of ClickHouse's user `reader` in scenarios. The file
/// `clickhouse-reader-password` has it, as a data folder of `make up` does.
const READER_PASSWORD: &str = "scenario-reader";

/// An instance of data-streams.
#[derive(Debug)]
pub struct Instance {
    /// Its process.
    pub process: Process,
    /// Port of its API.
    pub port: u16,
}

/// A running system.
#[derive(Debug)]
pub struct Stack {
    /// The simulated HubSpot.
    pub simulator: Arc<Simulator>,
    /// The workers; one at the start.
    pub workers: Vec<Process>,
    /// Ports of their admin interfaces.
    pub worker_ports: Vec<u16>,
    /// The instances of data-streams; one at the start.
    pub instances: Vec<Instance>,
    /// Its ClickHouse.
    pub clickhouse: Server,
    /// Prefix of its topics.
    pub prefix: String,
    /// Kafka and registry, where one or both are its own.
    pub own: Option<KafkaAndRegistry>,
    links: Option<Links>,
    folder: tempfile::TempDir,
    /// Texts that no log may contain.
    secrets: Vec<String>,
    worker_variables: Vec<(String, String)>,
    data_streams_variables: Vec<(String, String)>,
}

impl Stack {
    /// A system over a portal of `contacts` and `companies` without limits.
    pub fn with(contacts: u32, companies: u32) -> StackBuilder {
        StackBuilder::new(contacts, companies)
    }

    /// Kafka and registry.
    pub fn servers(&self) -> &KafkaAndRegistry {
        self.own
            .as_ref()
            .unwrap_or_else(|| KafkaAndRegistry::shared())
    }

    /// The proxies between the parts. Panics if the scenario has none.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("a scenario with links")
    }

    /// Its own Kafka, registry or both, to be stopped.
    pub fn own_servers(&mut self) -> &mut KafkaAndRegistry {
        self.own.as_mut().expect("a scenario with its own servers")
    }

    /// Folder of logs, credentials and ClickHouse's data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A text that no log may contain.
    pub fn keep_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// Starts one more worker.
    pub fn add_worker(&mut self) {
        self.add_worker_with(&[]);
    }

    /// Starts one more worker, with additional variables.
    pub fn add_worker_with(&mut self, more: &[(&str, &str)]) {
        self.worker_ports.push(free_port());
        let worker = self.start_worker(self.workers.len(), more);
        self.workers.push(worker);
    }

    /// The worker that was started first.
    pub fn first_worker(&mut self) -> &mut Process {
        &mut self.workers[0]
    }

    /// Restarts a worker with additional variables; kills it first if it runs.
    pub fn restart_worker(&mut self, index: usize, more: &[(&str, &str)]) {
        self.workers[index].kill();
        let worker = self.start_worker(index, more);
        self.workers[index] = worker;
    }

    fn start_worker(&self, index: usize, more: &[(&str, &str)]) -> Process {
        let mut variables = self.worker_variables.clone();
        for (name, value) in more {
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        variables.push((
            "ADMIN_ADDRESS".to_owned(),
            format!("127.0.0.1:{}", self.worker_ports[index]),
        ));
        let log = format!("worker-{}.log", index + 1);
        Process::start(
            "worker",
            &binary("worker"),
            &[],
            &variables,
            &self.folder.path().join(log),
        )
    }

    /// Starts one more instance of data-streams.
    pub fn add_data_streams(&mut self) {
        self.add_data_streams_with(&[]);
    }

    /// Starts one more instance of data-streams, with additional variables.
    pub fn add_data_streams_with(&mut self, more: &[(&str, &str)]) {
        let instance = self.start_data_streams(self.instances.len(), free_port(), more);
        self.instances.push(instance);
    }

    /// Restarts an instance of data-streams on its port; kills it first if it
    /// runs.
    pub fn restart_data_streams(&mut self, index: usize) {
        self.instances[index].process.kill();
        self.instances[index] = self.start_data_streams(index, self.instances[index].port, &[]);
    }

    fn start_data_streams(&self, index: usize, port: u16, more: &[(&str, &str)]) -> Instance {
        let mut variables = self.data_streams_variables.clone();
        for (name, value) in more {
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        variables.push(("API_ADDRESS".to_owned(), format!("127.0.0.1:{port}")));
        let log = format!("data-streams-{}.log", index + 1);
        let process = Process::start(
            "data-streams",
            &binary("data-streams"),
            &[],
            &variables,
            &self.folder.path().join(log),
        );
        Instance { process, port }
    }

    /// Folder of `file:` credentials.
    pub fn credentials(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    /// Keeps data and logs at the end; the folders.
    pub fn keep(&mut self) -> Vec<PathBuf> {
        self.folder.disable_cleanup(true);
        let mut kept = vec![self.folder.path().to_owned()];
        kept.extend(self.own.as_mut().and_then(KafkaAndRegistry::keep));
        kept
    }

    /// A client of the last instance started.
    pub fn api(&self) -> Api {
        Api::new(self.instances.last().expect("an instance").port)
    }

    /// A client of ClickHouse as `writer`, the user of data-streams.
    pub fn sql(&self) -> ClickHouse {
        ClickHouse::new(self.clickhouse.port, "writer", WRITER_PASSWORD)
    }

    /// A client of ClickHouse as `reader`, the user for people.
    pub fn sql_as_reader(&self) -> ClickHouse {
        ClickHouse::new(self.clickhouse.port, "reader", READER_PASSWORD)
    }

    /// Full name of a topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The records topic as any consumer reads it.
    pub async fn log(&self) -> RecordLog {
        RecordLog::read(self.servers(), &self.topic("records")).await
    }

    /// Starts the default connection and waits until a run of each stream has
    /// succeeded.
    pub async fn first_sync(&self, settings: Value) -> Value {
        let api = self.api();
        api.start("default", settings).await;
        api.until(
            "the first runs have succeeded",
            "default",
            HANG_LIMIT,
            |connection| {
                connection["streams"].as_array().is_some_and(|streams| {
                    !streams.is_empty() && streams.iter().all(|it| !it["last_success"].is_null())
                })
            },
        )
        .await
    }

    /// Requests a run of each stream of the default connection and waits until
    /// they are done.
    pub async fn sync(&self) {
        self.request(json!({})).await;
    }

    /// Requests runs of the default connection with a body, and waits until they
    /// are done.
    pub async fn request(&self, body: Value) {
        self.request_of("default", body, HANG_LIMIT).await;
    }

    /// The time now, once the simulator has logged the requests that were sent
    /// before: on a busy machine it may log one some ms after it was sent.
    pub async fn after_requests_sent(&self) -> Instant {
        let url = format!("{}/__sim/now", self.simulator.base_url());
        let answer = crate::api::client().get(url).send().await;
        answer.expect("the simulator answers");
        Instant::now()
    }

    /// Waits until search shows every change made so far.
    pub async fn search_shows_changes(&self) {
        let portal = self.simulator.portal();
        let changed_by = portal.now_ms();
        eventually("search shows what has changed", HANG_LIMIT, async || {
            portal.search_shows(changed_by).then_some(())
        })
        .await;
    }

    /// Requests runs of a connection with a body, and waits until they are done.
    /// Search shows a change with a lag, so the request is sent once it shows
    /// every change made before.
    pub async fn request_of(&self, name: &str, body: Value, limit: Duration) {
        self.search_shows_changes().await;
        let api = self.api();
        let path = format!("/v1/connections/{name}/sync");
        let answer = api.send("POST", &path, Some(body)).await;
        assert!(
            matches!(answer.status, 200..=202),
            "{} {}",
            answer.status,
            answer.body
        );
        let requests: BTreeMap<String, String> = answer.body["requests"]
            .as_array()
            .unwrap_or_else(|| panic!("requests in {}", answer.body))
            .iter()
            .map(|it| {
                let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
                (text("stream"), text("request_id"))
            })
            .collect();
        api.until("the requested runs are done", name, limit, |connection| {
            requests.iter().all(|(stream, id)| {
                crate::api::stream(connection, stream)["request_done"] == json!(id)
            })
        })
        .await;
    }

    /// Waits until ClickHouse holds what the simulator holds, object by object.
    pub async fn matches_truth(&self, object_type: &str) {
        crate::truth::warehouse_matches(self, object_type).await;
    }
}

/// At the end of a scenario no log may contain one of its secrets. A scenario
/// that failed keeps its data and logs.
impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = self.keep();
            #[expect(clippy::print_stderr, reason = "cargo shows it with the failed test")]
            {
                eprintln!("--- data and logs are kept in {kept:?}");
            }
        } else {
            secrets::assert_absent(self.folder.path(), &self.secrets);
        }
    }
}

/// Starts a service without a system around it.
pub fn service(name: &str, variables: &[(String, String)], log: &Path) -> Process {
    Process::start(name, &binary(name), &[], variables, log)
}

/// A binary of the workspace, built beside the tests.
fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the path of the test binary");
    // The test binary is in target/<profile> or in its folder deps.
    let path = tests
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| tests.with_file_name(name));
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo build --workspace`",
        path.display()
    );
    path
}
