//! The links between the parts of one system, each behind a proxy.

use crate::{Proxy, servers::KafkaAndRegistry};

/// One proxy for each link.
#[derive(Debug)]
pub struct Links {
    /// From the worker to Kafka.
    pub worker_kafka: Proxy,
    /// From the worker to the registry.
    pub worker_registry: Proxy,
    /// From the worker to HubSpot.
    pub worker_hubspot: Proxy,
    /// From data-streams to Kafka.
    pub data_streams_kafka: Proxy,
    /// From data-streams to the registry.
    pub data_streams_registry: Proxy,
    /// From data-streams to ClickHouse.
    pub data_streams_clickhouse: Proxy,
}

impl Links {
    /// Proxies to Kafka and the registry, and to the ports of HubSpot and
    /// ClickHouse.
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

    /// All links, with their names.
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

    /// Ends the faults of all links.
    pub fn heal_all(&self) {
        for (_, link) in self.all() {
            link.heal();
        }
    }

    /// Settings that make the worker use the proxies.
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

    /// Settings that make data-streams use the proxies.
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
