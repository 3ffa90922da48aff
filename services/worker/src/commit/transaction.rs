//! The messages of one transaction.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chassis::traces::TraceParent;
use schemas::{CrmRecord, PropertyMap, checkpoint::stream_key};
use tokio::sync::oneshot;

use super::{CommitContext, Item, StreamState, sink::Submitted};
use crate::{messages::Message, sync::Record};

/// Largest message of the records topic in bytes: the topic's `max.message.bytes`,
/// less what a batch adds to a message.
const MAX_RECORD_BYTES: usize = 32 * 1024 * 1024 - 1024;
/// Upper bound in bytes of what a record takes beside its properties, its key
/// included: two names of up to 64 bytes twice, a run's id, and numbers.
const ENVELOPE_BYTES: usize = 512;

/// One message of a transaction, as it is handed to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outgoing<'a> {
    /// Full name of its topic, also where it goes to dead letters.
    pub(crate) topic: &'a str,
    /// The partition; `None` where the key decides it.
    pub(crate) partition: Option<i32>,
    /// Its key.
    pub(crate) key: &'a str,
    /// Its value; `None` for a tombstone.
    pub(crate) payload: Option<&'a [u8]>,
    /// The span that it is written in.
    pub(crate) trace: Option<&'a TraceParent>,
    /// Why it goes to dead letters, if it does.
    pub(crate) dead: Option<&'a DeadLetter>,
}

/// Key and value of the record being sent, encoded. Reused for every record of a
/// partition, so that a record costs no allocation.
#[derive(Debug, Default)]
pub(super) struct RecordBuffer {
    key: String,
    payload: Vec<u8>,
}

/// Why a message goes to dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// Full name of the topic that the message was for.
    pub(crate) source_topic: String,
    /// Stable, `snake_case`.
    pub(crate) reason: &'static str,
    /// What the broker or the client said.
    pub(crate) error: String,
    /// Whether it keeps the message's value.
    keeps_value: bool,
}

/// The messages of one transaction. Records are encoded while they are sent, so
/// that a large transaction is not in memory twice.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    entries: Vec<Entry>,
    dead: HashMap<usize, DeadLetter>,
    pub(super) records: usize,
    pub(super) bytes: usize,
    pages: Vec<Submitted>,
    last_page: BTreeMap<(String, String), usize>,
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum Entry {
    Message(Box<Message>),
    Record { page: usize, index: usize },
}

impl Transaction {
    /// Adds an item.
    pub(super) fn add(&mut self, item: Item, context: &CommitContext) {
        match item {
            Item::Page(submitted) => self.add_page(*submitted, context),
            Item::Messages(messages, done) => {
                for message in messages {
                    self.forget_before(&message, context);
                    self.push(message);
                }
                self.waiting.push(done);
            }
            Item::Close => {}
        }
    }

    fn add_page(&mut self, mut submitted: Submitted, context: &CommitContext) {
        if let Some(definitions) = submitted.definitions.take() {
            self.push(definitions);
        }
        let page = &submitted.page;
        let number = self.pages.len();
        for (index, record) in page.records.iter().enumerate() {
            let size = record.object.properties.encoded_len() + ENVELOPE_BYTES;
            self.bytes += size;
            self.entries.push(Entry::Record {
                page: number,
                index,
            });
            if size > MAX_RECORD_BYTES {
                self.mark_too_large(size, &context.messages.topics.records);
            }
        }
        self.records += page.records.len();
        let others = std::mem::take(&mut submitted.others);
        let checkpoint = &submitted.checkpoint;
        let key = (checkpoint.connection.clone(), checkpoint.stream.clone());
        self.last_page.insert(key, self.pages.len());
        self.pages.push(submitted);
        for message in others {
            self.push(message);
        }
    }

    /// The tombstone of a checkpoint is the last of its stream: what [`Self::seal`] would
    /// write of the pages before it is left out.
    fn forget_before(&mut self, message: &Message, context: &CommitContext) {
        if message.payload.is_none() && message.topic == context.messages.topics.checkpoints {
            self.last_page
                .retain(|(connection, stream), _| stream_key(connection, stream) != message.key);
        }
    }

    fn push(&mut self, message: Message) {
        let size = message.payload.as_ref().map_or(0, Vec::len) + message.key.len();
        self.bytes += size;
        let topic = (size > MAX_RECORD_BYTES).then(|| message.topic.clone());
        self.entries.push(Entry::Message(Box::new(message)));
        if let Some(topic) = topic {
            self.mark_too_large(size, &topic);
        }
    }

