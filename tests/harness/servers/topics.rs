//! What scenarios do with the topics of a Kafka, beside the services.

use std::collections::BTreeMap;

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    metadata::{MetadataPartition, MetadataTopic},
    producer::{FutureProducer, FutureRecord},
};

use super::{KafkaAndRegistry, server::metadata};
use crate::HANG_LIMIT;

impl KafkaAndRegistry {
    /// Partitions of a topic that have no leader now; empty where Kafka does not
    /// answer. Blocks.
    pub fn leaderless(&self, topic: &str) -> Vec<i32> {
        let Some(cluster) = metadata(&self.client(), Some(topic)) else {
            return Vec::new();
        };
        let partitions = cluster.topics().iter().flat_map(MetadataTopic::partitions);
        partitions
            .filter(|partition| partition.leader() < 0)
            .map(MetadataPartition::id)
            .collect()
    }

    /// Whether a transaction on one of the topics is open, so that it hides what it has
    /// written. True where Kafka does not answer. Blocks.
    pub fn has_open_transaction(&self, topics: &[String]) -> bool {
        let ends = |isolation: &str| {
            let mut config = self.client();
            config.set("isolation.level", isolation);
            let mut list = TopicPartitionList::new();
            for topic in topics {
                let cluster = metadata(&config, Some(topic))?;
                let partitions = cluster.topics().iter().flat_map(MetadataTopic::partitions);
                for partition in partitions {
                    // In place of a time, it asks for the end.
                    list.add_partition_offset(topic, partition.id(), Offset::End)
                        .ok()?;
                }
            }
            let consumer: BaseConsumer = config.create().ok()?;
            let found = consumer.offsets_for_times(list, HANG_LIMIT).ok()?;
            let found: BTreeMap<_, _> = found.to_topic_map().into_iter().collect();
            Some(found)
        };
        let all = ends("read_uncommitted");
        all.is_none() || all != ends("read_committed")
    }

    /// Number of replicas of each partition of a topic. Blocks.
    pub fn replicas(&self, topic: &str) -> Vec<usize> {
        let cluster = metadata(&self.client(), Some(topic)).expect("Kafka answers");
        let partitions = cluster.topics().iter().flat_map(MetadataTopic::partitions);
        partitions.map(|it| it.replicas().len()).collect()
    }

    /// Writes messages (key and value) to the first partition of a topic, in
    /// order, and returns once all are acknowledged.
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
            producer.send(record, HANG_LIMIT)
        });
        for outcome in futures::future::join_all(sent).await {
            outcome.expect("a message is acknowledged");
        }
    }

    /// Sets the largest message that a topic takes, in bytes.
    pub async fn limit_messages(&self, topic: &str, bytes: usize) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client");
        let (topic, options) = (ResourceSpecifier::Topic(topic), AdminOptions::new());
        let described = admin.describe_configs([&topic], &options).await;
        let described = described.expect("Kafka answers").remove(0);
        // What is not named gets its default.
        let mut change = AlterConfig::new(topic);
        let settings = described.expect("a topic is described").entries;
        for setting in &settings {
            if let (ConfigSource::DynamicTopic, Some(value)) = (&setting.source, &setting.value) {
                change = change.set(&setting.name, value);
            }
        }
        let bytes = bytes.to_string();
        let change = change.set("max.message.bytes", &bytes);
        let outcomes = admin.alter_configs([&change], &options).await;
        for outcome in outcomes.expect("Kafka answers") {
            outcome.expect("a topic is changed");
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
}
