//! Routes decoded messages to the tables that they go into. The loader, rebuilds
//! and the reprocessing of dead letters share it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use schemas::{CrmRecord, Properties, codec, default_destination};

use super::decoders::{Datum, Decoders};
use crate::ingest::{ControlState, Purged, Row, TableSet, Target, poll::message::Message};

/// How far the clocks of Kafka and the store may differ, in ms: 1 h.
const CLOCKS_APART: i64 = 3_600_000;

/// How long a batch waits for information that should arrive soon.
#[derive(Debug, Clone, Copy)]
pub struct WaitLimits {
    /// Maximum wait for the definitions of the version that a record names.
    pub definitions: Duration,
    /// Maximum wait for the command that names a connection's destination.
    pub destination: Duration,
}

impl Default for WaitLimits {
    fn default() -> Self {
        Self {
            definitions: Duration::from_secs(10),
            destination: Duration::from_secs(5),
        }
    }
}

/// Messages and what each contains. Rows are read from it as often as needed,
/// since rows need several times the memory.
#[derive(Debug)]
pub(crate) struct DecodedMessages {
    pub(crate) topic: String,
    pub(crate) messages: Vec<Message>,
    data: Vec<Datum>,
}

impl DecodedMessages {
    /// Bytes of the message with this index.
    pub(crate) fn size(&self, index: usize) -> usize {
        self.messages.get(index).map_or(0, Message::size)
    }

    /// The message with this index alone, with index 0.
    pub(crate) fn only(&self, index: usize) -> Option<Self> {
        let datum = match self.data.get(index)? {
            Datum::AsIs => Datum::AsIs,
            Datum::Translated(datum) => Datum::Translated(datum.clone()),
            Datum::Poison { .. } | Datum::Held(_) => return None,
        };
        Some(Self {
            topic: self.topic.clone(),
            messages: vec![self.messages.get(index)?.clone()],
            data: vec![datum],
        })
    }

    /// The row with this index, decoded by `read`; `None` if it is not a record.
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

/// Decodes a record.
type ReadRecord<'a> = fn(&'a [u8]) -> Result<CrmRecord<'a, Properties<'a>>, codec::DecodeError>;

/// The rows of one target.
#[derive(Debug, Clone)]
pub(crate) struct RowGroup {
    pub(crate) target: Target,
    /// The highest version of definitions that its records name.
    pub(crate) definitions_version: i64,
    /// Indexes of its messages.
    pub(crate) rows: Vec<usize>,
}

/// Messages, by what to do with them.
#[derive(Debug)]
pub(crate) struct RoutedMessages {
    pub(crate) decoded: DecodedMessages,
    pub(crate) groups: Vec<RowGroup>,
    /// Messages that can never be stored.
    pub(crate) poison: Vec<PoisonMessage>,
    /// By partition, the first message that cannot be decoded now.
    pub(crate) held: BTreeMap<i32, HeldMessage>,
    /// Indexes of the records that were purged.
    pub(crate) purged: Vec<usize>,
}

/// A message that can never be stored.
#[derive(Debug)]
pub(crate) struct PoisonMessage {
    /// Index of the message.
    pub(crate) index: usize,
    /// Stable code, in `snake_case`.
    pub(crate) reason: &'static str,
    /// What is wrong with it.
    pub(crate) error: String,
}

/// A message that cannot be decoded now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldMessage {
    pub(crate) offset: i64,
    pub(crate) reason: String,
}

/// Routes messages to targets.
#[derive(Debug)]
pub(crate) struct TargetRouter {
    decoders: Decoders,
    control: Arc<dyn ControlState>,
    tables: TableSet,
    wait_limits: WaitLimits,
    /// Connections that no command named in time. They are not waited for again.
    unnamed: HashSet<String>,
    /// Up to where the records of connections were purged.
    purged: Purged,
}

impl TargetRouter {
    pub(crate) fn new(
        decoders: Decoders,
        control: Arc<dyn ControlState>,
        tables: TableSet,
        wait_limits: WaitLimits,
    ) -> Self {
        Self {
            decoders,
            control,
            tables,
            wait_limits,
            unnamed: HashSet::new(),
            purged: Purged::new(),
        }
    }

    /// Routes to these tables from now on.
    pub(crate) fn set_tables(&mut self, tables: TableSet) {
        self.tables = tables;
    }

    /// Skips the records of these connections before these offsets from now on.
    pub(crate) fn set_purged(&mut self, purged: Purged) {
        self.purged = purged;
    }

    fn is_purged(&self, connection: &str, message: &Message) -> bool {
        let ends = self.purged.get(connection);
        ends.and_then(|ends| ends.get(&message.partition))
            .is_some_and(|end| {
                message.offset < end.offset
                    && message.timestamp <= end.at.saturating_add(CLOCKS_APART)
            })
    }

