//! Finds the decoder for the schema id of each message.
//!
//! A message whose id the registry does not have is poison only if it is not one
//! of our records. One of ours can be decoded once the registry's data is
//! restored, so it is held.

use std::{collections::HashMap, sync::Arc};

use chassis::registry::SchemaSource;
use schemas::{
    CrmRecord, codec,
    crm_record::{Decoder, SCHEMA},
    lineage::record_name,
};

use crate::ingest::poll::message::Message;

/// What a message contains.
#[derive(Debug)]
pub(crate) enum Datum {
    /// A record in a released schema, right after the header.
    AsIs,
    /// A record of a newer schema, translated to the current one.
    Translated(Vec<u8>),
    /// It can never be decoded.
    Poison {
        /// Stable code, in `snake_case`.
        reason: &'static str,
        /// What is wrong with it.
        error: String,
    },
    /// It can be decoded later, for this reason. The messages after it in its
    /// partition wait.
    Held(String),
}

#[derive(Debug, Clone)]
enum FoundDecoder {
    Decoder(Arc<Decoder>),
    /// A schema of something other than a record: its name, or why it cannot be
    /// used.
    NotARecord(String),
    /// The registry has no schema with that id.
    Missing,
    /// The registry does not answer, for this reason.
    Unavailable(String),
}

/// Decoders by schema id.
#[derive(Debug)]
pub(crate) struct Decoders {
    source: Arc<dyn SchemaSource>,
    known: HashMap<u32, FoundDecoder>,
}

impl Decoders {
    /// `own` is the id under which this process registered the current schema.
    /// That id needs no look-up.
    pub(crate) fn new(source: Arc<dyn SchemaSource>, own: u32) -> Self {
        let known = match Decoder::new(SCHEMA) {
            Ok(decoder) => HashMap::from([(own, FoundDecoder::Decoder(Arc::new(decoder)))]),
            Err(_) => HashMap::new(),
        };
        Self { source, known }
    }

    /// The content of each message, in their order.
    pub(crate) async fn resolve(&mut self, messages: &[Message]) -> Vec<Datum> {
        // An id that was not found is looked up only once per batch.
        let mut unresolved = HashMap::new();
        let mut data = Vec::with_capacity(messages.len());
        for message in messages {
            data.push(match self.as_is(message) {
                Some(datum) => datum,
                None => self.datum(message, &mut unresolved).await,
            });
        }
        data
    }

    /// Fast path: nearly every message has a schema of ours.
    fn as_is(&self, message: &Message) -> Option<Datum> {
        let framed = codec::unframe(message.value.as_deref()?).ok()?;
        match self.known.get(&framed.schema_id)? {
            FoundDecoder::Decoder(decoder) if decoder.is_direct() => Some(Datum::AsIs),
            _ => None,
        }
    }

