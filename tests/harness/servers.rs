//! The real servers: one Kafka and one registry for all scenarios, which keep
//! apart by topic prefix, and a ClickHouse for each.

mod port;
mod secure;
mod server;
mod three_brokers;
mod topics;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

use rdkafka::ClientConfig;

pub use port::free_port;
pub use secure::Secure;
pub use server::{Server, clickhouse, registry, start, wait_until, wait_until_ready};
use server::{kafka, metadata};

use crate::tls::Certificates;

/// Ports of one system's two proxies to Kafka, the worker's and that of
/// data-streams: the port where Kafka listens for the proxy, and the port of the
/// proxy, which Kafka advertises.
pub type ProxiedListeners = [(u16, u16); 2];

/// How many scenarios can reach the shared Kafka through proxies; each gets
/// listeners of its own.
const PROXIED_SCENARIOS: usize = 8;

/// The Kafka that all scenarios share, with the listeners that no system has
/// been given. Its start blocks.
static SHARED_KAFKA: LazyLock<(Server, Mutex<Vec<ProxiedListeners>>)> = LazyLock::new(|| {
    let listeners = new_listeners(PROXIED_SCENARIOS);
    let folder = SHARED_FOLDER.join("kafka");
    let mut server = kafka(&folder, &listeners, Some(&SHARED_SECURE), None);
    wait_until_ready(&mut server);
    (server, Mutex::new(listeners))
});

/// The listeners of the shared Kafka where clients have to prove who they are.
static SHARED_SECURE: LazyLock<Secure> =
    LazyLock::new(|| Secure::new(Certificates::new_in(&SHARED_FOLDER)));

/// The registry that all scenarios share. Its start blocks.
static SHARED_REGISTRY: LazyLock<Server> = LazyLock::new(|| {
    let mut server = registry(&SHARED_FOLDER.join("registry"));
    wait_until_ready(&mut server);
    server
});

/// Data and logs of the shared servers. They are removed by the next test
/// process, as nothing runs at the end of this one.
static SHARED_FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    static LOCK: Mutex<Option<File>> = Mutex::new(None);
    let parent = std::env::temp_dir().join("hubspot-streams-servers");
    std::fs::create_dir_all(&parent).expect("a folder for the servers");
    for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
        // Locked while the process that owns it lives.
        let lock = File::open(entry.path().join("lock"));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _other_process_did = std::fs::remove_dir_all(entry.path());
        }
    }
    let own = tempfile::tempdir_in(&parent).expect("a folder for the servers");
    // Locked before it gets its name, under which others try to lock it.
    let unnamed = own.path().join("lock.new");
    let lock = File::create(&unnamed).expect("a lock file");
    lock.try_lock().expect("no other process has this lock");
    std::fs::rename(&unnamed, own.path().join("lock")).expect("a lock file");
    *LOCK.lock().expect("no panic in between") = Some(lock);
    own.keep()
});

fn new_listeners(systems: usize) -> Vec<ProxiedListeners> {
    (0..systems)
        .map(|_| [(); 2].map(|()| (free_port(), free_port())))
        .collect()
}

/// The Kafka of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brokers {
    /// The one that all scenarios share.
    Shared,
    /// Its own.
    One,
    /// Its own, which refuses topics for messages above 1 MiB.
    Capped,
    /// Its own, of two brokers, which share the partitions.
    Two,
    /// Its own, of three brokers, which all have every partition.
    Three,
}

/// A Kafka and a registry. Each is either shared by all scenarios or, where the
/// scenario stops it, its own.
#[derive(Debug)]
pub struct KafkaAndRegistry {
    /// The scenario's own Kafka.
    pub kafka: Option<Server>,
    /// Port of Kafka on 127.0.0.1, own or shared.
    pub kafka_port: u16,
    /// The other brokers of the own Kafka.
    pub other_brokers: Vec<Server>,
    /// The scenario's own registry.
    pub registry: Option<Server>,
    /// Port of the registry on 127.0.0.1, own or shared.
    pub registry_port: u16,
    /// Listeners of the own Kafka that no system has been given.
    proxied: Mutex<Vec<ProxiedListeners>>,
    /// Data and logs of the own servers; removed at the end.
    own_folder: Option<tempfile::TempDir>,
}