    /// Decodes and routes. Waits for the destination of a connection, up to
    /// [`WaitLimits::destination`], and until all commands were read once.
    pub(crate) async fn route(&mut self, topic: &str, messages: Vec<Message>) -> RoutedMessages {
        let data = self.decoders.resolve(&messages).await;
        let decoded = DecodedMessages {
            topic: topic.to_owned(),
            messages,
            data,
        };
        let mut poison = Vec::new();
        let mut held: BTreeMap<i32, HeldMessage> = BTreeMap::new();
        let mut purged = Vec::new();
        let mut rows = GroupedRows::default();
        for (index, (message, datum)) in decoded.messages.iter().zip(&decoded.data).enumerate() {
            if held.contains_key(&message.partition) {
                continue;
            }
            match datum {
                Datum::Poison { reason, error } => poison.push(PoisonMessage {
                    index,
                    reason,
                    error: error.clone(),
                }),
                Datum::Held(reason) => {
                    let message_held = HeldMessage {
                        offset: message.offset,
                        reason: reason.clone(),
                    };
                    held.insert(message.partition, message_held);
                }
                Datum::AsIs | Datum::Translated(_) => match decoded.row(index, CrmRecord::decode) {
                    Some(Ok(row)) if self.is_purged(row.record.connection, message) => {
                        purged.push(index);
                    }
                    Some(Ok(row)) => rows.push(index, &row.record),
                    Some(Err(error)) => poison.push(PoisonMessage {
                        index,
                        reason: "undecodable",
                        error: error.to_string(),
                    }),
                    None => {}
                },
            }
        }
        let rows = rows.finish();
        let mut groups = Vec::with_capacity(rows.len());
        for (key, rows) in rows {
            let destination = self.destination(&key.connection).await;
            let target = Target {
                connection: key.connection,
                portal_id: key.portal_id,
                destination,
                object_type: key.object_type,
                tables: self.tables,
            };
            groups.push(RowGroup {
                target,
                definitions_version: rows.definitions_version,
                rows: rows.indexes,
            });
        }
        RoutedMessages {
            decoded,
            groups,
            poison,
            held,
            purged,
        }
    }

    /// The destination of a connection. Its command may arrive later than its
    /// first records, because the topics are read independently.
    async fn destination(&mut self, connection: &str) -> String {
        let step = Duration::from_millis(50);
        let mut waited = Duration::ZERO;
        loop {
            if let Some(destination) = self.control.destination(connection) {
                self.unnamed.remove(connection);
                return destination;
            }
            let is_over = waited >= self.wait_limits.destination && self.control.has_read_all();
            if is_over || self.unnamed.contains(connection) {
                break;
            }
            tokio::time::sleep(step).await;
            waited += step;
        }
        let destination = default_destination(connection);
        if self.unnamed.insert(connection.to_owned()) {
            tracing::warn!(
                connection,
                destination,
                "no command names this connection; its records go to the default destination"
            );
        }
        destination
    }
}

/// What all rows of a group share.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    connection: String,
    object_type: String,
    portal_id: i64,
}

#[derive(Debug, Default)]
struct GroupRows {
    /// The highest version that its records name.
    definitions_version: i64,
    indexes: Vec<usize>,
}

/// Rows by group. Consecutive rows mostly share their group, so no key is built
/// for them.
#[derive(Debug, Default)]
struct GroupedRows {
    last: Option<(GroupKey, GroupRows)>,
    all: BTreeMap<GroupKey, GroupRows>,
}

impl GroupedRows {
    fn push(&mut self, index: usize, record: &CrmRecord<'_, Properties<'_>>) {
        if let Some((key, rows)) = &mut self.last
            && key.connection == record.connection
            && key.object_type == record.object_type
            && key.portal_id == record.portal_id
        {
            rows.definitions_version = rows.definitions_version.max(record.definitions_version);
            rows.indexes.push(index);
            return;
        }
        self.flush();
        let key = GroupKey {
            connection: record.connection.to_owned(),
            object_type: record.object_type.to_owned(),
            portal_id: record.portal_id,
        };
        let rows = GroupRows {
            definitions_version: record.definitions_version,
            indexes: vec![index],
        };
        self.last = Some((key, rows));
    }

    fn flush(&mut self) {
        let Some((key, rows)) = self.last.take() else {
            return;
        };
        let all = self.all.entry(key).or_default();
        all.definitions_version = all.definitions_version.max(rows.definitions_version);
        all.indexes.extend(rows.indexes);
    }

    fn finish(mut self) -> BTreeMap<GroupKey, GroupRows> {
        self.flush();
        self.all
    }
}
