//! Messages to rows: which of them go into which tables.
//!
//! The live loader, the reprocessing of dead letters and a rebuild share it. It
//! must not know where messages come from, nor when an offset is committed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use schemas::{CrmRecord, codec, default_destination, property_map::Properties};

use super::decoders::{Datum, Decoders};
use crate::ingest::{Control, Row, Tables, Target, poll::message::Message};

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
    /// Bytes of a message by its index.
    pub(crate) fn size(&self, index: usize) -> usize {
        self.messages.get(index).map_or(0, Message::size)
    }

    /// A row by its index; `None` where it is not a record. `read` is the
    /// reader of its datum.
    pub(crate) fn row<'s>(
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

/// Reads a datum.
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
        let mut rows = Found::new();
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
type Found = BTreeMap<Key, Indexes>;

fn flush(rows: &mut Found, last: Option<(Key, Indexes)>) {
    let Some((key, (version, indexes))) = last else {
        return;
    };
    let (highest, all) = rows.entry(key).or_default();
    *highest = (*highest).max(version);
    all.extend(indexes);
}
