//! Messages of the small topics, whatever schema they were written with.
//!
//! It must not know what is done with them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chassis::registry::Registry;
use schemas::{
    DecodeError, Topics,
    lineage::{self, Exchanged, record_name},
    unframe,
};
use serde::de::DeserializeOwned;

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// It never can be.
    #[error("message is malformed")]
    Poison(#[source] DecodeError),
    /// The registry has no schema under the message's id.
    #[error("the schema registry has no schema {0}: restore its data, or use another TOPIC_PREFIX")]
    UnknownSchema(u32),
    /// The id now means another schema than when the message was written.
    #[error(transparent)]
    Exchanged(Exchanged),
}

/// Reads messages; keeps the schemas it has asked for. Its calls block on the
/// registry where a schema is new.
#[derive(Debug)]
pub struct Decoder {
    registry: Registry,
    runtime: tokio::runtime::Handle,
    topics: Topics,
    schemas: Mutex<HashMap<u32, String>>,
}

impl Decoder {
    /// A decoder that already knows our own schemas.
    pub fn new(
        registry: Registry,
        topics: Topics,
        own: impl IntoIterator<Item = (u32, &'static str)>,
    ) -> Self {
        let schemas = own
            .into_iter()
            .map(|(id, text)| (id, text.to_owned()))
            .collect();
        let runtime = tokio::runtime::Handle::current();
        Self {
            registry,
            runtime,
            topics,
            schemas: Mutex::new(schemas),
        }
    }

    /// Reads a message of a topic whose values are `name`d records. Blocks.
    pub fn decode<T: DeserializeOwned>(
        &self,
        topic: &str,
        name: &str,
        payload: &[u8],
    ) -> Result<T, Undecodable> {
        let framed = unframe(payload).map_err(Undecodable::Poison)?;
        let schema = self.schema(framed.schema_id)?;
        let actual = record_name(&schema);
        if actual.as_deref() != Some(name) {
            self.forget(framed.schema_id);
            return Err(Undecodable::Exchanged(Exchanged {
                topic: topic.to_owned(),
                id: framed.schema_id,
                actual: actual.unwrap_or_else(|| "no record".to_owned()),
            }));
        }
        schemas::codec::decode(&schema, framed.datum).map_err(|error| {
            self.forget(framed.schema_id);
            Undecodable::Poison(error)
        })
    }

    /// Whether a message that cannot be read is ours, and so can be read once
    /// the registry has its data back. Of another's nothing is expected.
    pub fn is_ours(&self, topic: &str, key: &[u8], payload: &[u8]) -> bool {
        lineage::is_ours(&self.topics, topic, key, payload)
    }

    /// A schema that does not fit is asked for again: the registry's data may
    /// be restored.
    fn forget(&self, id: u32) {
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        schemas.remove(&id);
    }

    fn schema(&self, id: u32) -> Result<String, Undecodable> {
        let lock = || self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = lock().get(&id) {
            return Ok(schema.clone());
        }
        let schema = loop {
            match self.runtime.block_on(self.registry.schema(id)) {
                Ok(schema) => break schema,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, id, "waiting for the schema registry");
                    crate::pause(Duration::from_millis(500));
                }
                Err(error) => {
                    tracing::warn!(%error, id, "schema registry refuses a schema");
                    break None;
                }
            }
        };
        let schema = schema.ok_or(Undecodable::UnknownSchema(id))?;
        lock().insert(id, schema.clone());
        Ok(schema)
    }
}
