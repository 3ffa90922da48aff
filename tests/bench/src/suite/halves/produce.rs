//! Producing alone: sends the messages of the records topic again, by a plain
//! client with the worker's settings.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chassis::kafka::KafkaArgs;
use clap::Parser as _;
use rdkafka::{
    Message as _,
    config::{ClientConfig, FromClientConfig as _},
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use crate::system::Servers;

/// Records in one transaction: the worker's maximum.
const TRANSACTION: usize = 10_000;

/// Time limit of a call to Kafka.
const CALL: Duration = Duration::from_secs(30);

/// Records per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Produced {
    /// With transactions.
    pub(super) transactions: f64,
    /// Without transactions.
    pub(super) plain: f64,
}

type Messages = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, clap::Parser)]
struct ProducerArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Sends messages of the records topic to the topic of dead letters, which has as
/// many partitions.
pub(super) async fn measure(
    servers: &Servers,
    prefix: &str,
    most: usize,
) -> anyhow::Result<Produced> {
    let client = servers.client();
    let kafka =
        ProducerArgs::try_parse_from(["", "--kafka-bootstrap", &servers.bootstrap()])?.kafka;
    let (from, to) = (format!("{prefix}records"), format!("{prefix}dead-letters"));
    let id = format!("{prefix}bench");
    tokio::task::spawn_blocking(move || {
        let messages = read(client, &from, most)?;
        let plain = BaseProducer::from_config(&kafka.producer("bench"))?;
        let transactional = BaseProducer::from_config(&kafka.transactional_producer("bench", &id))?;
        transactional.init_transactions(CALL)?;
        // Each is first once, as the first one finds cold caches.
        let (mut in_transactions, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            alone.push(send(&plain, &to, &messages, false)?);
            in_transactions.push(send(&transactional, &to, &messages, true)?);
            in_transactions.push(send(&transactional, &to, &messages, true)?);
            alone.push(send(&plain, &to, &messages, false)?);
        }
        let best = |rates: Vec<f64>| rates.into_iter().fold(0.0, f64::max);
        Ok(Produced {
            transactions: best(in_transactions),
            plain: best(alone),
        })
    })
    .await?
}

fn read(mut client: ClientConfig, topic: &str, most: usize) -> anyhow::Result<Messages> {
    let consumer: BaseConsumer = client
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), CALL)?;
    let partitions = metadata.topics().first().context("no topic")?.partitions();
    let mut all = rdkafka::TopicPartitionList::new();
    for partition in partitions {
        all.add_partition_offset(topic, partition.id(), rdkafka::Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let (mut messages, until) = (Messages::new(), Instant::now() + CALL);
    while messages.len() < most {
        ensure!(
            Instant::now() < until,
            "{topic} has {} messages",
            messages.len()
        );
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message?;
            let (key, value) = (message.key(), message.payload());
            messages.push((
                key.unwrap_or_default().to_vec(),
                value.unwrap_or_default().to_vec(),
            ));
        }
    }
    Ok(messages)
}

/// Sends the messages; records per second.
fn send(
    producer: &BaseProducer,
    topic: &str,
    messages: &Messages,
    transactions: bool,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    for group in messages.chunks(TRANSACTION) {
        if transactions {
            producer.begin_transaction()?;
        }
        for (key, value) in group {
            enqueue(producer, topic, key, value)?;
        }
        if transactions {
            producer.flush(CALL)?;
            producer.commit_transaction(CALL)?;
        }
    }
    producer.flush(CALL)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
    Ok(messages.len() as f64 / began.elapsed().as_secs_f64())
}

/// Sends a message; waits while the client's queue is full.
pub(in crate::suite) fn enqueue(
    producer: &BaseProducer,
    topic: &str,
    key: &[u8],
    value: &[u8],
) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => {
                producer.poll(Duration::ZERO);
                return Ok(());
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
