//! Creates the topics that are missing, and refuses those that differ.

use std::time::Duration;

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResourceResult, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::KafkaArgs;

/// How long one request to the cluster may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may take until it knows a topic that another one created.
const PROPAGATION: Duration = Duration::from_secs(30);
/// The same for the rest of its partitions. Shorter, as a topic with too few is
/// a common mistake, and brokers get all partitions of a topic at once.
const PARTITIONS_PROPAGATION: Duration = Duration::from_secs(5);

/// A topic that has to exist.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Full name.
    pub name: String,
    /// Whether it has as many partitions as all control topics.
    pub is_control: bool,
    /// Settings that must have these values.
    pub required: Vec<(&'static str, String)>,
    /// Settings for its creation, not checked later.
    pub advised: Vec<(&'static str, String)>,
}

impl TopicSpec {
    /// The configured number of partitions.
    pub(crate) fn partitions(&self, kafka: &KafkaArgs) -> i32 {
        if self.is_control {
            kafka.control_partitions
        } else {
            kafka.record_partitions
        }
    }

    /// The environment variable that configures it.
    fn partitions_variable(&self) -> &'static str {
        if self.is_control {
            "CONTROL_PARTITIONS"
        } else {
            "RECORD_PARTITIONS"
        }
    }
}

/// Why the topics cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicsError {
    /// Kafka did not answer.
    #[error("kafka does not answer")]
    Unavailable(#[source] KafkaError),
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
            Self::Unavailable(_) => Duration::MAX,
            Self::NotReported { .. } => PROPAGATION,
            Self::Partitions {
                actual, configured, ..
            } if usize::try_from(*configured).is_ok_and(|it| *actual < it) => {
                PARTITIONS_PROPAGATION
            }
            Self::Refused { .. } | Self::Partitions { .. } | Self::Setting { .. } => Duration::ZERO,
        }
    }
}

/// Creates the missing topics, then checks all. Several processes may do this at
/// the same time.
pub(crate) async fn ensure(kafka: &KafkaArgs, topics: &[TopicSpec]) -> Result<(), TopicsError> {
    let admin: AdminClient<DefaultClientContext> = kafka
        .client("topics")
        .create()
        .map_err(TopicsError::Unavailable)?;
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let new_topics: Vec<_> = topics
        .iter()
        .map(|topic| {
            topic.required.iter().chain(&topic.advised).fold(
                NewTopic::new(
                    &topic.name,
                    topic.partitions(kafka),
                    TopicReplication::Fixed(kafka.replication),
                ),
                |new_topic, (key, value)| new_topic.set(key, value),
            )
        })
        .collect();
    let created = admin
        .create_topics(&new_topics, &options)
        .await
        .map_err(TopicsError::Unavailable)?;
    for outcome in created {
        match outcome {
            Ok(topic) => tracing::info!(topic, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(TopicsError::Refused { topic, code }),
        }
    }
    for topic in topics {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(&topic.name), TIMEOUT)
            .map_err(TopicsError::Unavailable)?;
        let partitions = metadata.topics().first().map(|it| it.partitions().len());
        check_partitions(topic, topic.partitions(kafka), partitions)?;
        let described = admin
            .describe_configs(&[ResourceSpecifier::Topic(&topic.name)], &options)
            .await
            .map_err(TopicsError::Unavailable)?;
        check_settings(topic, described.first())?;
    }
    Ok(())
}

/// Compares the number of partitions with what a broker answered.
fn check_partitions(
    topic: &TopicSpec,
    configured: i32,
    reported: Option<usize>,
) -> Result<(), TopicsError> {
    match reported {
        // The answer of a broker that does not know the topic or its leader yet.
        None | Some(0) => Err(TopicsError::NotReported {
            topic: topic.name.clone(),
            what: "partitions",
        }),
        Some(actual) if usize::try_from(configured) == Ok(actual) => Ok(()),
        Some(actual) => Err(TopicsError::Partitions {
            topic: topic.name.clone(),
            actual,
            configured,
            variable: topic.partitions_variable(),
        }),
    }
}

