//! Configures the system of a scenario and starts it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use hubspot_sim::{Config, PortalConfig, Simulator};

use super::{READER_PASSWORD, Stack, TOKEN, WRITER_PASSWORD};
use crate::{
    DataSet, Links, data_set, secrets,
    servers::{self, Brokers, KafkaAndRegistry, Server},
};

/// Whose data the servers have.
#[derive(Debug)]
enum Data {
    /// Those of one scenario, with a topic prefix of its own.
    OfOneScenario,
    /// Those of one system, which another is to continue.
    Packable,
    /// Those of another system.
    Continued(DataSet),
}

/// The configuration of a system.
#[derive(Debug)]
pub struct StackBuilder {
    simulator: Config,
    worker: Vec<(String, String)>,
    data_streams: Vec<(String, String)>,
    credentials: Vec<(String, String)>,
    brokers: Brokers,
    /// Whether it has a registry of its own.
    own_registry: bool,
    links: bool,
    services: bool,
    data: Data,
    /// Size of ClickHouse's disk in bytes; `None` for the disk of the machine.
    disk: Option<u64>,
}

impl StackBuilder {
    /// A system over one portal without rate limits.
    pub(super) fn new(contacts: u32, companies: u32) -> Self {
        let mut simulator = Config::with_sizes(contacts, companies);
        for portal in &mut simulator.portals {
            portal.tokens = vec![TOKEN.to_owned()];
            portal.limits = hubspot_sim::Limits::off();
            portal.quirks.index_lag_ms = 100;
        }
        Self {
            simulator,
            worker: Vec::new(),
            data_streams: Vec::new(),
            credentials: Vec::new(),
            brokers: Brokers::Shared,
            own_registry: false,
            links: false,
            services: true,
            data: Data::OfOneScenario,
            disk: None,
        }
    }

    /// Starts a Kafka of its own, which the scenario may stop.
    #[must_use]
    pub fn own_kafka(mut self) -> Self {
        if self.brokers == Brokers::Shared {
            self.brokers = Brokers::One;
        }
        self
    }

    /// Starts a registry of its own, which the scenario may stop.
    #[must_use]
    pub fn own_registry(mut self) -> Self {
        self.own_registry = true;
        self
    }

    /// Starts a Kafka of its own with two brokers, which share the partitions.
    #[must_use]
    pub fn two_brokers(mut self) -> Self {
        self.brokers = Brokers::Two;
        self
    }

    /// Starts a Kafka of its own with three brokers, which all have every partition.
    #[must_use]
    pub fn three_brokers(mut self) -> Self {
        self.brokers = Brokers::Three;
        self
    }

    /// Starts a Kafka of its own that refuses topics for messages above 1 MiB.
    #[must_use]
    pub fn capped_kafka(mut self) -> Self {
        self.brokers = Brokers::Capped;
        self
    }

    /// Puts a proxy into every link between two parts.
    #[must_use]
    pub fn links(mut self) -> Self {
        self.links = true;
        self
    }

    /// Starts neither a worker nor an instance of data-streams.
    #[must_use]
    pub fn without_services(mut self) -> Self {
        self.services = false;
        self
    }

    /// Gives ClickHouse a disk of that many bytes, which the scenario may fill.
    #[must_use]
    pub fn small_disk(mut self, bytes: u64) -> Self {
        self.disk = Some(bytes);
        self
    }

    /// Makes a system whose data [`DataSet::pack`] can pack: it saves its portal,
    /// and its topics have the prefix of the product.
    #[must_use]
    pub fn packable(mut self) -> Self {
        self.data = Data::Packable;
        self.own_kafka().own_registry()
    }

    /// Continues the data of another system. Its portal is the one of that system,
    /// at the time when that had been stopped.
    #[must_use]
    pub fn continues(mut self, data: DataSet) -> Self {
        self.simulator.now_ms = Some(data.recorded.stopped_at_ms);
        self.data = Data::Continued(data);
        self.own_kafka().own_registry()
    }

    /// Changes the simulated portal.
    #[must_use]
    pub fn portal(mut self, change: impl FnOnce(&mut PortalConfig)) -> Self {
        if let Some(portal) = self.simulator.portals.first_mut() {
            change(portal);
        }
        self
    }

    /// Adds a portal, behind the same address.
    #[must_use]
    pub fn another_portal(mut self, portal: PortalConfig) -> Self {
        self.simulator.portals.push(portal);
        self
    }

