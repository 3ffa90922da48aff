//! The real servers: Kafka and the registry once for all scenarios, which keep
//! apart by topic prefix; a ClickHouse for each.
//!
//! It must not know our services.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    metadata::{MetadataPartition, MetadataTopic},
    producer::{FutureProducer, FutureRecord},
};

use crate::Process;

/// How long a server may take until it answers, on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(3);

/// A server and where it listens.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
    kind: String,
    data: PathBuf,
    more: Vec<String>,
}

impl Server {
    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it where it runs and starts it again: same port, same data. Does not
    /// wait until it answers.
    pub fn restart(&mut self) {
        self.process.kill();
        *self = start(&self.kind, &self.data, self.port, &self.more);
    }
}

/// Ports of one system's two proxies to Kafka, the worker's and that of
/// data-streams: where Kafka listens, and where the proxy has to be that it names
/// to its clients.
pub type Proxied = [(u16, u16); 2];

/// How many scenarios at most reach the Kafka of all by proxies; each is given
/// listeners of its own.
const PROXIED_SCENARIOS: usize = 8;

/// A Kafka and a registry: those that all scenarios share, or a scenario's own,
/// for those that stop them.
#[derive(Debug)]
pub struct KafkaAndRegistry {
    /// Kafka; none where it is that of all scenarios.
    pub kafka: Option<Server>,
    /// Port of Kafka on 127.0.0.1, whosever it is.
    pub kafka_port: u16,
    /// Another broker of the same Kafka, where there is one.
    pub second_broker: Option<Server>,
    /// The schema registry; none where it is that of all scenarios.
    pub registry: Option<Server>,
    /// Port of the registry on 127.0.0.1, whosever it is.
    pub registry_port: u16,
    /// Further listeners of its Kafka that no system has been given.
    proxied: Mutex<Vec<Proxied>>,
    /// Where their data and logs lie; removed at the end.
    pub folder: tempfile::TempDir,
}

impl KafkaAndRegistry {
    /// The servers, started by the first scenario that asks.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<KafkaAndRegistry> =
            LazyLock::new(|| KafkaAndRegistry::start(true, true, PROXIED_SCENARIOS));
        &SHARED
    }

    /// Starts a Kafka, a registry or both of one's own; what is not is that of
    /// all scenarios. Blocks.
    pub fn own(kafka: bool, registry: bool) -> Self {
        Self::start(kafka, registry, 1)
    }

    fn start(own_kafka: bool, own_registry: bool, systems: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the servers");
        let proxied: Vec<Proxied> = (0..systems)
            .map(|_| [(); 2].map(|()| (free_port(), free_port())))
            .collect();
        // Both at once, then for both it is waited.
        let mut registry = own_registry.then(|| registry(&folder.path().join("registry")));
        let mut kafka = own_kafka.then(|| kafka(&folder.path().join("kafka"), &proxied));
        kafka.iter_mut().chain(&mut registry).for_each(wait_for);
        let port = |server: &Option<Server>, of_all: fn(&Self) -> u16| {
            let own = server.as_ref().map(|server| server.port);
            own.unwrap_or_else(|| of_all(Self::shared()))
        };
        Self {
            kafka_port: port(&kafka, |all| all.kafka_port),
            registry_port: port(&registry, |all| all.registry_port),
            kafka,
            second_broker: None,
            registry,
            proxied: Mutex::new(proxied),
            folder,
        }
    }

    /// Listeners of Kafka for one system that reaches it by proxies.
    pub(crate) fn proxied(&self) -> Proxied {
        if self.kafka.is_none() {
            return Self::shared().proxied();
        }
        let left = self.proxied.lock().expect("no panic in between").pop();
        left.expect("PROXIED_SCENARIOS is the number of scenarios with links")
    }

    /// The Kafka of its own, to be stopped.
    pub fn own_kafka(&mut self) -> &mut Server {
        self.kafka.as_mut().expect("a Kafka of its own")
    }

    /// The registry of its own, to be stopped.
    pub fn own_registry(&mut self) -> &mut Server {
        self.registry.as_mut().expect("a registry of its own")
    }

    /// Adds a broker, and waits until Kafka gives it partitions of new topics.
    /// Blocks.
    pub fn add_broker(&mut self) {
        let first = self.folder.path().join("kafka");
        let data = self.folder.path().join("kafka-2");
        let joins = ["--join".to_owned(), first.display().to_string()];
        let broker = start("kafka", &data, free_port(), &joins);
        let broker = self.second_broker.insert(broker);
        wait_for(broker);
        wait_until("Kafka has two brokers", || self.brokers() == 2);
    }

    /// How many brokers Kafka names to a client.
    fn brokers(&self) -> usize {
        let client: BaseConsumer = self.client().create().expect("a client");
        let answer = client.fetch_metadata(None, Duration::from_secs(10));
        answer.map_or(0, |cluster| cluster.brokers().len())
    }

    /// Partitions of a topic that have no leader now. Blocks.
    pub fn leaderless(&self, topic: &str) -> Vec<i32> {
        let client: BaseConsumer = self.client().create().expect("a client");
        let cluster = client
            .fetch_metadata(Some(topic), Duration::from_secs(10))
            .expect("Kafka answers");
        let partitions = cluster.topics().iter().flat_map(MetadataTopic::partitions);
        partitions
            .filter(|partition| partition.leader() < 0)
            .map(MetadataPartition::id)
            .collect()
    }

    /// `host:port` of Kafka.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    /// Confluent-compatible address of the registry.
    pub fn registry_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.registry_port)
    }

    /// Registers a schema as the next version of a subject; its id.
    pub async fn register(&self, subject: &str, schema: &str) -> u32 {
        let url = format!("{}/subjects/{subject}/versions", self.registry_url());
        let answer = crate::api::client()
            .post(url)
            .json(&serde_json::json!({ "schema": schema }))
            .send()
            .await
            .expect("the registry answers");
        let text = answer.text().await.expect("an answer");
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let id = answer["id"].as_u64().unwrap_or_else(|| panic!("{answer}"));
        u32::try_from(id).expect("an id")
    }

    /// Writes messages to the first partition of a topic, one after the other,
    /// and returns once all are acknowledged. Key and value of each.
    pub async fn produce(&self, topic: &str, messages: Vec<(String, Option<Vec<u8>>)>) {
        let producer: FutureProducer = self
            .client()
            .set("message.max.bytes", (40 * 1024 * 1024).to_string())
            .set("linger.ms", "20")
            .create()
            .expect("a producer");
        let sent = messages.iter().map(|(key, value)| {
            let mut record: FutureRecord<'_, String, Vec<u8>> =
                FutureRecord::to(topic).partition(0).key(key);
            record.payload = value.as_ref();
            producer.send(record, Duration::from_secs(30))
        });
        for outcome in futures::future::join_all(sent).await {
            outcome.expect("a message is acknowledged");
        }
    }

    /// Deletes topics.
    pub async fn delete(&self, topics: &[&str]) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let outcomes = admin.delete_topics(topics, &AdminOptions::new()).await;
        for outcome in outcomes.expect("Kafka answers") {
            outcome.expect("a topic is deleted");
        }
    }

    /// Settings of a client of Kafka.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests' parent")
        .to_owned()
}

