//! Messages to inserts: which rows go into which tables, encoded.
//!
//! The live loader, the reprocessing of dead letters and a rebuild share it. It
//! must not know where messages come from, nor when an offset is committed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use schemas::{CrmRecord, codec, default_destination, property_map::Properties};
use tokio::sync::watch;
use twox_hash::XxHash3_128;

use super::{
    Block, Control, Row, Store, StoreError, StoreErrorKind, Tables, Target,
    decode::{Datum, Decoders},
    definitions::Known,
    message::Message,
};

/// How long a batch waits for what should be on its way.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For definitions with the number that a record names.
    pub definitions: Duration,
    /// For the command that names a connection's destination.
    pub destination: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            definitions: Duration::from_secs(10),
            destination: Duration::from_secs(5),
        }
    }
}

/// Messages with what is needed to read them again at any time.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) topic: String,
    pub(crate) messages: Vec<Message>,
    data: Vec<Datum>,
}

impl Source {
    /// A row by its index; `None` where it is not a record. `read` is the
    /// reader of its datum.
    fn row<'s>(
        &'s self,
        index: usize,
        read: ReadRecord<'s>,
    ) -> Option<Result<Row<'s>, codec::DecodeError>> {
        let message = self.messages.get(index)?;
        let datum = match self.data.get(index)? {
            Datum::AsIs => codec::unframe(message.value.as_deref()?).ok()?.datum,
            Datum::Translated(datum) => datum,
            Datum::Poison { .. } | Datum::Held(_) => return None,
        };
        Some(read(datum).map(|record| Row {
            record,
            topic: &self.topic,
            partition: message.partition,
            offset: message.offset,
        }))
    }
}

type ReadRecord<'a> = fn(&'a [u8]) -> Result<CrmRecord<'a, Properties<'a>>, codec::DecodeError>;

/// Rows that go into the tables of one target.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) target: Target,
    pub(crate) portal_id: i64,
    /// The highest that its records name.
    pub(crate) definitions_version: i64,
    /// Indexes into the source.
    pub(crate) rows: Vec<usize>,
}

/// What the messages of a source turned out to be.
#[derive(Debug)]
pub(crate) struct Sorted {
    pub(crate) source: Source,
    pub(crate) groups: Vec<Group>,
    /// Index, reason and error of each message that can never be stored.
    pub(crate) poison: Vec<(usize, &'static str, String)>,
    /// By partition, the first message that cannot be read now, and why.
    pub(crate) held: BTreeMap<i32, Held>,
}

/// A message that cannot be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) offset: i64,
    pub(crate) turn: u64,
    pub(crate) reason: String,
}

/// A group, encoded.
#[derive(Debug)]
pub(crate) struct Inserts {
    /// Blocks with their tokens.
    pub(crate) blocks: Vec<(Block, String)>,
    /// Index into the source and reason of each row that no column can take.
    pub(crate) refused: Vec<(usize, String)>,
}

/// Sorts messages by target.
#[derive(Debug)]
pub(crate) struct Sorter {
    decoders: Decoders,
    control: Arc<dyn Control>,
    tables: Tables,
    patience: Patience,
    /// Connections that no command has named within the time.
    nameless: HashSet<String>,
}

impl Sorter {
    pub(crate) fn new(
        decoders: Decoders,
        control: Arc<dyn Control>,
        tables: Tables,
        patience: Patience,
    ) -> Self {
        Self {
            decoders,
            control,
            tables,
            patience,
            nameless: HashSet::new(),
        }
    }

    /// Says which tables are meant from now on.
    pub(crate) fn aim(&mut self, tables: Tables) {
        self.tables = tables;
    }