/// Compares the required settings with what a broker answered.
fn check_settings(
    topic: &TopicSpec,
    described: Option<&ConfigResourceResult>,
) -> Result<(), TopicsError> {
    for (key, expected) in &topic.required {
        // A broker that does not know the topic describes it without settings;
        // the client drops the error that comes with them.
        let reported = described
            .and_then(|it| it.as_ref().ok())
            .and_then(|it| it.get(key)?.value.as_ref());
        match reported {
            None => {
                return Err(TopicsError::NotReported {
                    topic: topic.name.clone(),
                    what: key,
                });
            }
            Some(actual) if actual == expected => {}
            Some(actual) => {
                return Err(TopicsError::Setting {
                    topic: topic.name.clone(),
                    key,
                    actual: actual.clone(),
                    expected: expected.clone(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigResource, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    fn spec() -> TopicSpec {
        TopicSpec {
            name: "x.commands".to_owned(),
            is_control: true,
            required: vec![("cleanup.policy", "compact".to_owned())],
            advised: Vec::new(),
        }
    }

    fn described(entries: &[(&str, &str)]) -> ConfigResource {
        let entry = |(name, value): &(&str, &str)| ConfigEntry {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        ConfigResource {
            specifier: OwnedResourceSpecifier::Topic("x.commands".to_owned()),
            entries: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_setting_that_a_broker_does_not_report_yet_is_asked_for_again() {
        for answer in [
            None,
            // The answer of a broker that does not know the topic yet.
            Some(Ok(described(&[]))),
            Some(Ok(described(&[("retention.ms", "-1")]))),
            Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition)),
            Some(Err(RDKafkaErrorCode::LeaderNotAvailable)),
        ] {
            let error = check_settings(&spec(), answer.as_ref()).unwrap_err();
            assert_eq!(error.patience(), PROPAGATION, "{answer:?}: {error}");
            assert!(
                !error.to_string().contains("--alter"),
                "{answer:?}: {error}"
            );
        }
    }

    #[test]
    fn a_setting_with_another_value_is_refused_with_the_remedy() {
        let answer = Ok(described(&[("cleanup.policy", "delete")]));
        let error = check_settings(&spec(), Some(&answer)).unwrap_err();
        assert_eq!(error.patience(), Duration::ZERO);
        assert!(
            error
                .to_string()
                .contains("--alter --add-config cleanup.policy=compact"),
            "{error}"
        );
        let answer = Ok(described(&[("cleanup.policy", "compact")]));
        assert!(check_settings(&spec(), Some(&answer)).is_ok());
    }

    #[test]
    fn partitions_that_a_broker_does_not_report_yet_are_asked_for_again() {
        for reported in [None, Some(0)] {
            let error = check_partitions(&spec(), 8, reported).unwrap_err();
            assert_eq!(error.patience(), PROPAGATION, "{reported:?}: {error}");
            assert!(!error.to_string().contains("CONTROL_PARTITIONS"), "{error}");
        }
        let fewer = check_partitions(&spec(), 8, Some(3)).unwrap_err();
        assert_eq!(fewer.patience(), PARTITIONS_PROPAGATION);
        assert!(
            fewer.to_string().contains("CONTROL_PARTITIONS=3"),
            "{fewer}"
        );
        assert!(check_partitions(&spec(), 8, Some(8)).is_ok());
    }

    #[test]
    fn more_partitions_than_configured_are_refused_with_the_remedy() {
        let error = check_partitions(&spec(), 8, Some(9)).unwrap_err();
        assert_eq!(error.patience(), Duration::ZERO);
        assert!(
            error.to_string().contains("CONTROL_PARTITIONS=9"),
            "{error}"
        );
    }
}
