//! Decodes messages of the small topics, written with any schema.

use std::{sync::Arc, time::Duration};

use chassis::{
    registry::Registry,
    schema_lookup::{FoundSchema, MessageRef, MessageRules, SchemaLookup},
};
use schemas::{
    Topics,
    lineage::{self, record_name},
    unframe,
};
use serde::de::DeserializeOwned;

/// Pause before a registry that does not answer is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undecodable {
    /// It never can be, and it is not ours.
    #[error("message is malformed: {0}")]
    Poison(String),
    /// It is ours, and can be read once the registry has its data back.
    #[error("{0}")]
    Later(String),
}

/// Tells our messages from others.
pub(crate) fn message_rules(topics: Topics) -> MessageRules {
    MessageRules {
        schema_id: lineage::schema_id,
        contradiction: Box::new(move |it, schema| {
            lineage::contradiction(&topics, it.topic, it.key, it.value, schema)
        }),
    }
}

/// Reads messages. Its calls block on the registry where a schema is new.
#[derive(Debug)]
pub(crate) struct Decoder {
    lookup: SchemaLookup,
    runtime: tokio::runtime::Handle,
    topics: Topics,
}

impl Decoder {
    /// A decoder that already knows our own schemas. Needs a runtime.
    pub(crate) fn new<'a>(
        registry: Registry,
        topics: Topics,
        own: impl IntoIterator<Item = (u32, &'a str)>,
    ) -> Self {
        let rules = message_rules(topics.clone());
        Self {
            lookup: SchemaLookup::new(Arc::new(registry), Arc::new(rules), own),
            runtime: tokio::runtime::Handle::current(),
            topics,
        }
    }

    /// Reads a message whose value is a `name`d record. Blocks, for as long as
    /// the registry does not answer.
    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        message: MessageRef<'_>,
        name: &str,
    ) -> Result<T, Undecodable> {
        let schema = loop {
            match self.runtime.block_on(self.lookup.find(message)) {
                Ok(FoundSchema::Known(schema)) => break schema,
                Ok(FoundSchema::Poison(reason)) => return Err(Undecodable::Poison(reason)),
                Ok(FoundSchema::Later(reason)) => return Err(Undecodable::Later(reason)),
                Err(error) => {
                    tracing::warn!(%error, "waiting for the schema registry");
                    crate::pause(RETRY);
                }
            }
        };
        decode_as(&schema, name, message.value)
            .map_err(|reason| self.unreadable(message, &schema, reason))
    }

    /// A schema that does not fit is looked up again the next time: the
    /// registry's data may be restored.
    fn unreadable(&self, message: MessageRef<'_>, schema: &str, reason: String) -> Undecodable {
        let MessageRef { topic, key, value } = message;
        if let Some(id) = lineage::schema_id(value) {
            self.lookup.forget(id);
        }
        if let Some(exchanged) = lineage::exchanged(&self.topics, topic, key, value, schema) {
            Undecodable::Later(exchanged.to_string())
        } else if lineage::is_ours(&self.topics, topic, key, value) {
            Undecodable::Later(reason)
        } else {
            Undecodable::Poison(reason)
        }
    }
}

fn decode_as<T: DeserializeOwned>(schema: &str, name: &str, value: &[u8]) -> Result<T, String> {
    let framed = unframe(value).map_err(|error| error.to_string())?;
    match record_name(schema) {
        Some(actual) if actual == name => {}
        actual => {
            let actual = actual.unwrap_or_else(|| "no record".to_owned());
            return Err(format!("its schema is {actual}, not {name}"));
        }
    }
    schemas::codec::decode(schema, framed.datum).map_err(|error| error.to_string())
}
