//! Whether a schema id still means the schema that a message was written with.
//!
//! A registry that was emptied gives the same ids again, to whichever schemas
//! register first. Our messages reveal this: their value repeats their key, and
//! decodes with one of the released schemas.

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    Topics,
    checkpoint::{self, stream_key},
    codec, command,
    crm_record::{self, record_key},
    definitions::{self, definitions_key},
    index::{self, parse_index_key},
    status, unframe,
};

/// The registry has another schema under the id of one of our messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "schema {id} in the registry is {actual}, but messages of {topic} were written with it as \
     another: the registry was emptied or exchanged; restore its data, or use another TOPIC_PREFIX"
)]
pub struct Exchanged {
    /// Topic of the message.
    pub topic: String,
    /// The schema's id.
    pub id: u32,
    /// The record that it defines now.
    pub actual: String,
}

/// The registry has no schema under the id of one of our messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the registry has no schema {id}, which messages of {topic} carry: it was emptied; restore its \
     data, or use another TOPIC_PREFIX"
)]
pub struct Missing {
    /// Topic of the message.
    pub topic: String,
    /// The schema's id.
    pub id: u32,
}

/// The messages of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Command,
    Checkpoint,
    Status,
    Definitions,
    Record,
    Index,
}

/// The schema id that a value is framed with; `None` where it is not framed.
pub fn schema_id(value: &[u8]) -> Option<u32> {
    unframe(value).ok().map(|framed| framed.schema_id)
}

/// The name of the record that a schema defines.
pub fn record_name(schema: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(schema).ok()?;
    value.get("name")?.as_str().map(ToOwned::to_owned)
}

/// Compares a message with the schema that the registry has under its id.
/// Returns the contradiction if the message is ours and was written with another
/// schema. Nothing is known of messages that are not ours.
pub fn exchanged(
    topics: &Topics,
    topic: &str,
    key: &[u8],
    value: &[u8],
    registered: &str,
) -> Option<Exchanged> {
    let kind = Kind::of(topics, topic)?;
    let framed = unframe(value).ok()?;
    let name = record_name(registered);
    let fits =
        name.as_deref() == Some(kind.record_name()) && kind.reads(registered, key, framed.datum);
    (!fits && kind.wrote(key, framed.datum)).then(|| Exchanged {
        topic: topic.to_owned(),
        id: framed.schema_id,
        actual: match name {
            Some(name) if name == kind.record_name() => format!("another version of {name}"),
            Some(name) => name,
            None => "no record".to_owned(),
        },
    })
}

/// What is missing, for one of our messages whose id the registry does not have.
pub fn missing(topics: &Topics, topic: &str, key: &[u8], value: &[u8]) -> Option<Missing> {
    let id = schema_id(value)?;
    is_ours(topics, topic, key, value).then(|| Missing {
        topic: topic.to_owned(),
        id,
    })
}

/// Why one of our messages cannot be decoded, as the registry has another schema
/// under its id, or none; and the remedy.
pub fn contradiction(
    topics: &Topics,
    topic: &str,
    key: &[u8],
    value: &[u8],
    registered: Option<&str>,
) -> Option<String> {
    match registered {
        Some(schema) => exchanged(topics, topic, key, value, schema).map(|it| it.to_string()),
        None => missing(topics, topic, key, value).map(|it| it.to_string()),
    }
}

/// Whether a message is ours, without regard to the registry: it decodes with a
/// released schema, and its key agrees with its value.
pub fn is_ours(topics: &Topics, topic: &str, key: &[u8], value: &[u8]) -> bool {
    let kind = Kind::of(topics, topic);
    let framed = unframe(value).ok();
    kind.zip(framed)
        .is_some_and(|(kind, framed)| kind.wrote(key, framed.datum))
}

impl Kind {
    fn of(topics: &Topics, topic: &str) -> Option<Self> {
        [
            (&topics.commands, Self::Command),
            (&topics.checkpoints, Self::Checkpoint),
            (&topics.status, Self::Status),
            (&topics.definitions, Self::Definitions),
            (&topics.records, Self::Record),
            (&topics.index, Self::Index),
        ]
        .into_iter()
        .find_map(|(name, kind)| (name == topic).then_some(kind))
    }

    fn record_name(self) -> &'static str {
        match self {
            Self::Command => "Command",
            Self::Checkpoint => "Checkpoint",
            Self::Status => "Status",
            Self::Definitions => "Definitions",
            Self::Record => "CrmRecord",
            Self::Index => "IndexEntries",
        }
    }

    /// All schemas that a message may have been written with.
    fn released(self) -> &'static [&'static str] {
        match self {
            Self::Command => command::RELEASED,
            Self::Checkpoint => checkpoint::RELEASED,
            Self::Status => status::RELEASED,
            Self::Definitions => definitions::RELEASED,
            Self::Record => crm_record::RELEASED,
            Self::Index => index::RELEASED,
        }
    }

    fn wrote(self, key: &[u8], datum: &[u8]) -> bool {
        let mut released = self.released().iter();
        released.any(|schema| self.reads(schema, key, datum))
    }

    /// Whether a datum decodes with this schema, to its last byte, and agrees
    /// with its key.
    fn reads(self, schema: &str, key: &[u8], datum: &[u8]) -> bool {
        let key_of_value = match self {
            Self::Command => read(schema, datum).map(|it: OfConnection| it.connection),
            Self::Checkpoint => {
                read(schema, datum).map(|it: OfStream| stream_key(&it.connection, &it.stream))
            }
            Self::Definitions => {
                read(schema, datum).map(|it: OfType| definitions_key(it.portal_id, &it.object_type))
            }
            Self::Record => read(schema, datum)
                .map(|it: OfObject| record_key(it.portal_id, &it.object_type, it.object_id)),
            // The key names the ids too.
            Self::Index => read(schema, datum).and_then(|it: OfStream| {
                let key = std::str::from_utf8(key).ok()?;
                let (connection, stream, _) = parse_index_key(key)?;
                (connection == it.connection && stream == it.stream).then(|| key.to_owned())
            }),
            // The key of a connection, of one of its streams, or of its portal.
            Self::Status => read(schema, datum).and_then(|it: OfConnection| {
                let key = std::str::from_utf8(key).ok()?;
                let names = key.split('/').any(|part| part == it.connection);
                names.then(|| key.to_owned())
            }),
        };
        key_of_value.is_some_and(|it| it.as_bytes() == key)
    }
}

fn read<T: DeserializeOwned>(schema: &str, datum: &[u8]) -> Option<T> {
    codec::decode(schema, datum).ok()
}

#[derive(Deserialize)]
struct OfConnection {
    connection: String,
}

#[derive(Deserialize)]
struct OfStream {
    connection: String,
    stream: String,
}

#[derive(Deserialize)]
struct OfType {
    portal_id: i64,
    object_type: String,
}

#[derive(Deserialize)]
struct OfObject {
    portal_id: i64,
    object_type: String,
    object_id: i64,
}

#[cfg(test)]
mod tests;
