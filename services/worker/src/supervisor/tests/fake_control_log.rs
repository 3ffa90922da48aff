//! The log in memory: fencing, transactions, and what a reader of committed
//! messages sees.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use schemas::{
    Checkpoint, ConnectionStatus, ContentHasher, Definitions, IndexEntries, Status, StreamStatus,
    Topics, codec, unframe,
};
use serde::de::DeserializeOwned;

use super::changes::Changes;
use crate::{
    commit::{Failure, Outgoing, TransactionalLog},
    index::StreamIndex,
    messages::Message,
    ownership::{ClaimKeys, KnownDefinitions, ObjectScan, Restored},
    supervisor::ControlLog,
};

/// A message that was committed.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) topic: String,
    pub(super) partition: Option<i32>,
    pub(super) key: String,
    pub(super) payload: Option<Vec<u8>>,
    /// Requests to HubSpot that were open at the commit.
    pub(super) open_requests: usize,
}

#[derive(Debug, Default)]
struct LogState {
    committed: Vec<Written>,
    /// How often each partition was fenced.
    fences: HashMap<i32, u64>,
    open_logs: usize,
    /// A transaction with a message of this key is not committed yet.
    held_key: Option<String>,
    /// Whether one waits for that.
    is_held: bool,
}

#[derive(Debug, Clone)]
pub(super) struct FakeControlLog {
    pub(super) topics: Topics,
    state: Arc<Mutex<LogState>>,
    released: Arc<Condvar>,
    changes: Changes,
}

impl FakeControlLog {
    pub(super) fn new(topics: Topics, changes: Changes) -> Self {
        Self {
            topics,
            state: Arc::default(),
            released: Arc::default(),
            changes,
        }
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap()
    }

    /// All that was committed, in its order.
    pub(super) fn committed(&self) -> Vec<Written> {
        self.state().committed.clone()
    }

    /// Transactional logs that are open, and so could still be written to.
    pub(super) fn open_logs(&self) -> usize {
        self.state().open_logs
    }

    /// How often a partition was fenced.
    pub(super) fn fences(&self, partition: i32) -> u64 {
        self.state()
            .fences
            .get(&partition)
            .copied()
            .unwrap_or_default()
    }

    /// Fences a partition as another worker would.
    pub(super) fn fence_by_another(&self, partition: i32) {
        *self.state().fences.entry(partition).or_default() += 1;
    }

    /// The commit of a transaction with a message of this key has to wait.
    pub(super) fn hold(&self, key: &str) {
        self.state().held_key = Some(key.to_owned());
    }

    /// Whether such a commit waits.
    pub(super) fn is_held(&self) -> bool {
        self.state().is_held
    }

    /// It is made.
    pub(super) fn release(&self) {
        let mut state = self.state();
        (state.held_key, state.is_held) = (None, false);
        self.released.notify_all();
    }

    /// Keys of the records committed.
    pub(super) fn records(&self) -> Vec<String> {
        let committed = self.committed();
        let records = committed
            .into_iter()
            .filter(|it| it.topic == self.topics.records);
        records.map(|it| it.key).collect()
    }

    /// The last message under a key.
    pub(super) fn last(&self, topic: &str, key: &str) -> Option<Written> {
        let state = self.state();
        let mut newest_first = state.committed.iter().rev();
        newest_first
            .find(|it| it.topic == topic && it.key == key)
            .cloned()
    }

    /// The last status of a connection.
    pub(super) fn connection(&self, name: &str) -> Option<ConnectionStatus> {
        let message = self.last(&self.topics.status, name)?;
        read::<Status>(schemas::status::SCHEMA, &message.payload?).whole
    }

    /// The last status of a stream, named `connection/stream`.
    pub(super) fn stream(&self, key: &str) -> Option<StreamStatus> {
        let message = self.last(&self.topics.status, key)?;
        read::<Status>(schemas::status::SCHEMA, &message.payload?).stream
    }

    /// All statuses of a stream, named `connection/stream`, in the order of the log.
    pub(super) fn streams(&self, key: &str) -> Vec<StreamStatus> {
        self.of_key(&self.topics.status, key)
            .filter_map(|it| read::<Status>(schemas::status::SCHEMA, &it.payload?).stream)
            .collect()
    }

    /// All definitions written under a key, in the order of the log.
    pub(super) fn definitions(&self, key: &str) -> Vec<Definitions> {
        self.of_key(&self.topics.definitions, key)
            .map(|it| read(schemas::definitions::SCHEMA, &it.payload.unwrap()))
            .collect()
    }

    /// All messages under a key, in the order of the log.
    fn of_key(&self, topic: &str, key: &str) -> impl Iterator<Item = Written> {
        let committed = self.committed().into_iter();
        committed.filter(move |it| it.topic == topic && it.key == key)
    }

    /// Writes a message as the owner of another partition would.
    pub(super) fn write_by_another(&self, message: Message) {
        let written = Written {
            topic: message.topic,
            partition: message.partition,
            key: message.key,
            payload: message.payload,
            open_requests: 0,
        };
        self.state().committed.push(written);
        self.changes.notify();
    }

    /// The last checkpoint of a stream, named `connection/stream`.
    pub(super) fn checkpoint(&self, key: &str) -> Option<Checkpoint> {
        let message = self.last(&self.topics.checkpoints, key)?;
        Some(read(schemas::checkpoint::SCHEMA, &message.payload?))
    }
}

fn read<T: DeserializeOwned>(schema: &str, payload: &[u8]) -> T {
    codec::decode(schema, unframe(payload).unwrap().datum).unwrap()
}

