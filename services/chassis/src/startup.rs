//! What a process waits for before anything else: its topics, its schemas, and
//! a registry that has the schemas which messages were written with.
//!
//! It must not know which topics and schemas there are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    Context,
    kafka::{
        KafkaArgs, sample,
        topics::{self, TopicSpec, TopicsError},
    },
    registry::{Registry, RegistryError},
    schema_lookup::{FoundSchema, MessageRef, MessageRules, SchemaLookup},
    with_causes,
};

/// Pause before a request to a server that did not answer is repeated.
const RETRY: Duration = Duration::from_millis(500);
/// The same for a registry whose data a person has to restore.
const RECHECK: Duration = Duration::from_secs(2);

/// What a process needs before it starts.
#[derive(Debug, Clone, Copy)]
pub struct Contract<'a, const SCHEMAS: usize> {
    /// All topics.
    pub topics: &'a [TopicSpec],
    /// Subjects with their schemas, in the order in which they register, so
    /// that a new registry gives them the same ids.
    pub schemas: &'a [(String, &'static str); SCHEMAS],
    /// How long to wait for another process to register them first: two that
    /// register at the same time leave gaps between the ids.
    pub patience: Duration,
    /// Names of the topics whose messages this process reads.
    pub read: &'a [&'a str],
    /// Which messages are ours.
    pub rules: &'a Arc<MessageRules>,
}

/// Creates the topics that are missing, registers the schemas, and compares the
/// registry with the first and the last messages of each partition that this
/// process reads. Returns the ids of the schemas, in their order.
///
/// Waits for servers that do not answer, and while an id of a message means
/// another schema in the registry, or none: a process that continued would
/// write ids that mean nothing once the registry's data is restored. Health
/// gives the reason.
pub async fn prepare<const SCHEMAS: usize>(
    context: &Context,
    kafka: &KafkaArgs,
    registry: &Registry,
    contract: Contract<'_, SCHEMAS>,
) -> anyhow::Result<[u32; SCHEMAS]> {
    create_topics(context, kafka, contract.topics).await?;
    let ids = agreed_ids(
        || register(context, registry, contract),
        || async {
            let Some(obstacle) = compare(kafka, registry, contract).await? else {
                return anyhow::Ok(true);
            };
            context.health().fails(obstacle.condition, obstacle.reason);
            tokio::time::sleep(obstacle.pause).await;
            Ok(false)
        },
    )
    .await?;
    context.health().holds("kafka");
    context.health().holds("registry");
    Ok(ids)
}

/// Registers until the registry agrees with the log and gives the same ids before
/// and after that comparison. If its data was restored in between, the ids of
/// before mean nothing.
async fn agreed_ids<T, R, A, E>(
    mut register: impl FnMut() -> R,
    mut agrees: impl FnMut() -> A,
) -> anyhow::Result<T>
where
    T: PartialEq,
    R: Future<Output = Result<T, E>>,
    A: Future<Output = anyhow::Result<bool>>,
    E: Into<anyhow::Error>,
{
    loop {
        let ids = register().await.map_err(Into::into)?;
        if agrees().await? && register().await.map_err(Into::into)? == ids {
            return Ok(ids);
        }
    }
}

/// Waits while Kafka does not answer or a broker does not know a new topic yet.
async fn create_topics(
    context: &Context,
    kafka: &KafkaArgs,
    specs: &[TopicSpec],
) -> Result<(), TopicsError> {
    let mut failing_since = None;
    loop {
        let error = match topics::ensure(kafka, specs).await {
            Ok(()) => break,
            Err(error) => error,
        };
        match error.patience() {
            Duration::MAX => failing_since = None,
            patience => {
                let since: &mut Instant = failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience {
                    return Err(error);
                }
            }
        }
        context.health().fails("kafka", with_causes(&error));
        tokio::time::sleep(RETRY).await;
    }
    context.health().holds("kafka");
    Ok(())
}

