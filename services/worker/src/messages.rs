//! The messages of the small topics (checkpoints, status, definitions, index): topic,
//! partition, key and encoded value.

use std::sync::Arc;

use apache_avro::Schema;
use schemas::{
    Checkpoint, ConnectionStatus, Definitions, EncodeError, IndexEntries, IndexKey, Millis, Status,
    StreamStatus, Topics, Verdict, checkpoint::stream_key, codec, definitions::definitions_key,
    index::index_key, verdict::verdict_key,
};

use crate::index::{LAYOUT, Write};

/// One message that is not a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Full name of the topic.
    pub(crate) topic: String,
    /// The partition; `None` where the key decides it.
    pub(crate) partition: Option<i32>,
    /// Its key.
    pub(crate) key: String,
    /// Its value; `None` for a tombstone.
    pub(crate) payload: Option<Vec<u8>>,
}

/// Ids of our schemas in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SchemaIds {
    /// Of the commands topic.
    pub(crate) commands: u32,
    /// Of the checkpoints topic.
    pub(crate) checkpoints: u32,
    /// Of the status topic.
    pub(crate) status: u32,
    /// Of the definitions topic.
    pub(crate) definitions: u32,
    /// Of the records topic.
    pub(crate) records: u32,
    /// Of the index topic.
    pub(crate) index: u32,
}

/// The schemas of the small topics that the worker writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SchemaTexts<'a> {
    /// Of the checkpoints topic.
    pub(crate) checkpoint: &'a str,
    /// Of the status topic.
    pub(crate) status: &'a str,
    /// Of the definitions topic.
    pub(crate) definitions: &'a str,
    /// Of the index topic.
    pub(crate) index: &'a str,
}

/// Our schemas.
pub(crate) const OWN: SchemaTexts<'static> = SchemaTexts {
    checkpoint: schemas::checkpoint::SCHEMA,
    status: schemas::status::SCHEMA,
    definitions: schemas::definitions::SCHEMA,
    index: schemas::index::SCHEMA,
};

/// Makes the messages of the small topics. A value that does not fit its schema
/// gives an error and never a message: readers could not decode it, and a stream
/// would be without its state.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    /// Names of the topics.
    pub(crate) topics: Topics,
    /// Ids of our schemas.
    pub(crate) ids: SchemaIds,
    checkpoint: Arc<Schema>,
    status: Arc<Schema>,
    definitions: Arc<Schema>,
    index: Arc<Schema>,
}

impl Messages {
    /// Fails only if one of the schemas does not parse.
    pub(crate) fn new(
        topics: Topics,
        ids: SchemaIds,
        schemas: SchemaTexts<'_>,
    ) -> anyhow::Result<Self> {
        let parse = |text| anyhow::Ok(Arc::new(Schema::parse_str(text)?));
        Ok(Self {
            topics,
            ids,
            checkpoint: parse(schemas.checkpoint)?,
            status: parse(schemas.status)?,
            definitions: parse(schemas.definitions)?,
            index: parse(schemas.index)?,
        })
    }

    /// A stream's checkpoint, in the connection's control partition.
    pub(crate) fn checkpoint(
        &self,
        partition: i32,
        checkpoint: &Checkpoint,
    ) -> Result<Message, EncodeError> {
        let payload = codec::encode(&self.checkpoint, self.ids.checkpoints, checkpoint)?;
        Ok(Message {
            topic: self.topics.checkpoints.clone(),
            partition: Some(partition),
            key: stream_key(&checkpoint.connection, &checkpoint.stream),
            payload: Some(payload),
        })
    }

    /// The definitions of one object type of a portal.
    pub(crate) fn definitions(&self, definitions: &Definitions) -> Result<Message, EncodeError> {
        let payload = codec::encode(&self.definitions, self.ids.definitions, definitions)?;
        Ok(Message {
            topic: self.topics.definitions.clone(),
            partition: None,
            key: definitions_key(definitions.portal_id, &definitions.object_type),
            payload: Some(payload),
        })
    }

    /// A message of a stream's index, in the connection's control partition.
    pub(crate) fn index(
        &self,
        partition: i32,
        connection: &str,
        stream: &str,
        write: Write,
    ) -> Result<Message, EncodeError> {
        let Some(entries) = write.entries else {
            return Ok(self.index_tombstone(partition, connection, stream, write.key));
        };
        let entries = IndexEntries {
            connection: connection.to_owned(),
            stream: stream.to_owned(),
            layout: LAYOUT,
            entries,
        };
        let payload = codec::encode(&self.index, self.ids.index, &entries)?;
        Ok(Message {
            payload: Some(payload),
            ..self.index_tombstone(partition, connection, stream, write.key)
        })
    }

