//! What a process waits for before anything else: topics and schemas.
//!
//! It must not know which topics and schemas there are.

use std::{error::Error as _, time::Duration};

use crate::{
    Context,
    kafka::{
        KafkaArgs,
        topics::{self, TopicSpec, TopicsError},
    },
    registry::{Registry, RegistryError},
};

/// Between two tries to reach a server.
const RETRY: Duration = Duration::from_millis(500);

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
