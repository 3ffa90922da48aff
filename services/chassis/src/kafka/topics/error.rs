//! Why topics cannot be used, and how long each reason is waited out.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long a broker may take until it knows a topic that another one created.
pub(super) const PROPAGATION: Duration = Duration::from_secs(30);
/// The same for the rest of its partitions. Shorter, as a topic with too few is
/// a common mistake, and brokers get all partitions of a topic at once.
pub(super) const PARTITIONS_PROPAGATION: Duration = Duration::from_secs(5);

/// Why the topics cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicsError {
    /// The settings make no client.
    #[error("the settings of Kafka's clients are refused")]
    Client(#[source] KafkaError),
    /// Kafka did not answer.
    #[error("kafka does not answer")]
    Unavailable(#[source] KafkaError),
    /// Kafka cannot be reached for a reason that settings may have.
    #[error("{remedy}: {said}")]
    Unreachable {
        /// What to look at.
        remedy: &'static str,
        /// What the client says.
        said: String,
    },
    /// A right is missing.
    #[error(
        "kafka denies {right} on topic {topic}: give the user of KAFKA_USERNAME, or of the \
         client's certificate, that right{alternative}"
    )]
    Denied {
        /// Name of the topic.
        topic: String,
        /// Name of the right, as Kafka's ACLs name it.
        right: &'static str,
        /// What else would do.
        alternative: String,
    },
    /// Kafka refused to create a topic.
    #[error("kafka refused to create topic {topic}: {code}")]
    Refused {
        /// Name of the topic.
        topic: String,
        /// Kafka's reason.
        code: RDKafkaErrorCode,
    },
    /// A broker does not report a property of a topic. It may not know it yet.
    #[error(
        "kafka does not report the {what} of topic {topic}: the broker that was asked does not \
         know the topic yet, or KAFKA_USERNAME lacks the ACLs Describe and DescribeConfigs on it"
    )]
    NotReported {
        /// Name of the topic.
        topic: String,
        /// Name of the setting, or `partitions`.
        what: &'static str,
    },
    /// A topic has another number of partitions.
    #[error(
        "topic {topic} has {actual} partitions, {configured} are configured: set \
         {variable}={actual}, or use another TOPIC_PREFIX"
    )]
    Partitions {
        /// Name of the topic.
        topic: String,
        /// Its number of partitions.
        actual: usize,
        /// The configured number.
        configured: i32,
        /// The environment variable that configures it.
        variable: &'static str,
    },
    /// A setting of a topic has another value.
    #[error(
        "topic {topic} has {key}={actual}, {expected} is needed: change it with kafka-configs \
         --alter --add-config {key}={expected}, or use another TOPIC_PREFIX"
    )]
    Setting {
        /// Name of the topic.
        topic: String,
        /// Name of the setting.
        key: &'static str,
        /// Its value.
        actual: String,
        /// The required value.
        expected: String,
    },
}

impl TopicsError {
    /// How long to retry, from the first such error on.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            Self::Unavailable(_) | Self::Unreachable { .. } => Duration::MAX,
            // Rights that were just given reach each broker by itself.
            Self::NotReported { .. } | Self::Denied { .. } => PROPAGATION,
            Self::Partitions {
                actual, configured, ..
            } if usize::try_from(*configured).is_ok_and(|it| *actual < it) => {
                PARTITIONS_PROPAGATION
            }
            Self::Client(_)
            | Self::Refused { .. }
            | Self::Partitions { .. }
            | Self::Setting { .. } => Duration::ZERO,
        }
    }
}
