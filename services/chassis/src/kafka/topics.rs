//! Creates the topics that are missing, and refuses those that differ.

mod cluster;
mod error;

use std::{collections::BTreeSet, time::Duration};

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResourceResult, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
    metadata::MetadataTopic,
};

use self::cluster::Cluster;
pub(crate) use self::error::TopicsError;
use super::KafkaArgs;

/// How long one request to the cluster may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The setting of a topic that says how large a batch of messages may be.
const LARGEST: &str = "max.message.bytes";
/// What to ask for in bytes where a cluster refuses a larger one: the caps of Confluent
/// Cloud's dedicated and other clusters.
const CAPS: [usize; 2] = [20 * 1024 * 1024, 8 * 1024 * 1024];

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

    /// The topic with its settings, and this size of messages in place of its own; the
    /// cluster's default where that is 0.
    fn new_topic<'a>(&'a self, kafka: &KafkaArgs, largest: Option<&'a str>) -> NewTopic<'a> {
        let replication = TopicReplication::Fixed(kafka.replication.unwrap_or(DEFAULT));
        let topic = NewTopic::new(&self.name, self.partitions(kafka), replication);
        let settings = self.required.iter().chain(&self.advised);
        settings.fold(topic, |topic, (key, value)| match largest {
            Some("0") if *key == LARGEST => topic,
            Some(largest) if *key == LARGEST => topic.set(key, largest),
            _ => topic.set(key, value),
        })
    }

    /// The command that creates it.
    fn command(&self, kafka: &KafkaArgs) -> String {
        let settings = self.required.iter().chain(&self.advised);
        let command = format!(
            "kafka-topics.sh --create --topic {} --partitions {}",
            self.name,
            self.partitions(kafka)
        );
        settings.fold(command, |command, (key, value)| {
            format!("{command} --config {key}={value}")
        })
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

/// Kafka's number for the brokers' default.
const DEFAULT: i32 = -1;

/// Creates the missing topics, then checks all. Several processes may do this at
/// the same time. Topics that exist need no right to create.
pub(crate) async fn ensure(kafka: &KafkaArgs, topics: &[TopicSpec]) -> Result<(), TopicsError> {
    let cluster = Cluster::new(kafka)?;
    let seen = cluster.metadata(None)?;
    let seen: BTreeSet<&str> = seen.topics().iter().map(MetadataTopic::name).collect();
    let missing: Vec<_> = topics
        .iter()
        .filter(|it| !seen.contains(it.name.as_str()))
        .collect();
    let admin: AdminClient<DefaultClientContext> = kafka
        .client("topics")
        .create()
        .map_err(TopicsError::Client)?;
    create(&admin, kafka, &missing).await?;
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for topic in topics {
        let metadata = cluster.metadata(Some(&topic.name))?;
        let reported = metadata.topics().first();
        if reported
            .and_then(MetadataTopic::error)
            .map(RDKafkaErrorCode::from)
            == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
        {
            return Err(denied(topic, "Describe", String::new()));
        }
        let partitions = reported.map(|it| it.partitions().len());
        check_partitions(topic, topic.partitions(kafka), partitions)?;
        let described = admin
            .describe_configs(&[ResourceSpecifier::Topic(&topic.name)], &options)
            .await
            .map_err(TopicsError::Unavailable)?;
        check_settings(topic, described.first())?;
    }
    Ok(())
}

/// Creates topics. Where the cluster caps the size of messages, they get the largest
/// that it allows.
async fn create(
    admin: &AdminClient<DefaultClientContext>,
    kafka: &KafkaArgs,
    topics: &[&TopicSpec],
) -> Result<(), TopicsError> {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let mut left = topics.to_vec();
    let caps = CAPS.map(|it| it.to_string());
    let sizes = caps.iter().map(String::as_str).map(Some);
    for size in [None].into_iter().chain(sizes).chain([Some("0")]) {
        if left.is_empty() {
            break;
        }
        let new: Vec<_> = left.iter().map(|it| it.new_topic(kafka, size)).collect();
        let created = admin
            .create_topics(&new, &options)
            .await
            .map_err(TopicsError::Unavailable)?;
        let mut refused = Vec::new();
        for (topic, outcome) in left.into_iter().zip(created) {
            match outcome {
                Ok(name) => tracing::info!(topic = name, size, "topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((
                    _,
                    RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed,
                )) => {
                    let alternative = format!(", or create it: {}", topic.command(kafka));
                    return Err(denied(topic, "Create", alternative));
                }
                Err((_, RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig))
                    if size != Some("0")
                        && topic.advised.iter().any(|(key, _)| *key == LARGEST) =>
                {
                    refused.push(topic);
                }
                Err((topic, code)) => return Err(TopicsError::Refused { topic, code }),
            }
        }
        left = refused;
    }
    Ok(())
}

fn denied(topic: &TopicSpec, right: &'static str, alternative: String) -> TopicsError {
    TopicsError::Denied {
        topic: topic.name.clone(),
        right,
        alternative,
    }
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

    use super::{
        error::{PARTITIONS_PROPAGATION, PROPAGATION},
        *,
    };

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