/// A port that is free, and that no other test process on this machine is
/// given while this one lives: a server takes seconds until it listens.
///
/// Below the range from which the kernel takes ports for outgoing connections:
/// a client that asks for one of those before its server listens can end up
/// connected to itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let locks = std::env::temp_dir().join("hubspot-streams-ports");
    std::fs::create_dir_all(&locks).expect("a folder for locks");
    let first = u16::try_from(std::process::id() % 600).expect("below 600") * 20;
    for _ in 0..12_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let Ok(lock) = File::create(locks.join(port.to_string())) else {
            continue;
        };
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            KEPT.lock().expect("no panic in between").push(lock);
            return port;
        }
    }
    panic!("no free port from 20000 to 32000")
}

/// Starts a Kafka of its own, with further listeners: a port on which each
/// listens, and the port of the proxy that it names to its clients.
pub fn kafka(data: &Path, proxied: &[Proxied]) -> Server {
    let pairs: Vec<_> = proxied
        .iter()
        .flatten()
        .map(|(listens, advertised)| format!("{listens}:{advertised}"))
        .collect();
    start(
        "kafka",
        data,
        free_port(),
        &[
            "--controller-port".to_owned(),
            free_port().to_string(),
            "--proxied".to_owned(),
            pairs.join(" "),
        ],
    )
}

/// Starts a schema registry of its own.
pub fn registry(data: &Path) -> Server {
    start("registry", data, free_port(), &[])
}

/// Starts a ClickHouse of its own, whose user `writer` has that password; on a
/// disk of so many bytes where one is asked for.
pub fn clickhouse(data: &Path, writer_password: &str, disk: Option<u64>) -> Server {
    let mut options = vec![
        "--tcp-port".to_owned(),
        free_port().to_string(),
        "--writer-password".to_owned(),
        writer_password.to_owned(),
    ];
    if let Some(bytes) = disk {
        options.extend(["--disk-size".to_owned(), bytes.to_string()]);
    }
    start("clickhouse", data, free_port(), &options)
}

/// Starts a server on a port and data folder that it had before, or anew.
pub fn start(kind: &str, data: &Path, port: u16, more: &[String]) -> Server {
    std::fs::create_dir_all(data).expect("a data folder");
    let mut arguments = vec![
        format!("run-{kind}"),
        "--data".to_owned(),
        data.display().to_string(),
        "--port".to_owned(),
        port.to_string(),
    ];
    arguments.extend_from_slice(more);
    let process = Process::start(
        kind,
        &root().join("infra/native/stack"),
        &arguments,
        &[],
        &data.join("server.log"),
    );
    Server {
        process,
        port,
        kind: kind.to_owned(),
        data: data.to_owned(),
        more: more.to_vec(),
    }
}

/// Asks again, every 50 ms, until something holds that takes as long as a
/// server's start at most. Blocks.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < START_LIMIT,
            "not within {START_LIMIT:?}: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Waits until a server takes connections.
pub fn wait_for(server: &mut Server) {
    let began = Instant::now();
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        assert!(
            server.process.is_running() && began.elapsed() < START_LIMIT,
            "no server on port {}:\n{}",
            server.port,
            server.process.output(),
        );
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
