//! Why a topic could not be read.

use std::time::Duration;

use rdkafka::error::KafkaError;

/// Why a topic could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client or Kafka refused.
    #[error("cannot read topic {topic}")]
    Kafka {
        /// Name of the topic.
        topic: String,
        /// What the client says.
        #[source]
        source: KafkaError,
    },
    /// The broker that was asked does not know the topic, or not yet.
    #[error("kafka does not know topic {topic}")]
    UnknownTopic {
        /// Name of the topic.
        topic: String,
    },
    /// A transaction hides what was committed after it.
    #[error(
        "a transaction on partition {partition} of topic {topic} is open at offset {offset} for \
         {silence:?}; Kafka ends it after its transaction.timeout.ms, at most 15 min; if it stays \
         open, its end marker was lost: abort it with kafka-transactions.sh"
    )]
    OpenTransaction {
        /// Name of the topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first offset that is hidden.
        offset: i64,
        /// How long its end was awaited.
        silence: Duration,
    },
    /// Neither a message nor the end of a partition came for too long.
    #[error("the end of topic {topic} was not reached: nothing came for {silence:?}")]
    Silent {
        /// Name of the topic.
        topic: String,
        /// How long nothing came.
        silence: Duration,
    },
}
