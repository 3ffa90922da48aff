//! Sends all records that match while they are read, so that memory stays flat
//! however many there are.
//!
//! Works chunk by chunk: the wide table shows which records match; one read of
//! `changes` in the same order gives the properties. The next chunk is read while one is
//! sent, as ClickHouse needs some time until it has the first row.

use futures::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
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

/// Records of one chunk. What matches is in memory of two chunks at once, at about 60
/// bytes a record.
const CHUNK_RECORDS: usize = 16_384;

/// Chunks that are read at a time.
const CHUNKS_AT_ONCE: usize = 2;

/// Batches of a chunk that are read before it is sent.
const BATCHES_AHEAD: usize = 8;

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
    out: &'a mpsc::Sender<Result<Batch, E>>,
}

/// Records that are sent together.
type Batch = Vec<StoredRecord>;

/// A chunk to read.
struct Chunk {
    heads: Vec<Head>,
    /// Whether they are few in their range of ids.
    is_sparse: bool,
    out: mpsc::Sender<Batch>,
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
    pub(super) fn new(reader: RecordReader<'a>, out: &'a mpsc::Sender<Result<Batch, E>>) -> Self {
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
        let (turns, chunks) = mpsc::channel(CHUNKS_AT_ONCE);
        let read = self.read_all(query, properties.as_deref(), turns);
        tokio::try_join!(read, self.send_in_turn(chunks))?;
        Ok(())
    }

    /// Reads the chunks, several at a time. Their batches go into `turns` in their order.
    async fn read_all(
        &self,
        query: RecordQuery,
        properties: Option<&[String]>,
        turns: mpsc::Sender<mpsc::Receiver<Batch>>,
    ) -> Result<(), Stop> {
        let mut left = Some(query);
        let mut reading = FuturesUnordered::new();
        while let Some(query) = left.take() {
            let next = self.next_chunk(query, &turns);
            tokio::pin!(next);
            // The chunk before is read on meanwhile.
            let found = loop {
                tokio::select! {
                    found = &mut next => break found?,
                    Some(read) = reading.next() => read?,
                }
            };
            let Some((chunk, after)) = found else { break };
            left = after;
            reading.push(self.read(chunk, properties));
            if reading.len() == CHUNKS_AT_ONCE {
                reading.try_next().await?;
            }
        }
        reading.try_collect().await
    }

    /// The next chunk, if there is one, and the query for what follows it.
    async fn next_chunk(
        &self,
        mut query: RecordQuery,
        turns: &mpsc::Sender<mpsc::Receiver<Batch>>,
    ) -> Result<Option<(Chunk, Option<RecordQuery>)>, Stop> {
        let mut heads = self.reader.heads(&query).await?;
        let is_last = heads.len() <= query.limit;
        heads.truncate(query.limit);
        let Some(last) = heads.last() else {
            return Ok(None);
        };
        query.after = Some(last.id);
        let (out, batches) = mpsc::channel(BATCHES_AHEAD);
        let taken = turns.send(batches).await;
        taken.map_err(|_dropped| Stop::ReceiverDropped)?;
        let chunk = Chunk {
            is_sparse: self.reader.is_sparse(&heads, &query),
            heads,
            out,
        };
        Ok(Some((chunk, (!is_last).then_some(query))))
    }

    async fn read(&self, chunk: Chunk, properties: Option<&[String]>) -> Result<(), Stop> {
        let renderer = Renderer::new(&self.reader.layout, properties);
        if chunk.is_sparse {
            self.read_by_id(chunk, renderer).await
        } else {
            self.read_range(chunk, renderer).await
        }
    }

    async fn send_in_turn(
        &self,
        mut chunks: mpsc::Receiver<mpsc::Receiver<Batch>>,
    ) -> Result<(), Stop> {
        while let Some(mut batches) = chunks.recv().await {
            while let Some(batch) = batches.recv().await {
                let sent = self.out.send(Ok(batch)).await;
                sent.map_err(|_dropped| Stop::ReceiverDropped)?;
            }
        }
        Ok(())
    }

    /// Reads records that are few in their range of ids.
    async fn read_by_id(&self, chunk: Chunk, mut renderer: Renderer<'_>) -> Result<(), Stop> {
        for some in chunk.heads.chunks(IDS_PER_QUERY) {
            let properties = self.reader.properties(some, true).await?;
            let records = some.iter().map(|head| {
                let properties = properties.get(&head.id).map(String::as_str);
                record(head, properties, &mut renderer)
            });
            let records = records.collect::<Result<_, _>>()?;
            chunk.send(records).await?;
        }
        Ok(())
    }

    /// Reads records that are most of their range of ids.
    async fn read_range(&self, chunk: Chunk, mut renderer: Renderer<'_>) -> Result<(), Stop> {
        let heads = &chunk.heads;
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
                let late = self.late(head, &mut renderer).await?;
                chunk.push(&mut batch, late).await?;
            }
            if let Some(head) = unsent.next_if(|head| row.belongs_to(head)) {
                let record = record(head, Some(row.properties), &mut renderer)?;
                chunk.push(&mut batch, record).await?;
            }
        }
        for head in unsent {
            let late = self.late(head, &mut renderer).await?;
            chunk.push(&mut batch, late).await?;
        }
        chunk.send(batch).await
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
}

impl Chunk {
    /// Adds a record to the batch, and sends the batch when it is full.
    async fn push(&self, batch: &mut Batch, record: StoredRecord) -> Result<(), Stop> {
        batch.push(record);
        if batch.len() < BATCH_RECORDS {
            return Ok(());
        }
        self.send(std::mem::replace(batch, Vec::with_capacity(BATCH_RECORDS)))
            .await
    }

    async fn send(&self, batch: Batch) -> Result<(), Stop> {
        if batch.is_empty() {
            return Ok(());
        }
        let sent = self.out.send(batch).await;
        sent.map_err(|_dropped| Stop::ReceiverDropped)
    }
}
