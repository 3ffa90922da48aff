//! What a process waits for before anything else: topics and schemas.
//!
//! It must not know which topics and schemas there are.

use std::{
    collections::{HashMap, hash_map::Entry},
    error::Error as _,
    fmt,
    time::Duration,
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

/// Creates the topics that are missing, waiting for a Kafka that is away.
pub async fn topics(
    context: &Context,
    kafka: &KafkaArgs,
    specs: &[TopicSpec],
) -> Result<(), TopicsError> {
    loop {
        match topics::ensure(kafka, specs).await {
            Ok(()) => break,
            Err(error) if error.is_transient() => {
                let cause = error
                    .source()
                    .map(|it| format!(": {it}"))
                    .unwrap_or_default();
                context.health().fails("kafka", format!("{error}{cause}"));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(RETRY).await;
    }
    context.health().holds("kafka");
    Ok(())
}

/// Registers schemas by subject, in the order given, so that a new registry
/// gives them the same ids; waits for a registry that is away. The ids are in
/// that order.
pub async fn schemas(
    context: &Context,
    registry: &Registry,
    schemas: impl IntoIterator<Item = (String, &str)>,
) -> Result<Vec<u32>, RegistryError> {
    let mut ids = Vec::new();
    for (subject, schema) in schemas {
        let id = loop {
            match registry.register(&subject, schema).await {
                Ok(id) => break id,
                Err(error) if error.is_transient() => {
                    context.health().fails("registry", error.to_string());
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY).await;
        };
        ids.push(id);
    }
    context.health().holds("registry");
    Ok(ids)
}

/// What the caller knows of messages, whose form this crate does not know.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The schema id that a value is framed with, if it is.
    pub schema_id: fn(&[u8]) -> Option<u32>,
    /// What is wrong, and what to do about it, where the schema that the
    /// registry has under a message's id is not the one it was written with.
    pub contradiction: &'a (dyn Fn(&Logged, &str) -> Option<String> + Send + Sync),
}

impl fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

/// Holds the log against the registry, by the first and the last messages of
/// each topic's partitions. While an id means another schema than in the log
/// the start goes no further: it says so, and looks again, as the registry's
/// data may be restored.
pub async fn log_fits_registry(
    context: &Context,
    kafka: &KafkaArgs,
    registry: &Registry,
    specs: &[TopicSpec],
    reading: Reading<'_>,
) -> anyhow::Result<()> {
    loop {
        match compare(kafka, registry, specs, reading).await? {
            Comparison::Fits => break,
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
    context.health().holds("kafka");
    context.health().holds("registry");
    Ok(())
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
    specs: &[TopicSpec],
    reading: Reading<'_>,
) -> anyhow::Result<Comparison> {
    let mut samples = Vec::new();
    for spec in specs {
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
            Err(error) => return Ok(Comparison::Away("kafka", error.to_string())),
        };
        for message in messages {
            let Some(id) = (reading.schema_id)(&message.value) else {
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
            let said = schema
                .as_deref()
                .and_then(|schema| (reading.contradiction)(&message, schema));
            if let Some(reason) = said {
                return Ok(Comparison::Contradiction(reason));
            }
        }
    }
    Ok(Comparison::Fits)
}
