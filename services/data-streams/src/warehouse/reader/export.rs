//! Sends all records that match while they are read, so that memory stays flat
//! however many there are.
//!
//! Works chunk by chunk: the wide table shows which records match; one read of
//! `changes` in the same order gives the properties.

use tokio::sync::mpsc;

use super::{RecordReader, heads::Head, record};
use crate::{
    records::{RecordQuery, StoredRecord},
    warehouse::{
        error::{During as _, WarehouseError},
        names::literal,
        render::Renderer,
    },
};

/// Records of one chunk. Two chunks are in memory at once, at about 60 bytes a
/// record.
const CHUNK_RECORDS: usize = 16_384;

/// Records sent together.
const BATCH_RECORDS: usize = 256;

/// Records whose properties are read by id in one query.
const IDS_PER_QUERY: usize = 1_000;

/// How long ClickHouse waits for a reader that takes nothing, in seconds.
pub(super) const SLOW_READER_SECONDS: &str = "600";

const ACTION: &str = "export records";

/// An export of all records that match.
pub(super) struct Export<'a, E> {
    reader: RecordReader<'a>,
    /// The export ends when the receiver is dropped.
    out: &'a mpsc::Sender<Result<Vec<StoredRecord>, E>>,
}

/// Why an export ends early.
enum Stop {
    Failed(WarehouseError),
    ReceiverDropped,
}

impl From<WarehouseError> for Stop {
    fn from(error: WarehouseError) -> Self {
        Self::Failed(error)
    }
}

/// A row of `changes`.
#[derive(clickhouse::Row, serde::Deserialize)]
struct ChangesRow<'a> {
    object_id: u64,
    version: u128,
    properties: &'a str,
}

impl ChangesRow<'_> {
    fn belongs_to(&self, head: &Head) -> bool {
        head.id == self.object_id && head.version == self.version
    }
}

impl<'a, E: Send> Export<'a, E> {
    pub(super) fn new(
        reader: RecordReader<'a>,
        out: &'a mpsc::Sender<Result<Vec<StoredRecord>, E>>,
    ) -> Self {
        Self { reader, out }
    }

    /// Sends every record that matches, by ascending id.
    pub(super) async fn run(self, query: RecordQuery) -> Result<(), WarehouseError> {
        match self.send_all(query).await {
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::ReceiverDropped) | Ok(()) => Ok(()),
        }
    }

    async fn send_all(&self, mut query: RecordQuery) -> Result<(), Stop> {
        query.limit = CHUNK_RECORDS;
        let properties = query.properties.take();
        let mut renderer = Renderer::new(&self.reader.layout, properties.as_deref());
        let mut heads = self.reader.heads(&query).await?;
        loop {
            let is_last = heads.len() <= query.limit;
            heads.truncate(query.limit);
            let Some(last) = heads.last() else {
                return Ok(());
            };
            query.after = Some(last.id);
            let sending = async {
                if self.reader.is_sparse(&heads, &query) {
                    self.send_by_id(&heads, &mut renderer).await
                } else {
                    self.send_range(&heads, &mut renderer).await
                }
            };
            if is_last {
                return sending.await;
            }
            // Reads the next heads while these records are sent.
            let (sent, next) = tokio::join!(sending, self.reader.heads(&query));
            sent?;
            heads = next?;
        }
    }

    /// Sends records that are few in their range of ids.
    async fn send_by_id(&self, heads: &[Head], renderer: &mut Renderer<'_>) -> Result<(), Stop> {
        for some in heads.chunks(IDS_PER_QUERY) {
            let properties = self.reader.properties(some, true).await?;
            let records = some.iter().map(|head| {
                let properties = properties.get(&head.id).map(String::as_str);
                record(head, properties, renderer)
            });
            self.send(records.collect::<Result<_, _>>()?).await?;
        }
        Ok(())
    }

    /// Sends records that are most of their range of ids.
    async fn send_range(&self, heads: &[Head], renderer: &mut Renderer<'_>) -> Result<(), Stop> {
        let (Some(first), Some(last)) = (heads.first(), heads.last()) else {
            return Ok(());
        };
        let statement = self.range_statement(first.id, last.id);
        let mut cursor = self
            .reader
            .session
            .records(&statement)
            .with_setting("http_send_timeout", SLOW_READER_SECONDS)
            .fetch::<ChangesRow<'_>>()
            .during(ACTION)?;
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        let mut unsent = heads.iter().peekable();
        while let Some(row) = self.reader.session.within(ACTION, cursor.next()).await? {
            // A head without a row was not in `changes` yet.
            while let Some(head) = unsent.next_if(|head| head.id < row.object_id) {
                let late = self.late(head, renderer).await?;
                self.push(&mut batch, late).await?;
            }
            if let Some(head) = unsent.next_if(|head| row.belongs_to(head)) {
                let record = record(head, Some(row.properties), renderer)?;
                self.push(&mut batch, record).await?;
            }
        }
        for head in unsent {
            let late = self.late(head, renderer).await?;
            self.push(&mut batch, late).await?;
        }
        self.send(batch).await
    }

    /// Selects the newest version of each object only: there may be many older
    /// ones.
    fn range_statement(&self, first: u64, last: u64) -> String {
        let RecordReader { wide, changes, .. } = &self.reader;
        format!(
            "SELECT object_id, version, properties FROM {changes} PREWHERE object_type = {} AND \
             object_id >= {first} AND object_id <= {last} AND (object_id, version) IN \
             (SELECT t._object_id, t._version FROM {wide} AS t FINAL WHERE t._object_id >= {first} \
             AND t._object_id <= {last}) ORDER BY object_type, object_id",
            literal(self.reader.object_type),
        )
    }

    /// Reads a record that changed after its head was read, or whose properties
    /// were stored a moment after its head.
    async fn late(
        &self,
        head: &Head,
        renderer: &mut Renderer<'_>,
    ) -> Result<StoredRecord, WarehouseError> {
        let properties = self
            .reader
            .properties(std::slice::from_ref(head), false)
            .await?;
        let properties = properties.get(&head.id).map(String::as_str);
        record(head, properties, renderer)
    }

    /// Adds a record to the batch, and sends the batch when it is full.
    async fn push(&self, batch: &mut Vec<StoredRecord>, record: StoredRecord) -> Result<(), Stop> {
        batch.push(record);
        if batch.len() < BATCH_RECORDS {
            return Ok(());
        }
        self.send(std::mem::replace(batch, Vec::with_capacity(BATCH_RECORDS)))
            .await
    }

    async fn send(&self, records: Vec<StoredRecord>) -> Result<(), Stop> {
        if records.is_empty() {
            return Ok(());
        }
        let sent = self.out.send(Ok(records)).await;
        sent.map_err(|_dropped| Stop::ReceiverDropped)
    }
}
