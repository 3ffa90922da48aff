//! Topics read from their beginning to their end, apart from the group: the
//! dead letters, and the records for a rebuild.
//!
//! It must not know what is done with a message.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::BorrowedMessage,
};

use super::definitions::partitions;

/// A consumer that has all partitions of a topic, from their beginning.
pub(crate) struct Replay {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
    ended: BTreeSet<i32>,
    /// By partition, where to go on.
    pub(crate) next: BTreeMap<i32, i64>,
}

/// What a poll gave.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// A message, taken in by the caller.
    Message(T),
    /// Nothing just now.
    Nothing,
    /// The end of every partition.
    End,
}

impl Replay {
    /// Blocks until the topic's partitions are known.
    pub(crate) fn new(consumer: BaseConsumer, topic: &str) -> anyhow::Result<Self> {
        let partitions = partitions(&consumer, topic)?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer
            .assign(&list)
            .with_context(|| format!("assignment of {topic}"))?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            partitions,
            ended: BTreeSet::new(),
            next: BTreeMap::new(),
        })
    }

    /// One message, taken in by `take`.
    pub(crate) fn step<T>(&mut self, take: impl FnOnce(&BorrowedMessage<'_>) -> T) -> Step<T> {
        match self.consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                self.ended.remove(&message.partition());
                self.next.insert(message.partition(), message.offset() + 1);
                return Step::Message(take(&message));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.ended.insert(partition);
            }
            // librdkafka goes on by itself once the broker is back.
            Some(Err(error)) => tracing::debug!(%error, topic = self.topic, "cannot be read now"),
        }
        let all = i32::try_from(self.ended.len()).unwrap_or(i32::MAX) >= self.partitions;
        if all { Step::End } else { Step::Nothing }
    }

    /// By partition, the end of the log now.
    pub(crate) fn ends(&self) -> anyhow::Result<BTreeMap<i32, i64>> {
        (0..self.partitions)
            .map(|partition| {
                let (_, high) = self.consumer.fetch_watermarks(
                    &self.topic,
                    partition,
                    Duration::from_secs(10),
                )?;
                Ok((partition, high))
            })
            .collect()
    }

    /// Whether it has read up to `ends`, or has got nothing for a while where
    /// only marks of transactions are left.
    pub(crate) fn has_reached(&self, ends: &BTreeMap<i32, i64>, quiet_since: Instant) -> bool {
        quiet_since.elapsed() > Duration::from_secs(2)
            || ends.iter().all(|(partition, end)| {
                self.next.get(partition).copied().unwrap_or_default() >= *end
            })
    }
}
