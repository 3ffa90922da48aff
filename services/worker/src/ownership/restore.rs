//! The state of partitions that were assigned to this process: their topics are
//! read to the end once older owners are fenced.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use chassis::{
    kafka::{KafkaArgs, reader::TopicReader},
    schema_lookup::MessageRef,
};
use rdkafka::{Message as _, message::BorrowedMessage};
use schemas::{Checkpoint, ConnectionStatus, Status, StreamStatus, Topics};

use super::{Decoder, Indexes, KnownDefinitions, Undecodable, definitions::message_ref};
use crate::crash;

/// Reading fails after this time without a message.
const SILENCE: Duration = Duration::from_secs(30);

/// What the log contains.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Checkpoints by connection and stream.
    pub(crate) checkpoints: HashMap<(String, String), Checkpoint>,
    /// Connections as last observed.
    pub(crate) connections: HashMap<String, ConnectionStatus>,
    /// Streams as last observed, by connection and stream.
    pub(crate) streams: HashMap<(String, String), StreamStatus>,
    /// The newest definitions of all portals.
    pub(crate) definitions: KnownDefinitions,
    /// What was written of each object.
    pub(crate) indexes: Indexes,
    /// How many messages the log of records has had, those of transactions included; not
    /// known if no record was written.
    pub(crate) records_end: Option<i64>,
}

/// Reads checkpoints, status and index of the partitions, and all definitions. Blocks.
pub(crate) fn restore(
    kafka: &KafkaArgs,
    client_id: &str,
    decoder: &Decoder,
    partitions: &[i32],
) -> anyhow::Result<Restored> {
    let topics = Topics::with_prefix(&kafka.topic_prefix);
    let mut restored = Restored::default();
    let own = partitions.iter().copied();
    for (topic, partitions) in [
        (&topics.checkpoints, own.clone().collect::<Vec<_>>()),
        (&topics.status, own.clone().collect()),
        (&topics.index, own.collect()),
        (&topics.definitions, (0..kafka.record_partitions).collect()),
    ] {
        read_all(kafka, client_id, topic, partitions, |message| {
            restored.take(&topics, decoder, message)
        })?;
    }
    let mut checkpoints = restored.checkpoints.values();
    if checkpoints.any(|it| it.records_total > 0) {
        let config = kafka.consumer(client_id, &reader_group(kafka));
        let ends = TopicReader::ends_of(&config, &topics.records)?;
        restored.records_end = Some(ends.values().sum());
    }
    Ok(restored)
}

impl Restored {
    fn take(
        &mut self,
        topics: &Topics,
        decoder: &Decoder,
        message: &BorrowedMessage<'_>,
    ) -> anyhow::Result<()> {
        let topic = message.topic();
        let name = String::from_utf8_lossy(message.key().unwrap_or_default());
        let value = message_ref(message);
        let outcome = if topic == topics.checkpoints {
            self.take_checkpoint(decoder, &name, value)
        } else if topic == topics.status {
            self.take_status(decoder, &name, value)
        } else if topic == topics.index {
            crash::point(crash::Point::InRestore);
            self.indexes.restore(decoder, &name, value)
        } else {
            self.definitions.take(decoder, value)
        };
        skip_poison(outcome, message)
    }

    fn take_checkpoint(
        &mut self,
        decoder: &Decoder,
        key: &str,
        value: Option<MessageRef<'_>>,
    ) -> Result<(), Undecodable> {
        if let Some(value) = value {
            let checkpoint: Checkpoint = decoder.decode(value, "Checkpoint")?;
            let key = (checkpoint.connection.clone(), checkpoint.stream.clone());
            self.checkpoints.insert(key, checkpoint);
        } else if let Some((connection, stream)) = key.split_once('/') {
            self.checkpoints
                .remove(&(connection.to_owned(), stream.to_owned()));
        }
        Ok(())
    }

    fn take_status(
        &mut self,
        decoder: &Decoder,
        key: &str,
        value: Option<MessageRef<'_>>,
    ) -> Result<(), Undecodable> {
        let Some(value) = value else {
            match key.split_once('/') {
                Some((connection, stream)) => {
                    self.streams
                        .remove(&(connection.to_owned(), stream.to_owned()));
                }
                None => {
                    self.connections.remove(key);
                }
            }
            return Ok(());
        };
        let status: Status = decoder.decode(value, "Status")?;
        if let Some(whole) = status.whole {
            self.connections.insert(status.connection, whole);
        } else if let Some(stream) = status.stream {
            self.streams
                .insert((status.connection, stream.name.clone()), stream);
        }
        Ok(())
    }
}

/// Skips a message that never can be decoded.
pub(super) fn skip_poison(
    outcome: Result<(), Undecodable>,
    message: &BorrowedMessage<'_>,
) -> anyhow::Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        // A checkpoint that is skipped would be lost.
        Err(error @ Undecodable::Later(_)) => Err(error.into()),
        Err(error @ Undecodable::Poison(_)) => {
            let (topic, partition) = (message.topic(), message.partition());
            let offset = message.offset();
            tracing::error!(%error, topic, partition, offset, "message skipped");
            Ok(())
        }
    }
}

/// Keys of claims in one partition of the status topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimKeys {
    /// The partition.
    pub(crate) partition: i32,
    /// Start of the keys, up to the connection's name.
    pub(crate) prefix: String,
}

/// For each of the keys asked for, the connections that claim, in the order of
/// the log. Reads each partition once. Blocks.
pub(crate) fn claims(
    kafka: &KafkaArgs,
    client_id: &str,
    asked: &[ClaimKeys],
) -> anyhow::Result<Vec<Vec<String>>> {
    let topics = Topics::with_prefix(&kafka.topic_prefix);
    let mut found: HashMap<i32, HashMap<&str, Vec<String>>> = HashMap::new();
    for keys in asked {
        let of_partition = found.entry(keys.partition).or_default();
        of_partition.insert(&keys.prefix, Vec::new());
    }
    let partitions: Vec<i32> = found.keys().copied().collect();
    read_all(kafka, client_id, &topics.status, partitions, |message| {
        let key = String::from_utf8_lossy(message.key().unwrap_or_default());
        if let Some((prefix, connection)) = key.find('/').map(|it| key.split_at(it + 1))
            && let Some(of_partition) = found.get_mut(&message.partition())
            && let Some(claims) = of_partition.get_mut(prefix)
        {
            // The last message of a key counts: older ones may be compacted
            // away.
            claims.retain(|it| it != connection);
            if message.payload().is_some() {
                claims.push(connection.to_owned());
            }
        }
        Ok(())
    })?;
    let answer = |keys: &ClaimKeys| found.get(&keys.partition)?.get(keys.prefix.as_str());
    Ok(asked
        .iter()
        .map(|it| answer(it).cloned().unwrap_or_default())
        .collect())
}

/// The group of readers. It is never joined: partitions are assigned by hand.
fn reader_group(kafka: &KafkaArgs) -> String {
    format!("{}worker-reader", kafka.topic_prefix)
}

/// Hands over every message of the partitions that was committed before. Waits for
/// open transactions: partitions of status and definitions have several writers.
pub(super) fn read_all(
    kafka: &KafkaArgs,
    client_id: &str,
    topic: &str,
    partitions: impl IntoIterator<Item = i32>,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let config = kafka.consumer(client_id, &reader_group(kafka));
    TopicReader::read_all_committed(&config, topic, partitions, SILENCE, |message| {
        take(message).map(ControlFlow::Continue)
    })?;
    let read_ms = started.elapsed().as_millis();
    tracing::trace!(topic, read_ms, "read to its end");
    Ok(())
}
