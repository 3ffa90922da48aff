//! How much a topic has: messages, bytes, and its files.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    metadata::MetadataPartition,
};

use super::Servers;

/// Time limit of a call to Kafka, and of the wait for the next message.
const CALL: Duration = Duration::from_secs(30);

/// Where the partitions of a topic end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends(BTreeMap<i32, i64>);

/// What a topic has beyond some place.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Written {
    /// Messages, tombstones too, without the marks of transactions.
    pub(crate) messages: f64,
    /// Their keys and values.
    pub(crate) bytes: f64,
}

impl Servers {
    /// Where a topic ends now.
    pub(crate) async fn ends(&self, topic: &str) -> anyhow::Result<Ends> {
        let (client, topic) = (self.client(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create()?;
            let ends = partitions(&consumer, &topic)?.into_iter().map(|partition| {
                let (_, end) = consumer.fetch_watermarks(&topic, partition, CALL)?;
                anyhow::Ok((partition, end))
            });
            ends.collect::<anyhow::Result<_>>().map(Ends)
        })
        .await?
    }

    /// What was written to a topic and committed since it ended there; all that it has
    /// for [`Ends::default`].
    pub(crate) async fn written_since(&self, topic: &str, ends: &Ends) -> anyhow::Result<Written> {
        let (mut client, topic, ends) = (self.client(), topic.to_owned(), ends.clone());
        client
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true");
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create()?;
            let numbers = partitions(&consumer, &topic)?;
            let mut all = TopicPartitionList::new();
            for partition in &numbers {
                let from = ends.0.get(partition);
                let from = from.map_or(Offset::Beginning, |end| Offset::Offset(*end));
                all.add_partition_offset(&topic, *partition, from)?;
            }
            consumer.assign(&all)?;
            let (mut written, mut open) = (Written::default(), numbers.len());
            while open > 0 {
                match consumer.poll(CALL).context("Kafka sends nothing")? {
                    Ok(message) => {
                        let (key, value) = (message.key(), message.payload());
                        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                        written.messages += 1.0;
                        #[expect(clippy::cast_precision_loss, reason = "a size")]
                        let size = size as f64;
                        written.bytes += size;
                    }
                    Err(KafkaError::PartitionEOF(_)) => open -= 1,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(written)
        })
        .await?
    }

    /// Bytes of the segments of a topic on the broker's disk.
    pub(crate) fn bytes_on_disk(&self, topic: &str) -> anyhow::Result<f64> {
        let (mut bytes, mut found) = (0.0, false);
        let log = self.folder().join("log");
        for entry in std::fs::read_dir(&log).with_context(|| log.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name();
            let partition = name.to_str().and_then(|it| it.strip_prefix(topic));
            if partition.is_some_and(|it| it.starts_with('-')) {
                bytes += segments(&entry.path())?;
                found = true;
            }
        }
        ensure!(found, "{topic} is not in {}", log.display());
        Ok(bytes)
    }
}

fn segments(partition: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0.0;
    for file in std::fs::read_dir(partition)? {
        let file = file?;
        if file.path().extension().is_some_and(|it| it == "log") {
            #[expect(clippy::cast_precision_loss, reason = "a size")]
            let size = file.metadata()?.len() as f64;
            bytes += size;
        }
    }
    Ok(bytes)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), CALL)?;
    let topic = metadata.topics().first().context("no such topic")?;
    let numbers = topic.partitions().iter().map(MetadataPartition::id);
    Ok(numbers.collect())
}
