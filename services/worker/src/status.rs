//! Status messages from what is known, and the encoding of all small messages.
//!
//! It must not know how a message is sent.

use std::sync::Arc;

use apache_avro::Schema;
use schemas::{
    Checkpoint, ConnectionStatus, Definitions, Millis, Problem, Status, StreamStatus,
    checkpoint::stream_key, codec,
};

use crate::{
    commit::{Message, Shared},
    sync::SourceError,
};

/// Ids of our schemas in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchemaIds {
    /// Of the commands topic.
    pub commands: u32,
    /// Of the checkpoints topic.
    pub checkpoints: u32,
    /// Of the status topic.
    pub status: u32,
    /// Of the definitions topic.
    pub definitions: u32,
    /// Of the records topic.
    pub records: u32,
}

/// Encodes the small messages.
#[derive(Debug, Clone)]
pub struct Codec {
    ids: SchemaIds,
    checkpoint: Arc<Schema>,
    status: Arc<Schema>,
    definitions: Arc<Schema>,
}

impl Codec {
    /// From the registry's ids. Fails only if our own schemas do not parse.
    pub fn new(ids: SchemaIds) -> anyhow::Result<Self> {
        let parse = |text| anyhow::Ok(Arc::new(Schema::parse_str(text)?));
        Ok(Self {
            ids,
            checkpoint: parse(schemas::checkpoint::SCHEMA)?,
            status: parse(schemas::status::SCHEMA)?,
            definitions: parse(schemas::definitions::SCHEMA)?,
        })
    }

    /// Ids of our schemas in the registry.
    pub fn ids(&self) -> SchemaIds {
        self.ids
    }

    /// A checkpoint's message.
    pub fn checkpoint(&self, value: &Checkpoint) -> Vec<u8> {
        own(codec::encode(&self.checkpoint, self.ids.checkpoints, value))
    }

    /// A status message.
    pub fn status(&self, value: &Status) -> Vec<u8> {
        own(codec::encode(&self.status, self.ids.status, value))
    }

    /// A definitions message.
    pub fn definitions(&self, value: &Definitions) -> Vec<u8> {
        own(codec::encode(
            &self.definitions,
            self.ids.definitions,
            value,
        ))
    }
}

/// INVARIANT: a value of our own type fits our own schema; the contract's
/// golden examples hold the two together.
fn own(encoded: Result<Vec<u8>, schemas::EncodeError>) -> Vec<u8> {
    encoded.unwrap_or_else(|error| {
        tracing::error!(
            error = format!("{error:?}"),
            "a value does not fit its schema"
        );
        Vec::new()
    })
}

/// A message with a stream's status.
pub fn stream_message(
    shared: &Shared,
    partition: i32,
    connection: &str,
    view: StreamStatus,
    at: Millis,
) -> Message {
    let key = stream_key(connection, &view.name);
    let status = Status {
        connection: connection.to_owned(),
        at,
        whole: None,
        stream: Some(view),
    };
    Message {
        topic: shared.topics.status.clone(),
        partition: Some(partition),
        key,
        payload: Some(shared.codec.status(&status)),
    }
}

/// A message with a connection's status.
pub fn connection_message(
    shared: &Shared,
    partition: i32,
    connection: &str,
    whole: ConnectionStatus,
) -> Message {
    let status = Status {
        connection: connection.to_owned(),
        at: shared.clock.now_ms(),
        whole: Some(whole),
        stream: None,
    };
    Message {
        topic: shared.topics.status.clone(),
        partition: Some(partition),
        key: connection.to_owned(),
        payload: Some(shared.codec.status(&status)),
    }
}

/// Takes over what a position says.
pub fn follow(view: &mut StreamStatus, checkpoint: &Checkpoint) {
    if let Some(run) = &checkpoint.run {
        if view.run_id.as_deref() != Some(&run.run_id) {
            view.outcome = None;
        }
        view.run_id = Some(run.run_id.clone());
        view.reason = Some(run.reason.clone());
        view.request_id.clone_from(&run.request_id);
        view.run_records = run.records;
    }
    view.request_done.clone_from(&checkpoint.request_done);
    view.total_records = checkpoint.records_total;
    view.cursor = checkpoint.cursor;
    view.last_success_at = checkpoint.last_success_at;
    if checkpoint.full_pass.is_some() {
        view.full_pass.clone_from(&checkpoint.full_pass);
    }
}

/// A failure of the source as the status shows it.
pub fn problem(error: &SourceError, at: Millis) -> Problem {
    Problem {
        code: error.code.to_owned(),
        message: error.problem.clone(),
        advice: error.remedy.clone(),
        at,
    }
}

#[cfg(test)]
mod tests {
    use schemas::Run;

    use super::*;

    #[test]
    fn a_status_keeps_the_last_run_when_the_position_has_none() {
        let mut view = StreamStatus {
            outcome: Some("failed".to_owned()),
            ..Default::default()
        };
        let run = Run {
            run_id: "r".to_owned(),
            records: 7,
            ..Run::default()
        };
        let mut checkpoint = Checkpoint {
            run: Some(run),
            records_total: 9,
            ..Checkpoint::default()
        };
        follow(&mut view, &checkpoint);
        assert_eq!(view.outcome, None, "a new run has no outcome");
        checkpoint.run = None;
        checkpoint.cursor = Some(5);
        follow(&mut view, &checkpoint);
        assert_eq!((view.run_id.as_deref(), view.run_records), (Some("r"), 7));
        assert_eq!((view.cursor, view.total_records), (Some(5), 9));
    }
}
