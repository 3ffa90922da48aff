//! Schema ids to decoders, and what an unknown id means.
//!
//! A message that carries an id which cannot be resolved is poison only if it
//! is not ours: one of ours is readable again once the registry is back. It
//! must not know Kafka, nor what a record is for.

use std::{collections::HashMap, fmt, sync::Arc};

use async_trait::async_trait;
use chassis::registry::{Registry, RegistryError};
use schemas::{
    CrmRecord, codec,
    crm_record::{Decoder, SCHEMA},
    lineage::record_name,
};

use crate::ingest::poll::message::Message;

/// Where schemas are looked up.
#[async_trait]
pub trait SchemaSource: fmt::Debug + Send + Sync + 'static {
    /// The schema with this id; `None` where there is none.
    async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError>;
}

#[async_trait]
impl SchemaSource for Registry {
    async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        Self::schema(self, id).await
    }
}

/// What a message turned out to be.
#[derive(Debug)]
pub(crate) enum Datum {
    /// Its bytes behind the header are in the current schema's layout.
    AsIs,
    /// It was translated into the current schema's layout.
    Translated(Vec<u8>),
    /// It can never be read.
    Poison {
        /// Stable, `snake_case`.
        reason: &'static str,
        /// What is wrong with it.
        error: String,
    },
    /// It can be read later; what is behind it in its partition waits.
    Held(String),
}

#[derive(Debug, Clone)]
enum FoundSchema {
    Decoder(Arc<Decoder>),
    /// There is such a schema, and it is no record's.
    NotARecord(String),
    /// The registry has none with that id.
    Missing,
    /// The registry does not answer.
    Unavailable(String),
}

/// Decoders by schema id.
#[derive(Debug)]
pub(crate) struct Decoders {
    source: Arc<dyn SchemaSource>,
    known: HashMap<u32, FoundSchema>,
}

impl Decoders {
    /// `own` is the id under which this process has registered the current
    /// schema: it needs no registry.
    pub(crate) fn new(source: Arc<dyn SchemaSource>, own: u32) -> Self {
        let known = match Decoder::new(SCHEMA) {
            Ok(decoder) => HashMap::from([(own, FoundSchema::Decoder(Arc::new(decoder)))]),
            Err(_) => HashMap::new(),
        };
        Self { source, known }
    }

    /// Finds what each message is, in their order.
    pub(crate) async fn resolve(&mut self, messages: &[Message]) -> Vec<Datum> {
        // An id that the registry could not name is asked for once a batch.
        let mut unresolved = HashMap::new();
        let mut data = Vec::with_capacity(messages.len());
        for message in messages {
            data.push(match self.current(message) {
                Some(datum) => datum,
                None => self.datum(message, &mut unresolved).await,
            });
        }
        data
    }

    /// What nearly every message is: one of the current schema.
    fn current(&self, message: &Message) -> Option<Datum> {
        let framed = codec::unframe(message.value.as_deref()?).ok()?;
        match self.known.get(&framed.schema_id)? {
            FoundSchema::Decoder(decoder) if decoder.is_current() => Some(Datum::AsIs),
            _ => None,
        }
    }

    async fn datum(
        &mut self,
        message: &Message,
        unresolved: &mut HashMap<u32, FoundSchema>,
    ) -> Datum {
        let Some(value) = &message.value else {
            return Datum::Poison {
                reason: "no_value",
                error: "message has no value".to_owned(),
            };
        };
        let framed = match codec::unframe(value) {
            Ok(framed) => framed,
            Err(error) => {
                return Datum::Poison {
                    reason: "not_framed",
                    error: error.to_string(),
                };
            }
        };
        let id = framed.schema_id;
        let found = match (self.known.get(&id), unresolved.get(&id)) {
            (Some(found), _) | (None, Some(found)) => found.clone(),
            (None, None) => {
                let found = self.look_up(id).await;
                match &found {
                    FoundSchema::Decoder(_) => self.known.insert(id, found.clone()),
                    _ => unresolved.insert(id, found.clone()),
                };
                found
            }
        };
        match found {
            FoundSchema::Decoder(decoder) => match decoder.translate(framed.datum) {
                Ok(None) => Datum::AsIs,
                Ok(Some(datum)) => Datum::Translated(datum),
                Err(_) if is_ours(message, framed.datum) => {
                    // Asked for again, as the registry's data may be restored.
                    self.known.remove(&id);
                    Datum::Held(format!(
                        "schema {id} is now another version in the registry than a record in the \
                         log was written with: restore its data"
                    ))
                }
                Err(error) => Datum::Poison {
                    reason: "undecodable",
                    error: error.to_string(),
                },
            },
            FoundSchema::Unavailable(reason) => Datum::Held(format!(
                "schema {id} cannot be looked up, as the registry is away: {reason}"
            )),
            FoundSchema::Missing if is_ours(message, framed.datum) => Datum::Held(format!(
                "the registry has no schema {id}, which messages in the log carry: restore its data"
            )),
            FoundSchema::NotARecord(name) if is_ours(message, framed.datum) => {
                Datum::Held(format!(
                    "schema {id} is now {name} in the registry, but a record in the log carries it: \
                 restore the registry's data"
                ))
            }
            FoundSchema::Missing => Datum::Poison {
                reason: "unknown_schema",
                error: format!("the registry has no schema {id}"),
            },
            FoundSchema::NotARecord(name) => Datum::Poison {
                reason: "other_schema",
                error: format!("schema {id} is {name}, not a record's"),
            },
        }
    }

    async fn look_up(&self, id: u32) -> FoundSchema {
        let schema = match self.source.schema(id).await {
            Ok(Some(schema)) => schema,
            Ok(None) => return FoundSchema::Missing,
            Err(error) if error.is_transient() => {
                return FoundSchema::Unavailable(error.to_string());
            }
            Err(error) => {
                tracing::warn!(schema_id = id, %error, "registry refuses to name a schema");
                return FoundSchema::Missing;
            }
        };
        let name = record_name(&schema).unwrap_or_else(|| "unnamed".to_owned());
        if name != "CrmRecord" {
            return FoundSchema::NotARecord(name);
        }
        match Decoder::new(&schema) {
            Ok(decoder) => FoundSchema::Decoder(Arc::new(decoder)),
            Err(error) => FoundSchema::NotARecord(error.to_string()),
        }
    }
}

/// Whether a message is one of our records, whatever its id says: it reads as
/// one and its key says the same.
fn is_ours(message: &Message, datum: &[u8]) -> bool {
    CrmRecord::decode(datum)
        .is_ok_and(|record| message.key.as_deref() == Some(record.key().as_bytes()))
}
