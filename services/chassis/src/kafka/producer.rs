//! A producer of few messages. It costs next to nothing while none is being sent.

use std::{
    fmt,
    sync::{Arc, Weak},
    thread::{self, Thread},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::ToBytes,
    producer::{
        BaseProducer, BaseRecord, DeliveryResult, FutureRecord, Producer as _, ProducerContext,
    },
};
use tokio::{sync::oneshot, time::Instant};

/// Pause between two looks for acknowledgements. One takes a few ms to come.
const PAUSE: Duration = Duration::from_millis(1);
/// The same while nothing is sent. What the client reports then, such as that no broker
/// answers, stays in memory until it is taken.
const IDLE_PAUSE: Duration = Duration::from_secs(1);

/// Sends single messages, and awaits each. Cheap to clone.
///
/// rdkafka's own producer of this kind waits for events with a timeout, the last
/// millisecond of which it spins: half a second of CPU time a minute.
#[derive(Clone)]
pub struct SingleProducer {
    producer: Arc<BaseProducer<Deliveries>>,
    /// Takes acknowledgements.
    poller: Thread,
}

/// Where a message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

type Outcome = Result<Delivered, KafkaError>;

/// Hands each outcome to who waits for it.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Outcome>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waits: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok(Delivered {
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody waits for it if the call was cancelled.
        drop(waits.send(outcome));
    }
}

impl SingleProducer {
    /// A producer with these settings. Sends nothing yet.
    pub fn new(settings: &ClientConfig) -> Result<Self, KafkaError> {
        let producer = Arc::new(settings.create_with_context(Deliveries)?);
        let polled = Arc::downgrade(&producer);
        let poller = thread::Builder::new()
            .name("acknowledgements".to_owned())
            .spawn(move || poll(&polled))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self {
            producer,
            poller: poller.thread().clone(),
        })
    }

    /// Sends a message and waits until it is acknowledged, or until its
    /// `message.timeout.ms`. Before that it waits up to `queue_limit` for place in the
    /// client's queue.
    pub async fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
        &self,
        message: FutureRecord<'_, K, P>,
        queue_limit: Duration,
    ) -> Outcome {
        let (done, delivered) = oneshot::channel();
        let mut message = BaseRecord {
            topic: message.topic,
            partition: message.partition,
            payload: message.payload,
            key: message.key,
            timestamp: message.timestamp,
            headers: message.headers,
            delivery_opaque: Box::new(done),
        };
        let began = Instant::now();
        loop {
            match self.producer.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused))
                    if began.elapsed() < queue_limit =>
                {
                    message = refused;
                }
                Err((error, _)) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.poller.unpark();
        // INVARIANT: the client reports the outcome of every message.
        delivered.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Whether it never works again.
    pub fn has_failed(&self) -> bool {
        self.producer.client().fatal_error().is_some()
    }
}

/// Takes acknowledgements until the producer is dropped.
fn poll(producer: &Weak<BaseProducer<Deliveries>>) {
    while let Some(producer) = producer.upgrade() {
        // Not with a timeout: see [`SingleProducer`].
        producer.poll(Duration::ZERO);
        let is_idle = producer.in_flight_count() == 0;
        drop(producer);
        thread::park_timeout(if is_idle { IDLE_PAUSE } else { PAUSE });
    }
}

impl fmt::Debug for SingleProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleProducer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
    use tokio::task::JoinSet;

    use super::*;

    /// A cluster, and a producer for its topic `t` of one partition, which gives a
    /// message up after that many ms.
    fn start(timeout_ms: u32) -> (MockCluster<'static, DefaultProducerContext>, SingleProducer) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let kafka = crate::kafka::tests::args(&cluster.bootstrap_servers());
        let mut settings = kafka.producer("test");
        settings.set("message.timeout.ms", timeout_ms.to_string());
        (cluster, SingleProducer::new(&settings).unwrap())
    }

    #[tokio::test]
    async fn each_message_gets_its_own_position() {
        let (_cluster, producer) = start(30_000);
        let mut sends = JoinSet::new();
        for _ in 0..20 {
            let producer = producer.clone();
            sends.spawn(async move {
                let message = FutureRecord::to("t").key("k").payload("v");
                producer.send(message, Duration::from_secs(1)).await
            });
        }
        let delivered = sends.join_all().await.into_iter();
        let mut offsets: Vec<i64> = delivered.map(|it| it.unwrap().offset).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..20).collect::<Vec<_>>());
        assert!(!producer.has_failed());
    }

    #[tokio::test]
    async fn a_message_that_is_not_acknowledged_in_time_fails() {
        let (cluster, producer) = start(500);
        cluster.broker_down(1).unwrap();
        let message = FutureRecord::to("t").key("k").payload("v");
        let error = producer.send(message, Duration::from_secs(1)).await;
        let code = error.unwrap_err().rdkafka_error_code();
        assert_eq!(code, Some(RDKafkaErrorCode::MessageTimedOut));
    }
}