    /// Decodes and sorts; waits for destinations that are on their way.
    pub(crate) async fn sort(&mut self, topic: &str, messages: Vec<Message>) -> Sorted {
        let data = self.decoders.resolve(&messages).await;
        let source = Source {
            topic: topic.to_owned(),
            messages,
            data,
        };
        let mut poison = Vec::new();
        let mut held: BTreeMap<i32, Held> = BTreeMap::new();
        let mut rows = Rows::new();
        let mut last: Option<(Key, Indexes)> = None;
        for (index, (message, datum)) in source.messages.iter().zip(&source.data).enumerate() {
            if held.contains_key(&message.partition) {
                continue;
            }
            match datum {
                Datum::Poison { reason, error } => poison.push((index, *reason, error.clone())),
                Datum::Held(reason) => {
                    let reason = reason.clone();
                    let (offset, turn) = (message.offset, message.turn);
                    held.insert(
                        message.partition,
                        Held {
                            offset,
                            turn,
                            reason,
                        },
                    );
                }
                Datum::AsIs | Datum::Translated(_) => match source.row(index, CrmRecord::decode) {
                    Some(Ok(row)) => {
                        let record = &row.record;
                        // Neighbours mostly share their target: no key is built for them.
                        if let Some((key, (version, indexes))) = &mut last
                            && key.0 == record.connection
                            && key.1 == record.object_type
                            && key.2 == record.portal_id
                        {
                            *version = (*version).max(record.definitions_version);
                            indexes.push(index);
                            continue;
                        }
                        flush(&mut rows, last.take());
                        let key = (
                            record.connection.to_owned(),
                            record.object_type.to_owned(),
                            record.portal_id,
                        );
                        last = Some((key, (record.definitions_version, vec![index])));
                    }
                    Some(Err(error)) => poison.push((index, "undecodable", error.to_string())),
                    None => {}
                },
            }
        }
        flush(&mut rows, last.take());
        let mut groups = Vec::with_capacity(rows.len());
        for ((connection, object_type, portal_id), (definitions_version, rows)) in rows {
            let destination = self.destination(&connection).await;
            let target = Target {
                connection,
                destination,
                object_type,
                tables: self.tables,
            };
            groups.push(Group {
                target,
                portal_id,
                definitions_version,
                rows,
            });
        }
        Sorted {
            source,
            groups,
            poison,
            held,
        }
    }

    /// Where a connection lands. Its command may be read later than its first
    /// records, as the topics are read apart from each other.
    async fn destination(&mut self, connection: &str) -> String {
        let step = Duration::from_millis(50);
        let mut waited = Duration::ZERO;
        loop {
            if let Some(destination) = self.control.destination(connection) {
                self.nameless.remove(connection);
                return destination;
            }
            if waited >= self.patience.destination || self.nameless.contains(connection) {
                break;
            }
            tokio::time::sleep(step).await;
            waited += step;
        }
        let destination = default_destination(connection);
        if self.nameless.insert(connection.to_owned()) {
            tracing::warn!(
                connection,
                destination,
                "no command names this connection: its records land by the default rule"
            );
        }
        destination
    }
}

/// Connection, object type and portal.
type Key = (String, String, i64);
/// The highest version of definitions, and the rows.
type Indexes = (i64, Vec<usize>);
type Rows = BTreeMap<Key, Indexes>;

fn flush(rows: &mut Rows, last: Option<(Key, Indexes)>) {
    let Some((key, (version, indexes))) = last else {
        return;
    };
    let (highest, all) = rows.entry(key).or_default();
    *highest = (*highest).max(version);
    all.extend(indexes);
}

/// Brings tables up to the definitions and encodes rows for them.
pub(crate) struct Encoder {
    store: Arc<dyn Store>,
    definitions: watch::Receiver<Known>,
    patience: Patience,
    /// By target and portal, the version of definitions that its tables have.
    applied: Mutex<HashMap<(Target, i64), i64>>,
    /// Versions that did not come in time; they are not waited for again.
    missed: Mutex<HashSet<(i64, String, i64)>>,
}