    fn mark_too_large(&mut self, size: usize, topic: &str) {
        let index = self.entries.len() - 1;
        self.insert_dead(index, topic, "too_large", format!("{size} bytes"));
    }

    /// Makes the message at an index a dead letter: it keeps its index and is sent
    /// to dead letters. A dead letter that was refused goes there without its value.
    /// Whether that changed anything.
    pub(super) fn mark_dead(
        &mut self,
        index: usize,
        reason: &'static str,
        error: String,
        context: &CommitContext,
    ) -> bool {
        if let Some(dead) = self.dead.get_mut(&index) {
            dead.error = format!(
                "{}; as a dead letter: {error}, so its value is lost",
                dead.error
            );
            return std::mem::take(&mut dead.keeps_value);
        }
        let topic = match self.entries.get(index) {
            Some(Entry::Message(message)) => message.topic.clone(),
            Some(Entry::Record { .. }) => context.messages.topics.records.clone(),
            None => return false,
        };
        self.insert_dead(index, &topic, reason, error);
        true
    }

    fn insert_dead(&mut self, index: usize, topic: &str, reason: &'static str, error: String) {
        if self.dead.contains_key(&index) {
            return;
        }
        tracing::error!(
            topic,
            reason,
            error,
            "a message can never be sent: it goes to dead letters"
        );
        metrics::counter!(super::DEAD_LETTERS).increment(1);
        let dead = DeadLetter {
            source_topic: topic.to_owned(),
            reason,
            error,
            keeps_value: true,
        };
        self.dead.insert(index, dead);
    }

    /// Number of messages.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The message at an index; a record is encoded into `buffer`.
    pub(super) fn message<'a>(
        &'a self,
        index: usize,
        buffer: &'a mut RecordBuffer,
        context: &'a CommitContext,
    ) -> Option<Outgoing<'a>> {
        let dead = self.dead.get(&index);
        let keeps_value = dead.is_none_or(|it| it.keeps_value);
        match self.entries.get(index)? {
            Entry::Message(message) => Some(Outgoing {
                topic: &message.topic,
                partition: message.partition,
                key: &message.key,
                payload: message.payload.as_deref().filter(|_| keeps_value),
                trace: None,
                dead,
            }),
            Entry::Record { page, index } => {
                let submitted = self.pages.get(*page)?;
                let record = submitted.page.records.get(*index)?;
                buffer.encode(record, submitted, context);
                Some(Outgoing {
                    topic: &context.messages.topics.records,
                    partition: None,
                    key: &buffer.key,
                    payload: keeps_value.then_some(buffer.payload.as_slice()),
                    trace: submitted.span.trace(),
                    dead,
                })
            }
        }
    }

    /// Adds the last checkpoint of each stream and, where it is due, the stream's
    /// status after it.
    pub(super) fn seal(&mut self, partition: i32, context: &CommitContext) {
        let now = context.clock.now_ms();
        let mut messages = Vec::new();
        for index in self.last_page.values() {
            let Some(submitted) = self.pages.get_mut(*index) else {
                continue;
            };
            messages.extend(submitted.checkpoint_message.take());
            let checkpoint = &submitted.checkpoint;
            let sequence = submitted.sequence;
            if let Some(view) = submitted.state.progress(sequence, checkpoint) {
                let connection = &checkpoint.connection;
                let message = context
                    .messages
                    .stream_status(partition, connection, view, now);
                match message {
                    Ok(message) => messages.push(message),
                    // The stream ends by it.
                    Err(error) => submitted.state.fail(error),
                }
            }
        }
        for message in messages {
            self.push(message);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports the commit to the streams and to the callers that wait for it.
    pub(super) fn committed(self) {
        for submitted in &self.pages {
            submitted.state.committed(submitted.sequence);
        }
        for done in self.waiting {
            // The caller may have stopped waiting.
            let _gone = done.send(());
        }
    }
}

impl RecordBuffer {
    fn encode(&mut self, record: &Record, submitted: &Submitted, context: &CommitContext) {
        let checkpoint = &submitted.checkpoint;
        let state: &Arc<StreamState> = &submitted.state;
        let run = submitted.run.as_ref();
        let empty = PropertyMap::default();
        let object = &record.object;
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
            definitions_version: checkpoint.definitions_version,
            content_hash: record.content_hash.cast_signed(),
        };
        self.key.clear();
        message.write_key(&mut self.key);
        self.payload.clear();
        message.encode_to(context.messages.ids.records, &mut self.payload);
    }
}
