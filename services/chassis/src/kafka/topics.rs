//! Creates the topics that are missing, and refuses those that differ.
//!
//! It must not know which topics there are.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::KafkaArgs;

/// How long one request to the cluster may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One topic as it has to be.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Full name.
    pub name: String,
    /// Whether its partition count is the one that all control topics share.
    pub is_control: bool,
    /// Settings whose difference is refused.
    pub required: Vec<(&'static str, String)>,
    /// Settings given at creation only.
    pub advised: Vec<(&'static str, String)>,
}

impl TopicSpec {
    /// Partitions that it should have.
    pub(crate) fn partitions(&self, kafka: &KafkaArgs) -> i32 {
        if self.is_control {
            kafka.control_partitions
        } else {
            kafka.record_partitions
        }
    }

    /// The variable that sets them.
    fn partitions_variable(&self) -> &'static str {
        if self.is_control {
            "CONTROL_PARTITIONS"
        } else {
            "RECORD_PARTITIONS"
        }
    }
}

/// Why the topics are not as they have to be.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// Kafka did not answer.
    #[error("kafka does not answer")]
    Unavailable(#[source] KafkaError),
    /// Kafka refused to create one.
    #[error("kafka refused to create topic {topic}: {code}")]
    Refused {
        /// Name of the topic.
        topic: String,
        /// Kafka's reason.
        code: RDKafkaErrorCode,
    },
    /// One has another number of partitions.
    #[error(
        "topic {topic} has {actual} partitions, {configured} are configured: set \
         {variable}={actual}, or use another TOPIC_PREFIX"
    )]
    Partitions {
        /// Name of the topic.
        topic: String,
        /// Partitions it has.
        actual: usize,
        /// Partitions it should have.
        configured: i32,
        /// The variable that says so.
        variable: &'static str,
    },
    /// One has another setting.
    #[error(
        "topic {topic} has {key}={actual}, {expected} is needed: change it with kafka-configs \
         --alter --add-config {key}={expected}, or use another TOPIC_PREFIX"
    )]
    Setting {
        /// Name of the topic.
        topic: String,
        /// Name of the setting.
        key: &'static str,
        /// What it is.
        actual: String,
        /// What it has to be.
        expected: String,
    },
}

impl TopicsError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused { .. } | Self::Partitions { .. } | Self::Setting { .. } => false,
        }
    }
}

/// Creates what is missing, then checks all. Any number of processes may do
/// this at once.
pub async fn ensure(kafka: &KafkaArgs, topics: &[TopicSpec]) -> Result<(), TopicsError> {
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
        check_partitions(&admin, kafka, topic).await?;
    }
    check_settings(&admin, &options, topics).await
}

async fn check_partitions(
    admin: &AdminClient<DefaultClientContext>,
    kafka: &KafkaArgs,
    topic: &TopicSpec,
) -> Result<(), TopicsError> {
    // A topic that was created a moment ago may not have its leaders yet.
    for _ in 0..50 {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(&topic.name), TIMEOUT)
            .map_err(TopicsError::Unavailable)?;
        let actual = metadata
            .topics()
            .first()
            .map_or(0, |it| it.partitions().len());
        if actual == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let configured = topic.partitions(kafka);
        if usize::try_from(configured) == Ok(actual) {
            return Ok(());
        }
        return Err(TopicsError::Partitions {
            topic: topic.name.clone(),
            actual,
            configured,
            variable: topic.partitions_variable(),
        });
    }
    Err(TopicsError::Unavailable(KafkaError::MetadataFetch(
        RDKafkaErrorCode::UnknownTopicOrPartition,
    )))
}

async fn check_settings(
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
    topics: &[TopicSpec],
) -> Result<(), TopicsError> {
    for topic in topics {
        let described = admin
            .describe_configs(&[ResourceSpecifier::Topic(&topic.name)], options)
            .await
            .map_err(TopicsError::Unavailable)?;
        let Some(Ok(resource)) = described.into_iter().next() else {
            return Err(TopicsError::Unavailable(KafkaError::AdminOp(
                RDKafkaErrorCode::InvalidConfig,
            )));
        };
        for (key, expected) in &topic.required {
            let actual = resource.get(key).and_then(|entry| entry.value.clone());
            if actual.as_deref() != Some(expected) {
                return Err(TopicsError::Setting {
                    topic: topic.name.clone(),
                    key,
                    actual: actual.unwrap_or_else(|| "nothing".to_owned()),
                    expected: expected.clone(),
                });
            }
        }
    }
    Ok(())
}