impl ControlLog for FakeControlLog {
    fn fence(&self, partition: i32) -> anyhow::Result<Box<dyn TransactionalLog>> {
        let mut state = self.state();
        state.open_logs += 1;
        let fences = state.fences.entry(partition).or_default();
        *fences += 1;
        Ok(Box::new(FakePartitionLog {
            log: self.clone(),
            partition,
            fence: *fences,
            open: Vec::new(),
        }))
    }

    fn restore(&self, partitions: &[i32]) -> anyhow::Result<Restored> {
        let mut restored = Restored::default();
        for message in self.committed() {
            if message
                .partition
                .is_some_and(|it| !partitions.contains(&it))
            {
                continue;
            }
            let stream = message.key.split_once('/');
            let stream = stream.map(|(name, stream)| (name.to_owned(), stream.to_owned()));
            if message.topic == self.topics.definitions {
                let definitions: Definitions =
                    read(schemas::definitions::SCHEMA, &message.payload.unwrap());
                restored.definitions.insert(definitions);
            } else if message.topic == self.topics.index {
                let entries = message
                    .payload
                    .map(|it| read::<IndexEntries>(schemas::index::SCHEMA, &it).entries);
                let (connection, stream, key) =
                    schemas::index::parse_index_key(&message.key).unwrap();
                let put = restored
                    .indexes
                    .put(connection, stream, key, entries.as_deref());
                put.unwrap();
            } else if message.topic == self.topics.checkpoints {
                let stream = stream.unwrap();
                match message.payload {
                    Some(it) => restored
                        .checkpoints
                        .insert(stream, read(schemas::checkpoint::SCHEMA, &it)),
                    None => restored.checkpoints.remove(&stream),
                };
            } else if message.topic == self.topics.status {
                let status = message
                    .payload
                    .map(|it| read::<Status>(schemas::status::SCHEMA, &it));
                if let Some(whole) = status.as_ref().and_then(|it| it.whole.clone()) {
                    restored.connections.insert(message.key, whole);
                } else if let Some(view) = status.and_then(|it| it.stream) {
                    restored.streams.insert(stream.unwrap(), view);
                }
            }
        }
        Ok(restored)
    }

    fn definitions(&self, keys: &HashSet<String>) -> anyhow::Result<KnownDefinitions> {
        let mut known = KnownDefinitions::default();
        for key in keys {
            for definitions in self.definitions(key) {
                known.insert(definitions);
            }
        }
        Ok(known)
    }

    fn objects(&self, asked: &[ObjectScan]) -> anyhow::Result<Vec<StreamIndex>> {
        let mut found = vec![StreamIndex::default(); asked.len()];
        for message in self.committed() {
            if message.topic != self.topics.records {
                continue;
            }
            let payload = message.payload.unwrap();
            let mut hasher = ContentHasher::default();
            let (portal_type, entry) = crate::ownership::entry(&payload, &mut hasher).unwrap();
            if let Some(at) = asked.iter().position(|it| it.portal_type == portal_type) {
                found[at].put(vec![entry]);
            }
        }
        Ok(found)
    }

    fn claims(&self, asked: &[ClaimKeys]) -> anyhow::Result<Vec<Vec<String>>> {
        let committed = self.committed();
        let mut answers = Vec::new();
        for keys in asked {
            let mut claims: Vec<String> = Vec::new();
            for message in &committed {
                if message.topic != self.topics.status || message.partition != Some(keys.partition)
                {
                    continue;
                }
                if let Some(connection) = message.key.strip_prefix(&keys.prefix) {
                    claims.retain(|it| it != connection);
                    claims.extend(message.payload.is_some().then(|| connection.to_owned()));
                }
            }
            answers.push(claims);
        }
        Ok(answers)
    }
}

/// The transactional log of one partition, until another fences it.
#[derive(Debug)]
struct FakePartitionLog {
    log: FakeControlLog,
    partition: i32,
    fence: u64,
    open: Vec<Written>,
}

impl FakePartitionLog {
    fn check_fence(&self) -> Result<(), Failure> {
        if self.log.fences(self.partition) == self.fence {
            Ok(())
        } else {
            Err(Failure::Fatal("fenced by another".to_owned()))
        }
    }

    fn wait_while_held(&self) {
        let is_held = |state: &mut LogState| {
            state.is_held = self
                .open
                .iter()
                .any(|it| Some(&it.key) == state.held_key.as_ref());
            if state.is_held {
                self.log.changes.notify();
            }
            state.is_held
        };
        drop(
            self.log
                .released
                .wait_while(self.log.state(), is_held)
                .unwrap(),
        );
    }
}

impl TransactionalLog for FakePartitionLog {
    fn begin(&mut self) -> Result<(), Failure> {
        self.check_fence()
    }

    fn send(&mut self, _index: usize, message: &Outgoing<'_>) -> Result<(), Failure> {
        self.open.push(Written {
            topic: message.topic.to_owned(),
            partition: message.partition,
            key: message.key.to_owned(),
            payload: message.payload.map(<[u8]>::to_vec),
            open_requests: 0,
        });
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.check_fence()?;
        self.wait_while_held();
        let open_requests = self.log.changes.open_requests();
        let messages = self.open.drain(..).map(|it| Written {
            open_requests,
            ..it
        });
        self.log.state().committed.extend(messages);
        self.log.changes.notify();
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Failure> {
        self.open.clear();
        Ok(())
    }
}

impl Drop for FakePartitionLog {
    fn drop(&mut self) {
        self.log.state().open_logs -= 1;
        self.log.changes.notify();
    }
}