impl KafkaAndRegistry {
    /// The shared servers, started by the first scenario that asks. Blocks.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<KafkaAndRegistry> =
            LazyLock::new(|| KafkaAndRegistry::own(Brokers::Shared, false));
        &SHARED
    }

    /// Starts a Kafka, a registry or both for the caller alone, and takes the shared one
    /// for the other; only what is used is started. Blocks.
    pub fn own(brokers: Brokers, own_registry: bool) -> Self {
        let own_folder = (brokers != Brokers::Shared || own_registry)
            .then(|| tempfile::tempdir().expect("a folder for the servers"));
        let mut own = Self::launch(own_folder, brokers, own_registry);
        if brokers == Brokers::Two {
            own.add_broker();
        }
        own
    }

    /// Starts a Kafka and a registry for the caller alone, on the data in the
    /// folders `kafka` and `registry` of a folder. Blocks.
    pub(crate) fn own_in(folder: tempfile::TempDir) -> Self {
        Self::launch(Some(folder), Brokers::One, true)
    }

    fn launch(own_folder: Option<tempfile::TempDir>, brokers: Brokers, own_registry: bool) -> Self {
        let folder = |kind: &str| {
            let own = own_folder.as_ref().expect("made for an own server");
            own.path().join(kind)
        };
        let proxied = new_listeners(usize::from(brokers != Brokers::Shared));
        // Both start at the same time.
        let mut registry = own_registry.then(|| registry(&folder("registry")));
        let mut others = Vec::new();
        let mut kafka = match brokers {
            Brokers::Shared => None,
            Brokers::Three => {
                others = three_brokers::three_brokers(&folder(""));
                Some(others.remove(0))
            }
            Brokers::Capped => {
                let policy = root().join("tests/harness/servers/MessageSizePolicy.java");
                Some(kafka(&folder("kafka"), &proxied, None, Some(&policy)))
            }
            Brokers::One | Brokers::Two => Some(kafka(&folder("kafka"), &proxied, None, None)),
        };
        let (kafka_port, registry_port) = std::thread::scope(|scope| {
            let registry_port = scope.spawn(|| match &mut registry {
                Some(registry) => {
                    wait_until_ready(registry);
                    registry.port
                }
                None => SHARED_REGISTRY.port,
            });
            let kafka_port = match &mut kafka {
                Some(kafka) => {
                    wait_until_ready(kafka);
                    kafka.port
                }
                None => SHARED_KAFKA.0.port,
            };
            (
                kafka_port,
                registry_port.join().expect("the registry starts"),
            )
        });
        Self {
            kafka,
            kafka_port,
            other_brokers: others,
            registry,
            registry_port,
            proxied: Mutex::new(proxied),
            own_folder,
        }
    }

    /// Listeners of Kafka for one system that reaches it through proxies.
    pub(crate) fn proxied(&self) -> ProxiedListeners {
        let proxied = match &self.kafka {
            Some(_) => &self.proxied,
            None => &SHARED_KAFKA.1,
        };
        let left = proxied.lock().expect("no panic in between").pop();
        left.expect("PROXIED_SCENARIOS is the number of scenarios with links")
    }

    /// The own Kafka, to be stopped.
    pub fn own_kafka(&mut self) -> &mut Server {
        self.kafka.as_mut().expect("a Kafka of its own")
    }

    /// The own registry, to be stopped.
    pub fn own_registry(&mut self) -> &mut Server {
        self.registry.as_mut().expect("a registry of its own")
    }

    /// Folder of Kafka's data and log.
    pub fn kafka_folder(&self) -> &Path {
        self.kafka
            .as_ref()
            .map_or(&SHARED_KAFKA.0.data, |it| &it.data)
    }

    /// Folder of the registry's data and log.
    pub fn registry_folder(&self) -> &Path {
        self.registry
            .as_ref()
            .map_or(&SHARED_REGISTRY.data, |it| &it.data)
    }

    /// Keeps data and logs of the own servers at the end; their folder.
    pub(crate) fn keep(&mut self) -> Option<PathBuf> {
        let folder = self.own_folder.as_mut()?;
        folder.disable_cleanup(true);
        Some(folder.path().to_owned())
    }

    /// Adds a broker to the own Kafka, and waits until new topics get
    /// partitions on it. Blocks.
    pub fn add_broker(&mut self) {
        let first = self.kafka_folder().to_owned();
        let data = first.with_file_name("kafka-2");
        let joins = ["--join".to_owned(), first.display().to_string()];
        let broker = start("kafka", &data, free_port(), &joins);
        self.other_brokers = vec![broker];
        let broker = &mut self.other_brokers[0];
        wait_until_ready(broker);
        let second = broker.port;
        // Each broker learns by itself that there are two.
        for port in [self.kafka_port, second] {
            let mut config = self.client();
            config.set("bootstrap.servers", format!("127.0.0.1:{port}"));
            wait_until("both brokers name two brokers", || {
                metadata(&config, None).is_some_and(|cluster| cluster.brokers().len() == 2)
            });
        }
    }

    /// `host:port` of Kafka's brokers, comma-separated.
    pub fn bootstrap(&self) -> String {
        let others = self.other_brokers.iter().map(|it| it.port);
        let ports = [self.kafka_port].into_iter().chain(others);
        let addresses: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        addresses.join(",")
    }

    /// Confluent-compatible address of the registry.
    pub fn registry_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.registry_port)
    }

    /// Registers a schema as the next version of a subject and returns its id.
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

    /// Settings of a Kafka client.
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