    /// The tombstone of a message of a stream's index.
    pub(crate) fn index_tombstone(
        &self,
        partition: i32,
        connection: &str,
        stream: &str,
        key: IndexKey,
    ) -> Message {
        Message {
            topic: self.topics.index.clone(),
            partition: Some(partition),
            key: index_key(connection, stream, key),
            payload: None,
        }
    }

    /// A stream's status, in the connection's control partition.
    pub(crate) fn stream_status(
        &self,
        partition: i32,
        connection: &str,
        stream: StreamStatus,
        at: Millis,
    ) -> Result<Message, EncodeError> {
        let key = stream_key(connection, &stream.name);
        let status = Status {
            connection: connection.to_owned(),
            at,
            stream: Some(stream),
            ..Status::default()
        };
        self.status(partition, key, &status)
    }

    /// A connection's status, in its control partition.
    pub(crate) fn connection_status(
        &self,
        partition: i32,
        connection: &str,
        whole: ConnectionStatus,
        at: Millis,
    ) -> Result<Message, EncodeError> {
        let status = Status {
            connection: connection.to_owned(),
            at,
            whole: Some(whole),
            ..Status::default()
        };
        self.status(partition, connection.to_owned(), &status)
    }

    /// What the log has of a stream after a pass, in the connection's control partition.
    pub(crate) fn verdict(
        &self,
        partition: i32,
        connection: &str,
        verdict: Verdict,
    ) -> Result<Message, EncodeError> {
        let key = verdict_key(connection, &verdict.stream);
        let status = Status {
            connection: connection.to_owned(),
            at: verdict.finished_at,
            verdict: Some(verdict),
            ..Status::default()
        };
        self.status(partition, key, &status)
    }

    /// A message of the status topic under any key.
    pub(crate) fn status(
        &self,
        partition: i32,
        key: String,
        status: &Status,
    ) -> Result<Message, EncodeError> {
        let payload = codec::encode(&self.status, self.ids.status, status)?;
        Ok(Message {
            payload: Some(payload),
            ..self.status_tombstone(partition, key)
        })
    }

    /// The tombstone of a message of the status topic.
    pub(crate) fn status_tombstone(&self, partition: i32, key: String) -> Message {
        Message {
            topic: self.topics.status.clone(),
            partition: Some(partition),
            key,
            payload: None,
        }
    }

    /// The tombstones of a stream's checkpoint, status and verdict.
    pub(crate) fn forget_stream(
        &self,
        partition: i32,
        connection: &str,
        stream: &str,
    ) -> [Message; 3] {
        let key = stream_key(connection, stream);
        [
            Message {
                topic: self.topics.checkpoints.clone(),
                partition: Some(partition),
                key: key.clone(),
                payload: None,
            },
            self.status_tombstone(partition, key),
            self.status_tombstone(partition, verdict_key(connection, stream)),
        ]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A schema whose field of that name, which ours may leave unset, is a truth
    /// value if it is set: one that does not fit the types of this program.
    pub(crate) fn schema_without_values_of(schema: &str, field: &str) -> String {
        let start = format!("{{\"name\": \"{field}\", \"type\": [\"null\"");
        let at = schema.find(&start).unwrap() + start.len();
        let (before, after) = schema.split_at(at);
        let (_type, rest) = after.split_once("], \"default\": null").unwrap();
        format!("{before}, \"boolean\"], \"default\": null{rest}")
    }

    #[test]
    fn a_value_that_does_not_fit_its_schema_gives_an_error_and_no_message() {
        let strict = schema_without_values_of(schemas::checkpoint::SCHEMA, "cursor");
        let schemas = SchemaTexts {
            checkpoint: &strict,
            ..OWN
        };
        let topics = Topics::with_prefix("t.");
        let messages = Messages::new(topics, SchemaIds::default(), schemas).unwrap();
        let mut checkpoint = Checkpoint::default();
        assert!(messages.checkpoint(0, &checkpoint).is_ok());
        checkpoint.cursor = Some(5);
        let error = messages.checkpoint(0, &checkpoint).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("Checkpoint") && text.contains("field cursor"),
            "{text}"
        );
    }
}
