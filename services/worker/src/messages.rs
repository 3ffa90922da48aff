//! The messages of the small topics (checkpoints, status, definitions): topic,
//! partition, key and encoded value.

use std::sync::Arc;

use apache_avro::Schema;
use schemas::{
    Checkpoint, ConnectionStatus, Definitions, Millis, Status, StreamStatus, Topics,
    checkpoint::stream_key, codec, definitions::definitions_key,
};

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
}

/// Makes the messages of the small topics.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    /// Names of the topics.
    pub(crate) topics: Topics,
    /// Ids of our schemas.
    pub(crate) ids: SchemaIds,
    checkpoint: Arc<Schema>,
    status: Arc<Schema>,
    definitions: Arc<Schema>,
}

impl Messages {
    /// Fails only if one of our own schemas does not parse.
    pub(crate) fn new(topics: Topics, ids: SchemaIds) -> anyhow::Result<Self> {
        let parse = |text| anyhow::Ok(Arc::new(Schema::parse_str(text)?));
        Ok(Self {
            topics,
            ids,
            checkpoint: parse(schemas::checkpoint::SCHEMA)?,
            status: parse(schemas::status::SCHEMA)?,
            definitions: parse(schemas::definitions::SCHEMA)?,
        })
    }

    /// A stream's checkpoint, in the connection's control partition.
    pub(crate) fn checkpoint(&self, partition: i32, checkpoint: &Checkpoint) -> Message {
        let payload = codec::encode(&self.checkpoint, self.ids.checkpoints, checkpoint);
        Message {
            topic: self.topics.checkpoints.clone(),
            partition: Some(partition),
            key: stream_key(&checkpoint.connection, &checkpoint.stream),
            payload: Some(own(payload)),
        }
    }

    /// The definitions of one object type of a portal.
    pub(crate) fn definitions(&self, definitions: &Definitions) -> Message {
        let payload = codec::encode(&self.definitions, self.ids.definitions, definitions);
        Message {
            topic: self.topics.definitions.clone(),
            partition: None,
            key: definitions_key(definitions.portal_id, &definitions.object_type),
            payload: Some(own(payload)),
        }
    }

    /// A stream's status, in the connection's control partition.
    pub(crate) fn stream_status(
        &self,
        partition: i32,
        connection: &str,
        stream: StreamStatus,
        at: Millis,
    ) -> Message {
        let key = stream_key(connection, &stream.name);
        let status = Status {
            connection: connection.to_owned(),
            at,
            whole: None,
            stream: Some(stream),
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
    ) -> Message {
        let status = Status {
            connection: connection.to_owned(),
            at,
            whole: Some(whole),
            stream: None,
        };
        self.status(partition, connection.to_owned(), &status)
    }

    /// A message of the status topic under any key.
    pub(crate) fn status(&self, partition: i32, key: String, status: &Status) -> Message {
        let payload = codec::encode(&self.status, self.ids.status, status);
        Message {
            topic: self.topics.status.clone(),
            partition: Some(partition),
            key,
            payload: Some(own(payload)),
        }
    }

    /// The tombstones of a stream's checkpoint and status.
    pub(crate) fn forget_stream(
        &self,
        partition: i32,
        connection: &str,
        stream: &str,
    ) -> [Message; 2] {
        [&self.topics.checkpoints, &self.topics.status].map(|topic| Message {
            topic: topic.clone(),
            partition: Some(partition),
            key: stream_key(connection, stream),
            payload: None,
        })
    }
}

/// INVARIANT: a value of our own type fits our own schema; the golden examples
/// of the contract hold the two together.
fn own(encoded: Result<Vec<u8>, schemas::EncodeError>) -> Vec<u8> {
    encoded.unwrap_or_else(|error| {
        tracing::error!(
            error = format!("{error:?}"),
            "a value does not fit its schema"
        );
        Vec::new()
    })
}
