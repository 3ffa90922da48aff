//! The index of each stream, from its changelog, and what the log of records has of a
//! portal whose index is not complete.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::{kafka::KafkaArgs, schema_lookup::MessageRef};
use rdkafka::Message as _;
use schemas::{
    ContentHasher, CrmRecord, Definitions, IndexEntries, IndexKey, Topics, content_hash,
    index::parse_index_key, unframe,
};

use super::{Decoder, Undecodable, restore::read_all};
use crate::index::{Damaged, Entry, LAYOUT, StreamIndex};

/// Entries of the scan that are put into an index at once: sorted, they are cheap.
const AT_ONCE: usize = 50_000;

/// Indexes by connection and stream; each is taken once, by its owner.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    by_stream: Mutex<HashMap<(String, String), StreamIndex>>,
}

impl Indexes {
    /// The index of a stream, which is empty for the next caller.
    pub(crate) fn take(&self, connection: &str, stream: &str) -> StreamIndex {
        let key = (connection.to_owned(), stream.to_owned());
        let mut indexes = self
            .by_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        indexes.remove(&key).unwrap_or_default()
    }

    /// The streams of a connection that have one.
    pub(crate) fn streams_of(&self, connection: &str) -> Vec<String> {
        let indexes = self
            .by_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let keys = indexes.keys().filter(|key| key.0 == connection);
        keys.map(|key| key.1.clone()).collect()
    }

    /// Takes a message of the changelog, in its order.
    pub(super) fn restore(
        &mut self,
        decoder: &Decoder,
        key: &str,
        value: Option<MessageRef<'_>>,
    ) -> Result<(), Undecodable> {
        let Some((connection, stream, index_key)) = parse_index_key(key) else {
            return Err(Undecodable::Poison("not a key of the index".to_owned()));
        };
        let entries = value
            .map(|value| decoder.decode::<IndexEntries>(value, "IndexEntries"))
            .transpose()?;
        if let Some(other) = entries.as_ref().map(|it| it.layout)
            && other != LAYOUT
        {
            return Err(Undecodable::Later(format!(
                "entries of the index are packed in layout {other}, which a newer version wrote"
            )));
        }
        self.put(
            connection,
            stream,
            index_key,
            entries.as_ref().map(|it| &*it.entries),
        )
        .map_err(|error| Undecodable::Poison(error.to_string()))
    }

    /// Puts what a message has.
    pub(crate) fn put(
        &mut self,
        connection: &str,
        stream: &str,
        key: IndexKey,
        entries: Option<&[u8]>,
    ) -> Result<(), Damaged> {
        self.by_stream
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((connection.to_owned(), stream.to_owned()))
            .or_default()
            .restore(key, entries)
    }
}

/// A portal's object type.
pub(crate) type PortalType = (i64, String);

/// What is looked for in the log of records.
#[derive(Debug, Clone)]
pub(crate) struct ObjectScan {
    /// Of which objects.
    pub(crate) portal_type: PortalType,
    /// By which records of a former version, which have no content hash, get theirs.
    pub(crate) definitions: Arc<Definitions>,
}

/// What the log of records has of these object types, in one scan. Blocks.
pub(crate) fn objects(
    kafka: &KafkaArgs,
    client_id: &str,
    asked: &[ObjectScan],
) -> anyhow::Result<Vec<StreamIndex>> {
    let topic = Topics::with_prefix(&kafka.topic_prefix).records;
    let mut found: HashMap<&PortalType, Found> = HashMap::new();
    for scan in asked {
        let found = found.entry(&scan.portal_type).or_default();
        found.hasher = ContentHasher::new(&scan.definitions);
    }
    read_all(
        kafka,
        client_id,
        &topic,
        0..kafka.record_partitions,
        |message| {
            let Some(portal_type) = message.key().and_then(portal_type) else {
                return Ok(());
            };
            let Some(found) = found.get_mut(&portal_type) else {
                return Ok(());
            };
            // What cannot be decoded is not ours; consumers have it as a dead letter.
            let payload = message.payload();
            let entry = payload.and_then(|payload| entry(payload, &mut found.hasher));
            found.waiting.extend(entry.map(|(_, entry)| entry));
            if found.waiting.len() >= AT_ONCE {
                found.index.put(std::mem::take(&mut found.waiting));
            }
            Ok(())
        },
    )?;
    let answer = |scan: &ObjectScan| {
        let Found {
            mut index, waiting, ..
        } = found.remove(&scan.portal_type).unwrap_or_default();
        index.put(waiting);
        index
    };
    Ok(asked.iter().map(answer).collect())
}

#[derive(Default)]
struct Found {
    index: StreamIndex,
    waiting: Vec<Entry>,
    hasher: ContentHasher,
}

fn portal_type(key: &[u8]) -> Option<PortalType> {
    let mut parts = std::str::from_utf8(key).ok()?.split('/');
    Some((parts.next()?.parse().ok()?, parts.next()?.to_owned()))
}

/// The type of a record's object, and the entry of its version.
pub(crate) fn entry(payload: &[u8], hasher: &mut ContentHasher) -> Option<(PortalType, Entry)> {
    let record = CrmRecord::decode(unframe(payload).ok()?.datum).ok()?;
    let content_hash = match record.content_hash.cast_unsigned() {
        content_hash::UNKNOWN => hasher.of_record(&record),
        known => known,
    };
    let entry = Entry {
        id: record.object_id,
        updated_at: record.updated_at,
        content_hash,
        sequence: record.fetch_sequence,
        archived: record.archived,
        deleted: record.deleted,
        ..Entry::default()
    };
    Some(((record.portal_id, record.object_type.to_owned()), entry))
}
