//! The transactional log on Kafka: one producer whose id belongs to the
//! partition, so that its start fences every other.
//!
//! It must not know what is sent.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chassis::kafka::KafkaArgs;
use rdkafka::{
    ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use schemas::Topics;

use super::{
    log::{Failure, TransactionalLog},
    transaction::{DeadLetter, Outgoing},
};

/// One blocking call of the client.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the client gives a message to be delivered.
const DELIVERY_LIMIT: Duration = Duration::from_secs(20);

/// Between two looks at the deliveries. The client's own wait spins through
/// the last millisecond of its timeout, and never ends before it.
const POLL_PAUSE: Duration = Duration::from_micros(500);
/// Messages sent between two looks at the deliveries.
const BETWEEN_POLLS: usize = 64;

/// Remembers which messages were not delivered.
#[derive(Debug, Default)]
struct Deliveries {
    failed: Mutex<Vec<(usize, RDKafkaErrorCode)>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        if let Err((error, _)) = result {
            let code = error
                .rdkafka_error_code()
                .unwrap_or(RDKafkaErrorCode::Unknown);
            self.failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, code));
        }
    }
}

/// A partition's transactional log on Kafka.
pub struct KafkaLog {
    producer: BaseProducer<Deliveries>,
    topics: Topics,
    record_partitions: i32,
}

/// Makes the producer of a partition and fences every other with its id.
/// Blocks.
pub fn fence(kafka: &KafkaArgs, client_id: &str, partition: i32) -> Result<KafkaLog, Failure> {
    let topics = Topics::with_prefix(&kafka.topic_prefix);
    let id = format!("{}worker.{partition}", kafka.topic_prefix);
    let producer: BaseProducer<Deliveries> = kafka
        .transactional_producer(client_id, &id)
        // The largest message has to fit beside what waits.
        .set("queue.buffering.max.kbytes", (96 * 1024).to_string())
        .create_with_context(Deliveries::default())
        .map_err(|error| Failure::Fatal(error.to_string()))?;
    let started = Instant::now();
    loop {
        match producer
            .init_transactions(CALL_TIMEOUT)
            .map_err(|error| failure(&error))
        {
            Ok(()) => break,
            Err(Failure::Retry(_) | Failure::Abort(_)) if started.elapsed() < CALL_TIMEOUT * 4 => {}
            Err(error) => return Err(Failure::Fatal(error.to_string())),
        }
    }
    Ok(KafkaLog {
        producer,
        topics,
        record_partitions: kafka.record_partitions,
    })
}

/// What a failure of the client asks for: the one table.
fn failure(error: &KafkaError) -> Failure {
    let text = error.to_string();
    match error {
        KafkaError::Transaction(inner) if inner.is_fatal() => Failure::Fatal(text),
        KafkaError::Transaction(inner) if inner.txn_requires_abort() => Failure::Abort(text),
        KafkaError::Transaction(inner) if inner.is_retriable() => Failure::Retry(text),
        // Deliveries that are late; the transaction itself is untouched.
        KafkaError::Flush(_) => Failure::Retry(text),
        other => match other.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::InProgress
                | RDKafkaErrorCode::PreviousInProgress,
            ) => Failure::Retry(text),
            // The state of the producer is unknown.
            _ => Failure::Fatal(text),
        },
    }
}

/// Whether a message with that delivery error can never be sent.
fn is_permanent(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidTimestamp
    )
}

impl KafkaLog {
    fn headers(dead: &DeadLetter) -> OwnedHeaders {
        OwnedHeaders::new_with_capacity(4)
            .insert(Header {
                key: "reason",
                value: Some(dead.reason),
            })
            .insert(Header {
                key: "error",
                value: Some(&dead.error),
            })
            .insert(Header {
                key: "source_topic",
                value: Some(&dead.source_topic),
            })
            .insert(Header {
                key: "writer",
                value: Some("worker"),
            })
    }

    /// What the deliveries of the transaction say.
    fn delivered(&self) -> Result<(), Failure> {
        let failed = std::mem::take(
            &mut *self
                .producer
                .context()
                .failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let rejected: Vec<_> = failed
            .iter()
            .filter(|(_, code)| is_permanent(*code))
            .map(|(index, code)| (*index, code.to_string()))
            .collect();
        if !rejected.is_empty() {
            return Err(Failure::Rejected(rejected));
        }
        if let Some((error, reason)) = self.producer.client().fatal_error() {
            return Err(Failure::Fatal(format!("{error}: {reason}")));
        }
        match failed.first() {
            None => Ok(()),
            Some((_, code)) => Err(Failure::Abort(format!("delivery failed: {code}"))),
        }
    }
}

impl TransactionalLog for KafkaLog {
    fn begin(&mut self) -> Result<(), Failure> {
        self.producer
            .context()
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.producer
            .begin_transaction()
            .map_err(|error| failure(&error))
    }

    fn send(&mut self, index: usize, message: &Outgoing<'_>) -> Result<(), Failure> {
        let dead = message.dead.is_some();
        let topic = if dead {
            &self.topics.dead_letters
        } else {
            message.topic
        };
        if index.is_multiple_of(BETWEEN_POLLS) {
            // What has been delivered meanwhile gives its memory back.
            self.producer.poll(Duration::ZERO);
        }
        let started = Instant::now();
        loop {
            let mut record: BaseRecord<'_, str, [u8], usize> =
                BaseRecord::with_opaque_to(topic, index).key(message.key);
            if let Some(payload) = message.payload {
                record = record.payload(payload);
            }
            if let (Some(partition), false) = (message.partition, dead) {
                record = record.partition(partition);
            }
            if let Some(dead) = message.dead {
                record = record.headers(Self::headers(dead));
            }
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if started.elapsed() < DELIVERY_LIMIT =>
                {
                    self.producer.poll(Duration::ZERO);
                    crate::pause(POLL_PAUSE);
                }
                Err((KafkaError::MessageProduction(code), _)) if is_permanent(code) && !dead => {
                    return Err(Failure::Rejected(vec![(index, code.to_string())]));
                }
                Err((error, _)) => {
                    return Err(match self.producer.client().fatal_error() {
                        Some((_, reason)) => Failure::Fatal(reason),
                        None => Failure::Abort(error.to_string()),
                    });
                }
            }
        }
    }

    /// A commit with a message in flight takes 100 ms or a multiple of it, so
    /// deliveries are awaited first.
    fn drain(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let mut left = self.producer.in_flight_count();
        while left > 0 {
            if started.elapsed() > DELIVERY_LIMIT {
                return Err(Failure::Abort("deliveries do not come".to_owned()));
            }
            self.producer.poll(Duration::ZERO);
            let before = std::mem::replace(&mut left, self.producer.in_flight_count());
            if left == before {
                crate::pause(POLL_PAUSE);
            }
        }
        self.delivered()
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.producer
            .commit_transaction(CALL_TIMEOUT)
            .map_err(|error| failure(&error))
    }

    fn abort(&mut self) -> Result<(), Failure> {
        self.producer
            .abort_transaction(CALL_TIMEOUT)
            .map_err(|error| failure(&error))
    }

    fn end_offsets(&mut self) -> Result<Vec<i64>, Failure> {
        (0..self.record_partitions)
            .map(|partition| {
                self.producer
                    .client()
                    .fetch_watermarks(&self.topics.records, partition, CALL_TIMEOUT)
                    .map(|(_, high)| high)
                    .map_err(|error| Failure::Retry(error.to_string()))
            })
            .collect()
    }
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").finish_non_exhaustive()
    }
}
