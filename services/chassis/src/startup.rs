//! What a process waits for before anything else: topics and schemas.
//!
//! It must not know which topics and schemas there are.

use std::{
    collections::{HashMap, hash_map::Entry},
    error::Error as _,
    fmt,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    Context,
    kafka::{
        KafkaArgs,
        sample::{self, Logged},
        topics::{self, TopicSpec, TopicsError},
    },
    registry::{Registry, RegistryError},
};

/// Between two tries to reach a server.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks at what only a person can put right.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Creates the topics that are missing and checks all, waiting for a Kafka that
/// is away, and for brokers that do not know a new topic yet.
pub async fn topics(
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
        let cause = error.source().map(|it| format!(": {it}"));
        let reason = format!("{error}{}", cause.unwrap_or_default());
        context.health().fails("kafka", reason);
        tokio::time::sleep(RETRY).await;
    }
    context.health().holds("kafka");
    Ok(())
}

/// Schemas, and what is known of messages, whose form this crate does not know.
#[derive(Clone, Copy)]
pub struct Contract<'a> {
    /// Subjects with their schemas, in the order in which they register, so
    /// that a new registry gives them the same ids.
    pub schemas: &'a [(String, &'static str)],
    /// How long another process is given to register them first: two that do
    /// so at once make gaps between the ids.
    pub patience: Duration,
    /// The topics whose messages this process reads.
    pub read: &'a [TopicSpec],
    /// The schema id that a value is framed with, if it is.
    pub schema_id: fn(&[u8]) -> Option<u32>,
    /// What is wrong, and what to do about it, where the schema that the
    /// registry has under a message's id, if it has one, is not the one that
    /// the message was written with.
    pub contradiction: &'a (dyn Fn(&Logged, Option<&str>) -> Option<String> + Send + Sync),
}

impl fmt::Debug for Contract<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract").finish_non_exhaustive()
    }
}

/// Registers the schemas and holds the log against the registry, by the first
/// and the last messages of each topic's partitions. The ids are in the order
/// of the schemas.
///
/// Waits for servers that are away. While an id means another schema than in
/// the log, or none, the start goes no further: it says so, and looks again, as
/// the registry's data may be restored. Whoever went on would write ids that
/// mean nothing in the registry that comes back.
pub async fn schemas(
    context: &Context,
    kafka: &KafkaArgs,
    registry: &Registry,
    contract: Contract<'_>,
) -> anyhow::Result<Vec<u32>> {
    loop {
        // Anew each time: a registry whose data was restored has other ids.
        let ids = register(context, registry, contract).await?;
        match compare(kafka, registry, contract).await? {
            Comparison::Fits => {
                context.health().holds("kafka");
                context.health().holds("registry");
                return Ok(ids);
            }
            Comparison::Away(condition, reason) => {
                context.health().fails(condition, reason);
                tokio::time::sleep(RETRY).await;
            }
            Comparison::Contradiction(reason) => {
                context.health().fails("registry", reason);
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

async fn register(
    context: &Context,
    registry: &Registry,
    contract: Contract<'_>,
) -> Result<Vec<u32>, RegistryError> {
    let mut ids = Vec::new();
    let began = Instant::now();
    for (subject, schema) in contract.schemas {
        let id = loop {
            let found = if began.elapsed() < contract.patience {
                registry.registered(subject, schema).await
            } else {
                registry.register(subject, schema).await.map(Some)
            };
            match found {
                Ok(Some(id)) => break id,
                Ok(None) => {}
                Err(error) if error.is_transient() => {
                    context.health().fails("registry", error.to_string());
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY).await;
        };
        ids.push(id);
    }
    Ok(ids)
}

enum Comparison {
    Fits,
    /// A server does not answer: condition and reason.
    Away(&'static str, String),
    Contradiction(String),
}

async fn compare(
    kafka: &KafkaArgs,
    registry: &Registry,
    contract: Contract<'_>,
) -> anyhow::Result<Comparison> {
    let mut samples = Vec::new();
    for spec in contract.read {
        let (kafka, topic, count) = (kafka.clone(), spec.name.clone(), spec.partitions(kafka));
        // All at once: most of the time is spent on waiting.
        samples.push(tokio::task::spawn_blocking(move || {
            sample::ends(&kafka, &topic, count)
        }));
    }
    let mut schemas: HashMap<u32, Option<String>> = HashMap::new();
    for sample in samples {
        let messages = match sample.await.context("reading the log panicked")? {
            Ok(messages) => messages,
            Err(error) => {
                let reason = format!("{:#}", anyhow::Error::new(error));
                return Ok(Comparison::Away("kafka", reason));
            }
        };
        for message in messages {
            let Some(id) = (contract.schema_id)(&message.value) else {
                continue;
            };
            let schema = match schemas.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match registry.schema(id).await {
                    Ok(schema) => new.insert(schema),
                    Err(error) if error.is_transient() => {
                        return Ok(Comparison::Away("registry", error.to_string()));
                    }
                    // As good as none: whoever reads it later says so.
                    Err(_) => new.insert(None),
                },
            };
            let said = (contract.contradiction)(&message, schema.as_deref());
            if let Some(reason) = said {
                return Ok(Comparison::Contradiction(reason));
            }
        }
    }
    Ok(Comparison::Fits)
}