impl Encoder {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        definitions: watch::Receiver<Known>,
        patience: Patience,
    ) -> Self {
        Self {
            store,
            definitions,
            patience,
            applied: Mutex::default(),
            missed: Mutex::default(),
        }
    }

    /// Makes sure that the group's tables have the columns which its records
    /// may fill, as far as the definitions have come in time.
    pub(crate) async fn ready(&self, group: &Group) -> Result<(), StoreError> {
        self.wait_for_definitions(group).await;
        let known = self.version(group.portal_id, &group.target.object_type);
        let key = (group.target.clone(), group.portal_id);
        let applied = self
            .applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .copied();
        if applied.is_some_and(|version| version >= known) {
            return Ok(());
        }
        self.apply(&key.0, group.portal_id).await
    }

    /// Applies the newest definitions, whatever is applied.
    pub(crate) async fn apply(&self, target: &Target, portal_id: i64) -> Result<(), StoreError> {
        let definitions = self
            .definitions
            .borrow()
            .get(portal_id, &target.object_type)
            .cloned();
        self.store.apply(target, definitions.as_deref()).await?;
        let version = definitions.map_or(0, |it| it.version);
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((target.clone(), portal_id), version);
        Ok(())
    }

    /// Targets whose tables are behind the definitions.
    pub(crate) fn behind(&self) -> Vec<(Target, i64)> {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied
            .iter()
            .filter(|((target, portal), version)| {
                **version < self.version(*portal, &target.object_type)
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Forgets what is applied: the tables are others now.
    pub(crate) fn forget(&self) {
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Encodes some rows of a group.
    pub(crate) fn encode(
        &self,
        source: &Source,
        target: &Target,
        rows: &[usize],
    ) -> Result<Inserts, StoreError> {
        let decoded: Vec<Row<'_>> = rows
            .iter()
            .filter_map(|index| source.row(*index, CrmRecord::decode_again)?.ok())
            .collect();
        if decoded.len() != rows.len() {
            // INVARIANT: a group holds only rows that were decoded before.
            let context = "a row that was decoded before is not decodable";
            return Err(StoreError::new(StoreErrorKind::Fatal, context));
        }
        let encoded = self.store.encode(target, &decoded)?;
        let ranges = ranges(&decoded);
        let blocks = encoded
            .blocks
            .into_iter()
            .map(|block| {
                let token = token(&block, &source.topic, &ranges);
                (block, token)
            })
            .collect();
        let refused = encoded
            .refused
            .into_iter()
            .filter_map(|(index, why)| Some((*rows.get(index)?, why)))
            .collect();
        Ok(Inserts { blocks, refused })
    }

    fn version(&self, portal_id: i64, object_type: &str) -> i64 {
        self.definitions
            .borrow()
            .get(portal_id, object_type)
            .map_or(0, |it| it.version)
    }

    async fn wait_for_definitions(&self, group: &Group) {
        let wanted = group.definitions_version;
        let object_type = &group.target.object_type;
        if self.version(group.portal_id, object_type) >= wanted {
            return;
        }
        let miss = (group.portal_id, object_type.clone(), wanted);
        if self
            .missed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&miss)
        {
            return;
        }
        let mut definitions = self.definitions.clone();
        let arrived = definitions.wait_for(|known| {
            known
                .get(group.portal_id, object_type)
                .is_some_and(|it| it.version >= wanted)
        });
        let in_time = tokio::time::timeout(self.patience.definitions, arrived)
            .await
            .is_ok_and(|arrived| arrived.is_ok());
        if !in_time {
            tracing::warn!(
                portal_id = group.portal_id,
                object_type,
                version = wanted,
                "definitions did not come in time: unknown properties go to the extra column"
            );
            self.missed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(miss);
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

/// First and last offset by partition.
fn ranges(rows: &[Row<'_>]) -> BTreeMap<i32, (i64, i64)> {
    let mut ranges = BTreeMap::new();
    for row in rows {
        let range = ranges
            .entry(row.partition)
            .or_insert((row.offset, row.offset));
        range.0 = range.0.min(row.offset);
        range.1 = range.1.max(row.offset);
    }
    ranges
}

/// The same rows in the same encoding from the same place in the log, and
/// nothing else, have the same token.
fn token(block: &Block, topic: &str, ranges: &BTreeMap<i32, (i64, i64)>) -> String {
    let mut hash = XxHash3_128::new();
    for part in [&block.table, topic] {
        hash.write(&part.len().to_le_bytes());
        hash.write(part.as_bytes());
    }
    for (partition, (first, last)) in ranges {
        hash.write(&partition.to_le_bytes());
        hash.write(&first.to_le_bytes());
        hash.write(&last.to_le_bytes());
    }
    for part in &block.parts {
        hash.write(part);
    }
    format!("{:032x}", hash.finish_128())
}
