//! Kafka and the registry, shared by all runs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::servers::{Brokers, KafkaAndRegistry};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

/// Kafka and the registry.
#[derive(Debug)]
pub(crate) struct Servers(KafkaAndRegistry);

impl Servers {
    /// Starts both and waits until they are ready.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let started =
            tokio::task::spawn_blocking(|| KafkaAndRegistry::own(Brokers::One, true)).await;
        started.map(Self).context("the servers do not start")
    }

    /// `host:port` of Kafka.
    pub(crate) fn bootstrap(&self) -> String {
        self.0.bootstrap()
    }

    /// Confluent-compatible address of the registry.
    pub(crate) fn registry_url(&self) -> String {
        self.0.registry_url()
    }

    /// Folder of Kafka's data.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.0.kafka_folder()
    }

    /// Names and process ids of both.
    pub(super) fn processes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let kafka = self.0.kafka.iter().map(|it| ("Kafka", it));
        let registry = self.0.registry.iter().map(|it| ("registry", it));
        kafka
            .chain(registry)
            .map(|(name, server)| (name, server.process.pid()))
    }

    /// Kafka and this process, with their ids.
    pub(crate) fn with(&self, own: u32) -> impl Iterator<Item = (&'static str, u32)> {
        let kafka = self.processes().filter(|it| it.0 == "Kafka");
        kafka.chain([("bench", own)])
    }

    /// Settings of a Kafka client.
    pub(crate) fn client(&self) -> ClientConfig {
        self.0.client()
    }

    /// Deletes a consumer group, whose members must have left.
    pub(super) async fn delete_group(&self, group: &str) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let deleted = admin.delete_groups(&[group], &AdminOptions::new()).await?;
            let refused: Vec<_> = deleted.into_iter().filter_map(Result::err).collect();
            if refused.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{group}: {refused:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Creates a topic with the broker's settings.
    pub(crate) async fn create_topic(&self, name: &str) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let topic = NewTopic::new(name, 8, TopicReplication::Fixed(1));
        let created = admin.create_topics([&topic], &AdminOptions::new()).await?;
        for outcome in created {
            outcome.map_err(|(name, error)| anyhow::anyhow!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// Removes the topics whose names begin so, which would otherwise fill the disk.
    pub(crate) async fn remove_topics(&self, prefix: &str) -> anyhow::Result<()> {
        let config = self.client();
        let listed: BaseConsumer = config.create()?;
        let limit = Duration::from_secs(10);
        let metadata =
            tokio::task::spawn_blocking(move || listed.fetch_metadata(None, limit)).await??;
        let names: Vec<&str> = metadata
            .topics()
            .iter()
            .map(rdkafka::metadata::MetadataTopic::name)
            .filter(|name| name.starts_with(prefix))
            .collect();
        let admin: AdminClient<DefaultClientContext> = config.create()?;
        admin.delete_topics(&names, &AdminOptions::new()).await?;
        Ok(())
    }
}
