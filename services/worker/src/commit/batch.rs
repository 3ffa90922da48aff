//! What goes into one transaction, encoded.
//!
//! It must not know how it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{
    CrmRecord, PropertyMap, checkpoint::stream_key, definitions::definitions_key, record_key,
};
use tokio::sync::oneshot;

use super::{Item, Message, Shared, StreamState, sink::Submitted};
use crate::{status, sync::Record};

/// The broker's limit on the records topic, less what a batch adds to a
/// message.
const MAX_RECORD_BYTES: usize = 32 * 1024 * 1024 - 1024;

/// One message of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The message.
    pub message: Message,
    /// Why it goes to dead letters, if it does.
    pub dead: Option<Dead>,
}

/// Why a message goes to dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Where it should have gone.
    pub source_topic: String,
    /// Stable, `snake_case`.
    pub reason: &'static str,
    /// What the broker or the client said.
    pub error: String,
}

/// What goes into one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Outgoing>,
    pub(super) records: usize,
    pub(super) bytes: usize,
    pages: Vec<Submitted>,
    last_page: BTreeMap<(String, String), usize>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Batch {
    /// Takes an item in; an item that is a question is given back.
    pub(super) fn add(&mut self, item: Item, shared: &Shared) -> Option<oneshot::Sender<Vec<i64>>> {
        match item {
            Item::Page(submitted) => self.add_page(*submitted, shared),
            Item::Messages(messages, done) => {
                for message in messages {
                    self.push(message);
                }
                self.waiting.push(done);
            }
            Item::EndOffsets(answer) => return Some(answer),
            Item::Close => {}
        }
        None
    }

    fn add_page(&mut self, submitted: Submitted, shared: &Shared) {
        let page = &submitted.page;
        if let Some(definitions) = &page.definitions {
            let key = definitions_key(definitions.portal_id, &definitions.object_type);
            let payload = shared.codec.definitions(definitions);
            let topic = shared.topics.definitions.clone();
            self.push(Message {
                topic,
                partition: None,
                key,
                payload: Some(payload),
            });
        }
        for record in &page.records {
            let message = encode(record, &submitted, shared);
            self.push(message);
        }
        self.records += page.records.len();
        let checkpoint = &page.checkpoint;
        let key = (checkpoint.connection.clone(), checkpoint.stream.clone());
        self.last_page.insert(key, self.pages.len());
        self.pages.push(submitted);
    }

    fn push(&mut self, message: Message) {
        let size = message.payload.as_ref().map_or(0, Vec::len) + message.key.len();
        self.bytes += size;
        let too_large = size > MAX_RECORD_BYTES;
        self.messages.push(Outgoing {
            message,
            dead: None,
        });
        if too_large {
            self.bury(
                self.messages.len() - 1,
                "too_large",
                format!("{size} bytes"),
            );
        }
    }

    /// Sends the message at that place to dead letters instead. Its topic is
    /// named when it is sent.
    pub(super) fn bury(&mut self, place: usize, reason: &'static str, error: String) {
        if let Some(outgoing) = self.messages.get_mut(place)
            && outgoing.dead.is_none()
        {
            let source_topic = outgoing.message.topic.clone();
            tracing::error!(
                topic = source_topic,
                reason,
                error,
                "a message cannot be sent"
            );
            metrics::counter!(super::DEAD_LETTERS).increment(1);
            outgoing.dead = Some(Dead {
                source_topic,
                reason,
                error,
            });
        }
    }

    /// Adds the positions: of each stream only the last, and what its status
    /// then says.
    pub(super) fn seal(&mut self, partition: i32, shared: &Shared) {
        let now = shared.clock.now_ms();
        let mut messages = Vec::new();
        for place in self.last_page.values() {
            let Some(submitted) = self.pages.get(*place) else {
                continue;
            };
            let checkpoint = &submitted.page.checkpoint;
            messages.push(Message {
                topic: shared.topics.checkpoints.clone(),
                partition: Some(partition),
                key: stream_key(&checkpoint.connection, &checkpoint.stream),
                payload: Some(shared.codec.checkpoint(checkpoint)),
            });
            if let Some(view) = submitted.state.progress(checkpoint, submitted.run.as_ref()) {
                let connection = &checkpoint.connection;
                messages.push(status::stream_message(
                    shared, partition, connection, view, now,
                ));
            }
        }
        for message in messages {
            self.push(message);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The pages of the batch and how many records each has.
    pub(super) fn committed(self) {
        for submitted in &self.pages {
            submitted
                .state
                .committed(submitted.sequence, submitted.page.records.len());
        }
        for done in self.waiting {
            // Whoever asked may have gone.
            let _gone = done.send(());
        }
    }
}

fn encode(record: &Record, submitted: &Submitted, shared: &Shared) -> Message {
    let checkpoint = &submitted.page.checkpoint;
    let state: &Arc<StreamState> = &submitted.state;
    let run = submitted.run.as_ref();
    let empty = PropertyMap::default();
    let object = &record.object;
    let definitions_version = submitted
        .page
        .definitions
        .as_ref()
        .map_or(checkpoint.definitions_version, |it| {
            it.version.max(checkpoint.definitions_version)
        });
    let message = CrmRecord {
        portal_id: checkpoint.portal_id,
        object_type: state.stream(),
        object_id: object.id,
        created_at: object.created_at,
        updated_at: object.updated_at,
        archived: object.archived,
        deleted: record.deleted,
        properties: if record.deleted {
            &empty
        } else {
            &object.properties
        },
        connection: state.connection(),
        run_id: run.map_or("", |run| run.run_id.as_str()),
        reason: run.map_or("", |run| run.reason.as_str()),
        fetched_at: record.fetched_at,
        fetch_sequence: record.fetch_sequence,
        merged_into: record.merged_into,
        definitions_version,
    };
    Message {
        topic: shared.topics.records.clone(),
        partition: None,
        key: record_key(checkpoint.portal_id, state.stream(), object.id),
        payload: Some(message.encode(shared.codec.ids().records)),
    }
}
