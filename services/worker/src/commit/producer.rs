//! The transactional log on Kafka: one producer whose transactional id belongs to
//! the partition, so that its start fences every other.

#[cfg(test)]
mod tests;

use std::{
    sync::{Mutex, PoisonError},
    thread,
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
    log::{Failure, RejectedMessage, TransactionalLog},
    transaction::{DeadLetter, Outgoing},
};

/// Limit of one blocking call of the client.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long deliveries are awaited: longer than the client tries to deliver a
/// message.
const DELIVERY_LIMIT: Duration = Duration::from_secs(20);

/// How long a rejection is awaited once a transaction has failed.
const REJECTION_LIMIT: Duration = Duration::from_millis(500);

/// Pause between two polls for deliveries. The client's own wait is not used, as
/// it spins through the last millisecond of its timeout and never ends earlier.
const POLL_PAUSE: Duration = Duration::from_micros(500);
/// Messages sent between two polls for deliveries.
const BETWEEN_POLLS: usize = 64;

/// Remembers which messages were not delivered.
#[derive(Debug, Default)]
struct Deliveries {
    failed: Mutex<Vec<FailedDelivery>>,
}

#[derive(Debug)]
struct FailedDelivery {
    /// Index of the message in its transaction.
    index: usize,
    code: RDKafkaErrorCode,
}

impl Deliveries {
    /// Whether a message was not delivered with such a code since the last call of
    /// [`take_failed`](Self::take_failed).
    fn any_failed(&self, matches: impl Fn(RDKafkaErrorCode) -> bool) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().any(|it| matches(it.code))
    }

    /// The failures since the last call.
    fn take_failed(&self) -> Vec<FailedDelivery> {
        std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
                .push(FailedDelivery { index, code });
        }
    }
}

/// A partition's transactional log on Kafka.
pub(crate) struct KafkaLog {
    producer: BaseProducer<Deliveries>,
    topics: Topics,
}

/// Makes the producer of a partition and fences every other with its id. Blocks
/// for up to 20 s.
pub(crate) fn fence(
    kafka: &KafkaArgs,
    client_id: &str,
    partition: i32,
) -> Result<KafkaLog, Failure> {
    let topics = Topics::with_prefix(&kafka.topic_prefix);
    let id = format!("{}worker.{partition}", kafka.topic_prefix);
    let producer: BaseProducer<Deliveries> = kafka
        .transactional_producer(client_id, &id)
        // Capacity for the largest message, 32 MiB, besides what is queued.
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
    Ok(KafkaLog { producer, topics })
}

/// What to do about each failure of the client.
fn failure(error: &KafkaError) -> Failure {
    let text = error.to_string();
    match error {
        KafkaError::Transaction(inner) if inner.is_fatal() => Failure::Fatal(text),
        KafkaError::Transaction(inner) if inner.txn_requires_abort() => Failure::Abort(text),
        KafkaError::Transaction(inner) if inner.is_retriable() => Failure::Retry(text),
        // Deliveries are late; the transaction is as it was.
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

    /// Waits a moment for the reason why the transaction has failed: the broker may have
    /// rejected a message, and the client reports those first that it has let go for that.
    fn await_rejection(&self) {
        let is_known = || self.producer.context().any_failed(is_permanent);
        self.poll_while(REJECTION_LIMIT, || !is_known());
    }

    /// Takes the outcomes of messages while `goes_on`, for so long at most.
    fn poll_while(&self, limit: Duration, goes_on: impl Fn() -> bool) {
        let started = Instant::now();
        while goes_on() && started.elapsed() < limit {
            self.producer.poll(Duration::ZERO);
            crate::pause(POLL_PAUSE);
        }
    }

    /// Why a message could not be handed over.
    fn refusal(&mut self, error: &KafkaError) -> Failure {
        self.await_rejection();
        match self.delivered() {
            Err(failure) => failure,
            Ok(()) => Failure::Abort(error.to_string()),
        }
    }

    /// Whether every message of the transaction was delivered.
    fn delivered(&self) -> Result<(), Failure> {
        let failed = self.producer.context().take_failed();
        let rejected: Vec<_> = failed
            .iter()
            .filter(|it| is_permanent(it.code))
            .map(|it| RejectedMessage {
                index: it.index,
                error: it.code.to_string(),
            })
            .collect();
        if !rejected.is_empty() {
            return Err(Failure::Rejected(rejected));
        }
        if let Some((error, reason)) = self.producer.client().fatal_error() {
            return Err(Failure::Fatal(format!("{error}: {reason}")));
        }
        match failed.first() {
            None => Ok(()),
            Some(FailedDelivery { code, .. }) => {
                Err(Failure::Abort(format!("delivery failed: {code}")))
            }
        }
    }
}

impl TransactionalLog for KafkaLog {
    fn begin(&mut self) -> Result<(), Failure> {
        // Failures of a transaction that was aborted.
        drop(self.producer.context().take_failed());
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
            // Frees the memory of what has been delivered.
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
            } else if let Some(trace) = message.trace {
                record = record.headers(trace.headers());
            }
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if started.elapsed() < DELIVERY_LIMIT =>
                {
                    self.producer.poll(Duration::ZERO);
                    crate::pause(POLL_PAUSE);
                }
                Err((KafkaError::MessageProduction(code), _)) if is_permanent(code) => {
                    return Err(Failure::Rejected(vec![RejectedMessage {
                        index,
                        error: code.to_string(),
                    }]));
                }
                Err((error, _)) => return Err(self.refusal(&error)),
            }
        }
    }

    /// Awaits deliveries before the commit: librdkafka takes 100 ms or a multiple
    /// of it to commit with a message in flight.
    fn drain(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let mut left = self.producer.in_flight_count();
        while left > 0 {
            if self.producer.context().any_failed(|_| true) {
                // The transaction sends no others.
                self.await_rejection();
                break;
            }
            if started.elapsed() > DELIVERY_LIMIT {
                return Err(Failure::Abort(
                    "messages were not delivered in time".to_owned(),
                ));
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
        let aborted = thread::scope(|scope| {
            let aborting = scope.spawn(|| self.producer.abort_transaction(CALL_TIMEOUT));
            // It waits until somebody has taken the outcome of each message.
            self.poll_while(Duration::MAX, || !aborting.is_finished());
            aborting.join()
        });
        match aborted {
            Ok(aborted) => aborted.map_err(|error| failure(&error))?,
            Err(_panic) => return Err(Failure::Fatal("the abort panicked".to_owned())),
        }
        // What was not sent would else count as a failure of the next transaction.
        self.poll_while(CALL_TIMEOUT, || self.producer.in_flight_count() > 0);
        Ok(())
    }
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").finish_non_exhaustive()
    }
}
