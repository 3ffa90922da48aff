//! The first and the last messages of topics, without reading what is between.
//!
//! It must not know what a message means.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::KafkaArgs;

/// How long one question to Kafka may take.
const CALL: Duration = Duration::from_secs(10);
/// Reading that brings nothing for that long has failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// How far before its end a partition is read: marks of transactions lie among
/// the messages.
const TAIL: i64 = 16;

/// A message as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key; empty where it has none.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// The first committed message of each partition, and the last ones. Blocks.
pub(crate) fn ends(
    kafka: &KafkaArgs,
    topic: &str,
    partitions: i32,
) -> Result<Vec<Logged>, KafkaError> {
    let consumer: BaseConsumer = kafka
        // The group is never joined: partitions are assigned by hand.
        .consumer("log-sample", &format!("{}log-sample", kafka.topic_prefix))
        // What lies between is not wanted. One message is sent at any size.
        .set("fetch.message.max.bytes", "16384")
        .set("queued.max.messages.kbytes", "1024")
        .create()?;
    let mut starts = Vec::new();
    let mut tails = Vec::new();
    for partition in 0..partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, CALL)?;
        if low < high {
            starts.push((partition, low));
            tails.push((partition, low.max(high - TAIL)));
        }
    }
    let mut messages = Vec::new();
    read(&consumer, topic, &starts, |message| {
        messages.push(message);
        false
    })?;
    read(&consumer, topic, &tails, |message| {
        messages.push(message);
        true
    })?;
    Ok(messages)
}

/// Reads partitions from these offsets, each until its end or until `take`
/// wants no more of it.
fn read(
    consumer: &BaseConsumer,
    topic: &str,
    places: &[(i32, i64)],
    mut take: impl FnMut(Logged) -> bool,
) -> Result<(), KafkaError> {
    let mut open: HashSet<i32> = HashSet::new();
    let mut list = TopicPartitionList::new();
    for (partition, offset) in places {
        open.insert(*partition);
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    consumer.assign(&list)?;
    let mut last = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if open.contains(&message.partition()) => {
                last = Instant::now();
                let partition = message.partition();
                let Some(value) = message.payload() else {
                    continue;
                };
                let wants_more = take(Logged {
                    topic: topic.to_owned(),
                    partition,
                    offset: message.offset(),
                    key: message.key().unwrap_or_default().to_vec(),
                    value: value.to_vec(),
                });
                if !wants_more {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                last = Instant::now();
                open.remove(&partition);
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "the log cannot be read for now"),
            Some(Ok(_)) | None => {}
        }
        if last.elapsed() > PATIENCE {
            return Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::OperationTimedOut,
            ));
        }
    }
    Ok(())
}