    /// Sets a variable of the worker.
    #[must_use]
    pub fn worker(mut self, name: &str, value: &str) -> Self {
        self.worker.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable of data-streams.
    #[must_use]
    pub fn data_streams(mut self, name: &str, value: &str) -> Self {
        self.data_streams.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a credential to the folder of `file:` references.
    #[must_use]
    pub fn credential(mut self, name: &str, content: &str) -> Self {
        self.credentials.push((name.to_owned(), content.to_owned()));
        self
    }

    /// Starts everything and waits until the API is ready.
    pub async fn start(mut self) -> Stack {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let (own, clickhouse, folder) = self.servers().await;
        let prefix = if matches!(self.data, Data::OfOneScenario) {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            format!("t{}-{number}.", std::process::id())
        } else {
            for portal in &mut self.simulator.portals {
                portal.state_dir = Some(folder.path().join(data_set::PORTAL));
            }
            "hubspot.".to_owned()
        };
        let mut secrets = vec![TOKEN.to_owned(), WRITER_PASSWORD.to_owned()];
        secrets.extend(secrets::of(&self.credentials));
        let shared = own.as_ref().unwrap_or_else(|| KafkaAndRegistry::shared());
        let simulator = Arc::new(Simulator::start(self.simulator).await.unwrap());
        let mut common = vec![
            ("KAFKA_BOOTSTRAP".to_owned(), shared.bootstrap()),
            ("REGISTRY_URL".to_owned(), shared.registry_url()),
            ("TOPIC_PREFIX".to_owned(), prefix.clone()),
            ("CONTROL_PARTITIONS".to_owned(), "2".to_owned()),
            ("RECORD_PARTITIONS".to_owned(), "4".to_owned()),
            // For whoever reads why a scenario has failed.
            ("LOG_FORMAT".to_owned(), "text".to_owned()),
        ];
        let mut worker = common.clone();
        worker.extend([
            ("HUBSPOT_BASE_URL".to_owned(), simulator.base_url()),
            ("HUBSPOT_ACCESS_TOKEN".to_owned(), TOKEN.to_owned()),
            (
                "CREDENTIALS_DIR".to_owned(),
                folder.path().join("credentials").display().to_string(),
            ),
            // The simulator's search lags by 100 ms, so a scenario need not wait
            // for HubSpot's 15 s.
            ("INDEX_LAG".to_owned(), "500ms".to_owned()),
            ("CONFIRM_INTERVAL".to_owned(), "500ms".to_owned()),
        ]);
        let clickhouse_url = format!("http://127.0.0.1:{}", clickhouse.port);
        common.extend([
            ("CLICKHOUSE_URL".to_owned(), clickhouse_url),
            ("CLICKHOUSE_USER".to_owned(), "writer".to_owned()),
            ("CLICKHOUSE_PASSWORD".to_owned(), WRITER_PASSWORD.to_owned()),
            (
                "CLICKHOUSE_READER_PASSWORD".to_owned(),
                READER_PASSWORD.to_owned(),
            ),
        ]);
        let links = if self.links {
            let hubspot = simulator.base_url();
            let (_, hubspot) = hubspot.rsplit_once(':').expect("a port");
            Some(Links::new(shared, hubspot.parse().unwrap(), clickhouse.port).await)
        } else {
            None
        };
        if let Some(links) = &links {
            worker.extend(links.worker_variables());
            common.extend(links.data_streams_variables());
        }
        // Last, so that the settings of the scenario win.
        worker.extend(self.worker);
        common.extend(self.data_streams);
        let mut stack = Stack {
            simulator,
            workers: Vec::new(),
            worker_ports: Vec::new(),
            instances: Vec::new(),
            clickhouse,
            prefix,
            own,
            links,
            folder,
            secrets,
            worker_variables: worker,
            data_streams_variables: common,
        };
        if self.services {
            stack.add_worker();
            stack.add_data_streams();
            stack.api().ready().await;
        }
        stack
    }

    /// Starts Kafka and registry where one or both are its own, and ClickHouse;
    /// makes the folder of everything else.
    async fn servers(&self) -> (Option<KafkaAndRegistry>, Server, tempfile::TempDir) {
        let (brokers, own_registry) = (self.brokers, self.own_registry);
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        std::fs::create_dir_all(&credentials).unwrap();
        for (name, content) in &self.credentials {
            std::fs::write(credentials.join(name), content).unwrap();
        }
        let password = folder.path().join("clickhouse-reader-password");
        std::fs::write(password, READER_PASSWORD).unwrap();
        let data = folder.path().join("clickhouse");
        let disk = self.disk;
        let own_folder = match &self.data {
            Data::Continued(data) => Some(data.restore(folder.path())),
            Data::OfOneScenario | Data::Packable => None,
        };
        let (own, clickhouse) = tokio::task::spawn_blocking(move || {
            let own = if let Some(own_folder) = own_folder {
                Some(KafkaAndRegistry::own_in(own_folder))
            } else if brokers != Brokers::Shared || own_registry {
                Some(KafkaAndRegistry::own(brokers, own_registry))
            } else {
                KafkaAndRegistry::shared();
                None
            };
            let mut clickhouse =
                servers::clickhouse(&data, [WRITER_PASSWORD, READER_PASSWORD], disk);
            servers::wait_until_ready(&mut clickhouse);
            (own, clickhouse)
        })
        .await
        .unwrap();
        (own, clickhouse, folder)
    }
}
