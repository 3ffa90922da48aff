//! Reads the log of records of some streams from given offsets on, for callers without
//! a client of Kafka.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;
use chassis::kafka::reader::{Step, TopicReader};
use rdkafka::Message as _;
use schemas::codec;
use tokio::sync::mpsc;

use super::{
    JobError,
    dead_letters::{SILENCE, record_prefix},
};
use crate::ingest::{
    decode::decoders::{Datum, Decoders},
    parts::Parts,
    poll::message::Message,
};

/// Maximum number of messages of a batch.
const BATCH_MESSAGES: usize = 500;

/// Maximum size of a batch in bytes; the last message may exceed it.
const BATCH_BYTES: usize = 1024 * 1024;

/// Which part of the log to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeQuery {
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// Object types.
    pub object_types: Vec<String>,
    /// By partition, the first offset; from the beginning where there is none.
    pub from: BTreeMap<i32, i64>,
    /// Whether the reading goes on at the end of the log.
    pub follow: bool,
}

/// A record in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The record in Avro, in a schema that [`schemas::CrmRecord::decode`] reads.
    pub datum: Bytes,
}

/// Part of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeBatch {
    /// Their topic, including its prefix.
    pub topic: String,
    /// The records that the query is for, each partition's in its order.
    pub records: Vec<LoggedRecord>,
    /// By partition, the offset after what was read.
    pub next: BTreeMap<i32, i64>,
    /// Whether nothing more is in the log now.
    pub at_end: bool,
}

/// Sends the log until its end, or for ever where the query follows it; ends early when
/// the receiver is dropped or the process drains.
pub(crate) async fn read<E: Send + 'static>(
    parts: Arc<Parts>,
    query: ChangeQuery,
    out: mpsc::Sender<Result<ChangeBatch, E>>,
    failed: fn(JobError) -> E,
) {
    let read = tokio::task::spawn_blocking(move || {
        let read = Reading::new(&parts, &query).and_then(|it| it.run(&out));
        if let Err(error) = read {
            // Fails only when the reader is gone.
            drop(out.blocking_send(Err(failed(error))));
        }
    });
    if let Err(error) = read.await {
        tracing::error!(%error, "the reading of the log panicked");
    }
}

/// One reading of the log. All its calls block.
struct Reading<'a> {
    parts: &'a Parts,
    follow: bool,
    /// What the keys of the records begin with.
    prefixes: Vec<String>,
    reader: TopicReader,
    decoders: Decoders,
    messages: Vec<Message>,
    bytes: usize,
    /// When Kafka was last heard of.
    heard_at: Instant,
}

impl<'a> Reading<'a> {
    fn new(parts: &'a Parts, query: &ChangeQuery) -> Result<Self, JobError> {
        let topic = &parts.topics.records;
        let config = if query.follow {
            parts.follower("changes")
        } else {
            parts.reader("changes")
        };
        let kafka = |error| JobError::Kafka(chassis::with_causes(&error));
        let mut reader = TopicReader::whole(&config, topic).map_err(kafka)?;
        if !query.from.is_empty() {
            let partitions = reader.next_offsets().keys();
            let from = |it: &i32| (*it, query.from.get(it).copied().unwrap_or(0));
            let starts: Vec<_> = partitions.map(from).collect();
            reader.assign(starts).map_err(kafka)?;
        }
        let prefix = |it: &String| record_prefix(query.portal_id, it);
        let schemas = Arc::clone(&parts.schemas);
        Ok(Self {
            parts,
            follow: query.follow,
            prefixes: query.object_types.iter().map(prefix).collect(),
            reader,
            decoders: Decoders::new(schemas, parts.settings.record_schema_id),
            messages: Vec::new(),
            bytes: 0,
            heard_at: Instant::now(),
        })
    }

    fn run<E>(mut self, out: &mpsc::Sender<Result<ChangeBatch, E>>) -> Result<(), JobError> {
        let draining = self.parts.context.draining().clone();
        let (mut scanned, mut has_ended) = (0, false);
        while !draining.is_cancelled() && !out.is_closed() {
            let is_due = match self.step()? {
                Scanned::Message => {
                    scanned += 1;
                    scanned >= BATCH_MESSAGES || self.bytes >= BATCH_BYTES
                }
                Scanned::End => self.reader.is_at_end() && (scanned > 0 || !has_ended),
                Scanned::Nothing => scanned > 0,
            };
            if !is_due {
                continue;
            }
            scanned = 0;
            let batch = self.batch()?;
            has_ended = batch.at_end;
            if out.blocking_send(Ok(batch)).is_err() || (has_ended && !self.follow) {
                break;
            }
        }
        Ok(())
    }

    /// Polls once and keeps the message if it is wanted.
    fn step(&mut self) -> Result<Scanned, JobError> {
        let prefixes = &self.prefixes;
        let step = self.reader.step(|message| {
            let key = message.key().unwrap_or_default();
            let wanted = prefixes.iter().any(|it| key.starts_with(it.as_bytes()));
            wanted.then(|| Message::detach(message))
        });
        match step {
            Step::Message(message) => {
                self.heard_at = Instant::now();
                self.bytes += message.as_ref().map_or(0, Message::size);
                self.messages.extend(message);
                return Ok(Scanned::Message);
            }
            Step::End(_) => {
                self.heard_at = Instant::now();
                return Ok(Scanned::End);
            }
            Step::Idle => {}
            Step::Unavailable(error) => tracing::debug!(%error, "the log cannot be read now"),
        }
        // One that follows waits until Kafka is back.
        if !self.follow && self.heard_at.elapsed() > SILENCE {
            return Err(JobError::Kafka(format!("nothing came for {SILENCE:?}")));
        }
        Ok(Scanned::Nothing)
    }

    /// What was read since the last batch.
    fn batch(&mut self) -> Result<ChangeBatch, JobError> {
        let messages = std::mem::take(&mut self.messages);
        self.bytes = 0;
        let data = self.decoders.resolve(&messages);
        let data = self.parts.runtime.block_on(data);
        let mut records = Vec::with_capacity(messages.len());
        for (message, datum) in messages.into_iter().zip(data) {
            let datum = match datum {
                Datum::AsIs => message.value.map(|it| it.slice(codec::HEADER_BYTES..)),
                Datum::Translated(datum) => Some(datum.into()),
                // The loader makes it a dead letter.
                Datum::Poison { .. } => None,
                Datum::Held(reason) => return Err(JobError::Schema(reason)),
            };
            records.extend(datum.map(|datum| LoggedRecord {
                partition: message.partition,
                offset: message.offset,
                datum,
            }));
        }
        Ok(ChangeBatch {
            topic: self.parts.topics.records.clone(),
            records,
            next: self.reader.next_offsets().clone(),
            at_end: self.reader.is_at_end(),
        })
    }
}

/// What one poll brought.
enum Scanned {
    Message,
    End,
    Nothing,
}