    async fn datum(
        &mut self,
        message: &Message,
        unresolved: &mut HashMap<u32, FoundDecoder>,
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
                    FoundDecoder::Decoder(_) => self.known.insert(id, found.clone()),
                    _ => unresolved.insert(id, found.clone()),
                };
                found
            }
        };
        match found {
            FoundDecoder::Decoder(decoder) => match decoder.translate(framed.datum) {
                Ok(None) => Datum::AsIs,
                Ok(Some(datum)) => Datum::Translated(datum),
                Err(_) if is_ours(message, framed.datum) => {
                    // Looked up again, since the registry's data may be restored.
                    self.known.remove(&id);
                    Datum::Held(format!(
                        "schema {id} in the registry is not the version that a record in the log \
                         was written with: restore the registry's data"
                    ))
                }
                Err(error) => Datum::Poison {
                    reason: "undecodable",
                    error: error.to_string(),
                },
            },
            FoundDecoder::Unavailable(reason) => Datum::Held(format!(
                "schema {id} cannot be looked up because the registry does not answer: {reason}"
            )),
            FoundDecoder::Missing if is_ours(message, framed.datum) => Datum::Held(format!(
                "the registry has no schema {id}, which records in the log were written with: \
                 restore the registry's data"
            )),
            FoundDecoder::NotARecord(name) if is_ours(message, framed.datum) => {
                Datum::Held(format!(
                    "schema {id} in the registry is {name}, but a record in the log was written with \
                 this id: restore the registry's data"
                ))
            }
            FoundDecoder::Missing => Datum::Poison {
                reason: "unknown_schema",
                error: format!("the registry has no schema {id}"),
            },
            FoundDecoder::NotARecord(name) => Datum::Poison {
                reason: "other_schema",
                error: format!("schema {id} is {name}, not a record"),
            },
        }
    }

    async fn look_up(&self, id: u32) -> FoundDecoder {
        let schema = match self.source.schema(id).await {
            Ok(Some(schema)) => schema,
            Ok(None) => return FoundDecoder::Missing,
            Err(error) if error.is_transient() => {
                return FoundDecoder::Unavailable(error.to_string());
            }
            Err(error) => {
                tracing::warn!(schema_id = id, %error, "the registry rejects the look-up of a schema");
                return FoundDecoder::Missing;
            }
        };
        let name = record_name(&schema).unwrap_or_else(|| "unnamed".to_owned());
        if name != "CrmRecord" {
            return FoundDecoder::NotARecord(name);
        }
        match Decoder::new(&schema) {
            Ok(decoder) => FoundDecoder::Decoder(Arc::new(decoder)),
            Err(error) => FoundDecoder::NotARecord(error.to_string()),
        }
    }
}

/// Whether a message is one of our records, regardless of its schema id: it
/// decodes as one, and its key is that record's key.
fn is_ours(message: &Message, datum: &[u8]) -> bool {
    CrmRecord::decode(datum)
        .is_ok_and(|record| message.key.as_deref() == Some(record.key().as_bytes()))
}

#[cfg(test)]
mod tests {
    use schemas::crm_record::RELEASED;

    use super::*;
    use crate::ingest::fakes::{FakeRegistry, record};

    const OWN: u32 = 5;
    const OTHER: u32 = 6;

    /// The message that a former worker wrote: without its last field, the content
    /// hash, which is one byte.
    fn former(offset: i64, schema_id: u32) -> Message {
        let message = record(offset, schema_id);
        let mut value = message.value.unwrap().to_vec();
        value.pop();
        Message {
            value: Some(value.into()),
            ..message
        }
    }

    fn decoders(other: Option<&str>) -> Decoders {
        let registry = FakeRegistry::default();
        if let Some(schema) = other {
            registry.insert(OTHER, schema.to_owned());
        }
        Decoders::new(Arc::new(registry), OWN)
    }

    #[tokio::test]
    async fn messages_of_both_released_schemas_are_read_as_they_are() {
        let mut decoders = decoders(Some(RELEASED[0]));
        let messages = [former(1, OTHER), record(2, OWN), former(3, OTHER)];
        for datum in decoders.resolve(&messages).await {
            assert!(matches!(datum, Datum::AsIs), "{datum:?}");
        }
        assert!(decoders.as_is(&messages[2]).is_some());
    }

    #[tokio::test]
    async fn a_former_message_whose_schema_the_registry_lacks_is_held() {
        let data = decoders(None).resolve(&[former(1, OTHER)]).await;
        assert!(matches!(data[..], [Datum::Held(_)]), "{data:?}");
    }

    #[tokio::test]
    async fn a_newer_schema_is_translated() {
        let newer = SCHEMA.replacen(
            r#""fields": ["#,
            r#""fields": [{"name": "added_later", "type": "string", "default": ""},"#,
            1,
        );
        let message = record(1, OTHER);
        let value = message.value.as_deref().unwrap();
        // "added_later" comes first and is the empty string.
        let value = [
            &value[..codec::HEADER_BYTES],
            &[0],
            &value[codec::HEADER_BYTES..],
        ]
        .concat();
        let message = Message {
            value: Some(value.into()),
            ..message
        };
        let data = decoders(Some(&newer)).resolve(&[message]).await;
        let [Datum::Translated(datum)] = &data[..] else {
            panic!("{data:?}")
        };
        assert_eq!(CrmRecord::decode(datum).unwrap().object_id, 1);
    }
}
