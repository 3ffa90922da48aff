//! Writes commands to Kafka, acknowledged by all replicas. All commands of a
//! connection go to one partition.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chassis::{
    kafka::{KafkaArgs, producer::SingleProducer},
    traces::{TARGET, TraceParent},
};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::FutureRecord,
};
use schemas::{
    Command,
    codec::{self, Schema},
    partition_for,
};
use tracing::Instrument as _;

use super::{CommandLog, CommandPosition, ControlError};

/// How long Kafka may take to acknowledge a command.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);

/// Writes to the commands topic.
pub(crate) struct KafkaLog {
    settings: ClientConfig,
    producer: Mutex<SingleProducer>,
    topic: String,
    partitions: i32,
    schema: Schema,
    schema_id: u32,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Creates the producer. Sends nothing yet.
    pub(crate) fn new(kafka: &KafkaArgs, topic: &str, schema_id: u32) -> anyhow::Result<Self> {
        let mut settings = kafka.producer("data-streams-commands");
        settings
            .set("message.timeout.ms", ACKNOWLEDGE.as_millis().to_string())
            // Commands are few, and a caller waits for each.
            .set("linger.ms", "0");
        Ok(Self {
            producer: Mutex::new(SingleProducer::new(&settings)?),
            settings,
            topic: topic.to_owned(),
            partitions: kafka.control_partitions,
            schema: Schema::parse_str(schemas::command::SCHEMA)?,
            schema_id,
        })
    }

    fn producer(&self) -> SingleProducer {
        self.producer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// After a fatal error a producer never works again, so this creates a new
    /// one for the next command.
    fn replace_if_fatal(&self, producer: &SingleProducer, error: &KafkaError) {
        let fatal =
            error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) || producer.has_failed();
        if !fatal {
            return;
        }
        tracing::warn!(%error, "producer of commands replaced");
        match SingleProducer::new(&self.settings) {
            Ok(fresh) => *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => tracing::error!(%error, "cannot create a producer"),
        }
    }
}

#[async_trait]
impl CommandLog for KafkaLog {
    async fn append(&self, command: &Command) -> Result<CommandPosition, ControlError> {
        let value = codec::encode(&self.schema, self.schema_id, command)?;
        let partition = partition_for(command.connection.as_bytes(), self.partitions);
        let mut record = FutureRecord::to(&self.topic)
            .partition(partition)
            .key(&command.connection)
            .payload(&value);
        let trace = tracing::info_span!(
            target: TARGET,
            "write a command",
            otel.kind = "producer",
            messaging.destination.name = self.topic,
            connection = command.connection,
        );
        if let Some(parent) = TraceParent::of(&trace) {
            record = record.headers(parent.headers());
        }
        let producer = self.producer();
        match producer.send(record, ACKNOWLEDGE).instrument(trace).await {
            Ok(delivery) => Ok(CommandPosition {
                partition: delivery.partition,
                offset: delivery.offset,
            }),
            Err(error) => {
                self.replace_if_fatal(&producer, &error);
                Err(ControlError::Unavailable(Box::new(error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::DesiredState;

    use super::*;
    use crate::config;

    #[tokio::test]
    async fn a_command_that_does_not_fit_its_schema_is_refused_without_a_word_to_kafka() {
        // Nothing listens on this port.
        let config = config::tests::parse(&["--kafka-bootstrap", "127.0.0.1:9"]);
        let mut log = KafkaLog::new(&config.kafka, "t.commands", 1).unwrap();
        let strict = r#"{"type": "record", "name": "Command", "fields": [
            {"name": "command_id", "type": "string"}]}"#;
        log.schema = Schema::parse_str(strict).unwrap();
        let command = Command {
            command_id: "c1".to_owned(),
            connection: "a".to_owned(),
            state: DesiredState::Running,
            credential: "env:TOKEN".to_owned(),
            streams: Vec::new(),
            interval_ms: 1,
            destination: "a".to_owned(),
            ..Command::default()
        };
        let error = log.append(&command).await.unwrap_err();
        assert!(matches!(error, ControlError::Unwritable(_)), "{error}");
        assert!(
            error.to_string().contains("Command does not fit"),
            "{error}"
        );
    }
}