async fn register<const SCHEMAS: usize>(
    context: &Context,
    registry: &Registry,
    contract: Contract<'_, SCHEMAS>,
) -> Result<[u32; SCHEMAS], RegistryError> {
    let mut ids = [0; SCHEMAS];
    let began = Instant::now();
    for (id, (subject, schema)) in ids.iter_mut().zip(contract.schemas) {
        *id = loop {
            let found = if began.elapsed() < contract.patience {
                registry.registered(subject, schema).await
            } else {
                registry.register(subject, schema).await.map(Some)
            };
            match found {
                Ok(Some(id)) => break id,
                Ok(None) => {}
                Err(error) if error.is_transient() => {
                    context.health().fails("registry", with_causes(&error));
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY).await;
        };
    }
    Ok(ids)
}

/// Why a process cannot start yet.
struct Obstacle {
    condition: &'static str,
    reason: String,
    /// Before the next try.
    pause: Duration,
}

async fn compare<const SCHEMAS: usize>(
    kafka: &KafkaArgs,
    registry: &Registry,
    contract: Contract<'_, SCHEMAS>,
) -> anyhow::Result<Option<Obstacle>> {
    let is_read = |spec: &&TopicSpec| contract.read.contains(&spec.name.as_str());
    let mut samples = Vec::new();
    for spec in contract.topics.iter().filter(is_read) {
        let (kafka, topic, count) = (kafka.clone(), spec.name.clone(), spec.partitions(kafka));
        // All at once: most of the time is spent on waiting.
        let reading = tokio::task::spawn_blocking(move || sample::ends(&kafka, &topic, count));
        samples.push((&spec.name, reading));
    }
    let lookup = SchemaLookup::new(Arc::new(registry.clone()), Arc::clone(contract.rules), []);
    for (topic, reading) in samples {
        let messages = match reading.await.context("reading the log panicked")? {
            Ok(messages) => messages,
            Err(error) => {
                return Ok(Some(Obstacle {
                    condition: "kafka",
                    reason: with_causes(&error),
                    pause: RETRY,
                }));
            }
        };
        for message in messages {
            // Not `find`: two topics may have messages with one id.
            let found = lookup.check(MessageRef {
                topic,
                key: &message.key,
                value: &message.value,
            });
            let (reason, pause) = match found.await {
                // Poison is skipped, and logged, by those who read it later.
                Ok(FoundSchema::Known(_) | FoundSchema::Poison(_)) => continue,
                Ok(FoundSchema::Later(reason)) => (reason, RECHECK),
                Err(error) => (error.to_string(), RETRY),
            };
            return Ok(Some(Obstacle {
                condition: "registry",
                reason,
                pause,
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque, convert::Infallible};

    use super::*;

    /// The ids that are agreed on, if the registry gives these in turn, and agrees
    /// with the log or not.
    async fn agreed(given: &[[u32; 2]], agreeing: &[bool]) -> [u32; 2] {
        let given = RefCell::new(VecDeque::from(given.to_vec()));
        let agreeing = RefCell::new(VecDeque::from(agreeing.to_vec()));
        let ids = agreed_ids(
            async || Ok::<_, Infallible>(given.borrow_mut().pop_front().unwrap()),
            async || Ok(agreeing.borrow_mut().pop_front().unwrap()),
        )
        .await
        .unwrap();
        assert!(given.borrow().is_empty() && agreeing.borrow().is_empty());
        ids
    }

    #[tokio::test]
    async fn ids_of_a_registry_whose_data_was_restored_during_the_start_are_not_used() {
        let ids = agreed(&[[9, 10], [1, 2], [1, 2], [1, 2]], &[true, true]).await;
        assert_eq!(ids, [1, 2]);
    }

    #[tokio::test]
    async fn ids_are_registered_again_while_the_registry_contradicts_the_log() {
        let ids = agreed(&[[9, 10], [1, 2], [1, 2]], &[false, true]).await;
        assert_eq!(ids, [1, 2]);
    }
}
