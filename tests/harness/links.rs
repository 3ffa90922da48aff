//! The connections between the parts of one system, each behind a proxy.
//!
//! It must not know what a fault on one of them should lead to.

use std::time::Duration;

use crate::{Mode, Proxy, servers::KafkaAndRegistry};

/// One proxy for each connection between two parts.
#[derive(Debug)]
pub struct Links {
    /// The worker to Kafka.
    pub worker_kafka: Proxy,
    /// The worker to the registry.
    pub worker_registry: Proxy,
    /// The worker to HubSpot.
    pub worker_hubspot: Proxy,
    /// data-streams to Kafka.
    pub data_streams_kafka: Proxy,
    /// data-streams to the registry.
    pub data_streams_registry: Proxy,
    /// data-streams to ClickHouse.
    pub data_streams_clickhouse: Proxy,
}

impl Links {
    /// Proxies to Kafka and the registry, and to these ports.
    pub(crate) async fn new(servers: &KafkaAndRegistry, hubspot: u16, clickhouse: u16) -> Self {
        let [(worker, by_worker), (data_streams, by_data_streams)] = servers.proxied();
        Self {
            worker_kafka: Proxy::on_port(by_worker, worker).await,
            worker_registry: Proxy::to(servers.registry_port).await,
            worker_hubspot: Proxy::to(hubspot).await,
            data_streams_kafka: Proxy::on_port(by_data_streams, data_streams).await,
            data_streams_registry: Proxy::to(servers.registry_port).await,
            data_streams_clickhouse: Proxy::to(clickhouse).await,
        }
    }

    /// All of them, by name.
    pub fn all(&self) -> [(&'static str, &Proxy); 6] {
        [
            ("worker-kafka", &self.worker_kafka),
            ("worker-registry", &self.worker_registry),
            ("worker-hubspot", &self.worker_hubspot),
            ("data-streams-kafka", &self.data_streams_kafka),
            ("data-streams-registry", &self.data_streams_registry),
            ("data-streams-clickhouse", &self.data_streams_clickhouse),
        ]
    }

    /// Holds a mode on all of them for a time.
    pub async fn hold_all(&self, mode: Mode, time: Duration) {
        for (_, link) in self.all() {
            link.set(mode);
        }
        tokio::time::sleep(time).await;
        self.heal_all();
    }

    /// Bytes flow again on all of them.
    pub fn heal_all(&self) {
        for (_, link) in self.all() {
            link.heal();
        }
    }

    /// What the worker is told.
    pub(crate) fn worker_variables(&self) -> Vec<(String, String)> {
        vec![
            bootstrap(&self.worker_kafka),
            registry(&self.worker_registry),
            (
                "HUBSPOT_BASE_URL".to_owned(),
                format!("http://127.0.0.1:{}", self.worker_hubspot.port()),
            ),
        ]
    }

    /// What data-streams is told.
    pub(crate) fn data_streams_variables(&self) -> Vec<(String, String)> {
        vec![
            bootstrap(&self.data_streams_kafka),
            registry(&self.data_streams_registry),
            (
                "CLICKHOUSE_URL".to_owned(),
                format!("http://127.0.0.1:{}", self.data_streams_clickhouse.port()),
            ),
        ]
    }
}

fn bootstrap(kafka: &Proxy) -> (String, String) {
    let address = format!("127.0.0.1:{}", kafka.port());
    ("KAFKA_BOOTSTRAP".to_owned(), address)
}

fn registry(registry: &Proxy) -> (String, String) {
    let url = format!("http://127.0.0.1:{}/apis/ccompat/v7", registry.port());
    ("REGISTRY_URL".to_owned(), url)
}
