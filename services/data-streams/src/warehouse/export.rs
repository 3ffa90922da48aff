//! All records that match, handed over as they are read, with flat memory.
//!
//! Stride by stride: who matches comes from the wide table, the properties in
//! one read of `changes` in the same order. It must not know of HTTP.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    error::{During as _, WarehouseError},
    layout::Layout,
    names::{CHANGES, literal, qualified, raw_database},
    query::{Head, heads, record, texts},
    render::Renderer,
    session::Session,
    spacing::Spacing,
};
use crate::records::{RecordQuery, StoredRecord};

/// Records of one stride; of each of two strides some 60 bytes are in memory at
/// once.
const STRIDE: usize = 16_384;

/// Records that are handed over together.
const HANDFUL: usize = 256;

/// Records whose properties are asked for one by one.
const NAMED: usize = 1_000;

/// How long ClickHouse waits for a reader that takes nothing, in seconds.
const SLOW_READER_SECONDS: &str = "600";

const ACTION: &str = "export records";

/// What is exported.
pub(crate) struct Export<'a, E> {
    pub(crate) session: &'a Session,
    pub(crate) destination: &'a str,
    pub(crate) object_type: &'a str,
    pub(crate) layout: Arc<Layout>,
    pub(crate) spacing: Arc<Spacing>,
    /// An export ends when the receiver is dropped.
    pub(crate) out: &'a mpsc::Sender<Result<Vec<StoredRecord>, E>>,
}

/// Why an export ends before its end.
enum Stop {
    Failed(WarehouseError),
    /// Nobody reads any more.
    Closed,
}

impl From<WarehouseError> for Stop {
    fn from(error: WarehouseError) -> Self {
        Self::Failed(error)
    }
}

impl<E: Send> Export<'_, E> {
    /// Sends every matching record, in ascending order of ids.
    pub(crate) async fn run(self, mut filter: RecordQuery) -> Result<(), WarehouseError> {
        filter.limit = STRIDE;
        match self.go(filter).await {
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Closed) | Ok(()) => Ok(()),
        }
    }

    async fn go(&self, mut filter: RecordQuery) -> Result<(), Stop> {
        let table = qualified(&raw_database(self.destination), self.object_type);
        let properties = filter.properties.take();
        let mut renderer = Renderer::new(&self.layout, properties.as_deref());
        let mut found = heads(self.session, &table, &filter, &self.spacing).await?;
        loop {
            let more = found.len() > filter.limit;
            found.truncate(filter.limit);
            let Some(last) = found.last() else {
                return Ok(());
            };
            filter.after = Some(last.0);
            let handing = async {
                if self.spacing.are_few(&found, &filter) {
                    self.name(&found, &mut renderer).await
                } else {
                    self.join(&table, &found, &mut renderer).await
                }
            };
            if !more {
                return handing.await;
            }
            // The next heads are there when these have been handed over.
            let next = heads(self.session, &table, &filter, &self.spacing);
            let (handed, next) = tokio::join!(handing, next);
            handed?;
            found = next?;
        }
    }

    fn changes(&self) -> String {
        qualified(&raw_database(self.destination), CHANGES)
    }

    /// The records of heads that are few among many.
    async fn name(&self, found: &[Head], renderer: &mut Renderer<'_>) -> Result<(), Stop> {
        let changes = self.changes();
        for some in found.chunks(NAMED) {
            let texts = texts(self.session, (&changes, self.object_type), some, true).await?;
            let records = some
                .iter()
                .map(|head| record(*head, texts.get(&head.0).map(String::as_str), renderer));
            self.send(records.collect()).await?;
        }
        Ok(())
    }

    /// The records of heads that are nearly all of their range of ids.
    async fn join(
        &self,
        table: &str,
        found: &[Head],
        renderer: &mut Renderer<'_>,
    ) -> Result<(), Stop> {
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            return Ok(());
        };
        let (first, last) = (first.0, last.0);
        // Older versions, of which there may be many, are not sent.
        let statement = format!(
            "SELECT object_id, version, properties FROM {} PREWHERE object_type = {} AND \
             object_id >= {first} AND object_id <= {last} AND (object_id, version) IN \
             (SELECT t._object_id, t._version FROM {table} AS t FINAL WHERE t._object_id >= {first} \
             AND t._object_id <= {last}) ORDER BY object_type, object_id",
            self.changes(),
            literal(self.object_type),
        );
        let mut cursor = self
            .session
            .records(&statement)
            .with_setting("http_send_timeout", SLOW_READER_SECONDS)
            .fetch::<Stored<'_>>()
            .during(ACTION)?;
        let mut handful = Vec::with_capacity(HANDFUL);
        let mut open = found.iter().peekable();
        while let Some(row) = self.session.within(ACTION, cursor.next()).await? {
            // What is passed over here was not in `changes` yet.
            while let Some(head) = open.next_if(|head| head.0 < row.object_id) {
                let late = self.late(head, renderer).await?;
                self.hand_over(&mut handful, late).await?;
            }
            if let Some(head) = open.next_if(|head| is_version(head, &row)) {
                let record = record(*head, Some(row.properties), renderer);
                self.hand_over(&mut handful, record).await?;
            }
        }
        for head in open {
            let late = self.late(head, renderer).await?;
            self.hand_over(&mut handful, late).await?;
        }
        self.send(handful).await
    }

    /// A record that has changed meanwhile, or whose properties came a moment
    /// later than the rest of it.
    async fn late(
        &self,
        head: &Head,
        renderer: &mut Renderer<'_>,
    ) -> Result<StoredRecord, WarehouseError> {
        let found = texts(
            self.session,
            (&self.changes(), self.object_type),
            &[*head],
            false,
        )
        .await?;
        let text = found.get(&head.0).map(String::as_str);
        Ok(record(*head, text, renderer))
    }

    async fn hand_over(
        &self,
        handful: &mut Vec<StoredRecord>,
        record: StoredRecord,
    ) -> Result<(), Stop> {
        handful.push(record);
        if handful.len() < HANDFUL {
            return Ok(());
        }
        self.send(std::mem::replace(handful, Vec::with_capacity(HANDFUL)))
            .await
    }

    async fn send(&self, records: Vec<StoredRecord>) -> Result<(), Stop> {
        if records.is_empty() {
            return Ok(());
        }
        self.out
            .send(Ok(records))
            .await
            .map_err(|_closed| Stop::Closed)
    }
}

/// A row of `changes`.
#[derive(clickhouse::Row, serde::Deserialize)]
struct Stored<'a> {
    object_id: u64,
    version: u128,
    properties: &'a str,
}

fn is_version(head: &Head, row: &Stored<'_>) -> bool {
    head.0 == row.object_id && head.4 == row.version
}
