//! The warehouse: `ClickHouse`, and the only place that knows it.
//!
//! Each connection lands in a destination database with views for people, and
//! a database `<destination>_raw` beside it with the storage: one wide typed
//! table per object type, and `changes` with every version. It must not know
//! where records come from, nor who asks for them.

mod block;
mod error;
mod finder;
mod inserts;
mod reader;
mod render;
mod session;

mod layout;
mod merges;
mod migrations;
mod names;
mod rebuild;
mod sweep;
mod tables;
mod value;
mod views;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use schemas::{Definitions, FullPass};
use tokio::sync::{Semaphore, mpsc};

#[doc(hidden)]
pub use self::block::Encoder;
pub use self::{error::WarehouseError, session::WarehouseSettings};
use self::{
    inserts::TargetTables,
    layout::Layout,
    names::{CHANGES, DESTINATION, META, OBJECT_TYPE, checked, qualified, quoted, raw_database},
    reader::{RecordReader, Spacing, export::Export},
    session::Session,
};
use crate::ingest::{Inserts, Place, Store, StoreError, StoreErrorKind, Target};
use crate::records::{RecordPage, RecordQuery, StoredRecord};

/// For how long the types of a table's columns are believed when records are
/// read; another process may have changed them.
const LAYOUT_AGE: Duration = Duration::from_secs(5);

/// Maximum time that a page waits for other pages being read.
const PAGE_WAIT_LIMIT: Duration = Duration::from_secs(10);

/// The warehouse.
#[derive(Debug)]
pub struct Warehouse {
    session: Session,
    /// By database and table: what blocks are encoded for.
    layouts: Mutex<HashMap<(String, String), KnownLayout>>,
    /// One for each page being read. This limit gives 32 clients a third more
    /// pages per second.
    page_permits: Semaphore,
    /// By destination and object type: what the last page has shown.
    spacings: Mutex<HashMap<(String, String), Arc<Spacing>>>,
}

#[derive(Debug, Clone)]
struct KnownLayout {
    layout: Arc<Layout>,
    read_at: Instant,
}

impl Warehouse {
    /// A warehouse that is connected to when it is first needed.
    pub fn new(settings: &WarehouseSettings) -> Self {
        Self {
            session: Session::new(settings),
            layouts: Mutex::default(),
            page_permits: Semaphore::new(reader::pages_at_once()),
            spacings: Mutex::default(),
        }
    }

    /// Whether it answers and takes our password.
    pub async fn ping(&self) -> Result<(), WarehouseError> {
        self.session.execute("ping", "SELECT 1 FORMAT Null").await
    }

    /// Brings the bookkeeping up to date. To be called before all else.
    pub async fn prepare(&self) -> Result<(), WarehouseError> {
        migrations::apply(&self.session).await
    }

    /// Reads a page of records; an empty one for an object type that is not
    /// stored.
    ///
    /// # Errors
    ///
    /// When ClickHouse fails, when the page waits longer than
    /// [`PAGE_WAIT_LIMIT`] for other pages, or when the destination cannot be a
    /// database.
    pub async fn records(&self, query: &RecordQuery) -> Result<RecordPage, WarehouseError> {
        let Some(reader) = self.reader(query).await? else {
            return Ok(RecordPage::default());
        };
        let permit = tokio::time::timeout(PAGE_WAIT_LIMIT, self.page_permits.acquire()).await;
        let _permit = permit.map_err(|_elapsed| WarehouseError::TimedOut {
            action: "wait for other pages",
            seconds: PAGE_WAIT_LIMIT.as_secs(),
        })?;
        reader.page(query).await
    }

    /// Sends all matching records by ascending id, until the end or until the
    /// receiver is dropped; nothing for an object type that is not stored.
    /// Ignores [`RecordQuery::limit`], and sends no errors: it returns them.
    ///
    /// # Errors
    ///
    /// When ClickHouse fails, or when the destination cannot be a database.
    pub async fn export<E: Send>(
        &self,
        query: &RecordQuery,
        out: &mpsc::Sender<Result<Vec<StoredRecord>, E>>,
    ) -> Result<(), WarehouseError> {
        match self.reader(query).await? {
            Some(reader) => Export::new(reader, out).run(query.clone()).await,
            None => Ok(()),
        }
    }

    /// Merges the parts of tables that nothing fills any more, so that reads need
    /// not.
    pub async fn merge_at_rest(&self) -> Result<(), WarehouseError> {
        merges::merge(&self.session).await
    }

    /// A reader of the queried table; `None` for an object type that is not
    /// stored.
    async fn reader<'a>(
        &'a self,
        query: &'a RecordQuery,
    ) -> Result<Option<RecordReader<'a>>, WarehouseError> {
        checked(DESTINATION, &query.destination)?;
        if checked(OBJECT_TYPE, &query.object_type).is_err() {
            return Ok(None);
        }
        let Some(layout) = self.recent_layout(query).await? else {
            return Ok(None);
        };
        let spacing = self.spacing(query);
        Ok(Some(RecordReader::new(
            &self.session,
            query,
            layout,
            spacing,
        )))
    }

    fn spacing(&self, query: &RecordQuery) -> Arc<Spacing> {
        let mut spacings = self.spacings.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (query.destination.clone(), query.object_type.clone());
        Arc::clone(spacings.entry(key).or_default())
    }

    async fn recent_layout(
        &self,
        query: &RecordQuery,
    ) -> Result<Option<Arc<Layout>>, WarehouseError> {
        let raw = raw_database(&query.destination);
        let table = query.object_type.as_str();
        if let Some(known) = self.known(&raw, table)
            && known.read_at.elapsed() < LAYOUT_AGE
        {
            return Ok(Some(known.layout));
        }
        let Some(layout) = tables::layout(&self.session, &raw, table).await? else {
            return Ok(None);
        };
        Ok(Some(self.learn(&raw, table, Arc::new(layout))))
    }

    fn known(&self, raw: &str, table: &str) -> Option<KnownLayout> {
        let layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        layouts.get(&(raw.to_owned(), table.to_owned())).cloned()
    }

    fn learn(&self, raw: &str, table: &str, layout: Arc<Layout>) -> Arc<Layout> {
        let known = KnownLayout {
            layout: Arc::clone(&layout),
            read_at: Instant::now(),
        };
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        layouts.insert((raw.to_owned(), table.to_owned()), known);
        layout
    }

    fn forget_all(&self) {
        self.layouts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[async_trait]
impl Store for Warehouse {
    async fn warehouse_id(&self) -> Result<String, StoreError> {
        self.prepare().await?;
        let meta = quoted(META);
        // Inserts nothing where there already is one.
        let make = format!(
            "INSERT INTO {meta}.warehouse (id) SELECT generateUUIDv4() WHERE NOT EXISTS \
             (SELECT 1 FROM {meta}.warehouse)"
        );
        self.session.execute("name the warehouse", &make).await?;
        let query = self
            .session
            .client()
            .query(&format!(
                "SELECT toString(id) FROM {meta}.warehouse ORDER BY created_at, id LIMIT 1"
            ))
            .fetch_one::<String>();
        Ok(self
            .session
            .within("read the warehouse's id", query)
            .await?)
    }

    async fn apply(
        &self,
        target: &Target,
        definitions: Option<&Definitions>,
    ) -> Result<(), StoreError> {
        let layout = tables::apply(&self.session, target, definitions).await?;
        self.learn(
            &raw_database(&target.destination),
            &tables::wide_name(target),
            layout,
        );
        Ok(())
    }

    fn inserts(&self, target: &Target) -> Result<Box<dyn Inserts + '_>, StoreError> {
        let raw = raw_database(&target.destination);
        let table = tables::wide_name(target);
        let Some(known) = self.known(&raw, &table) else {
            return Err(StoreError::new(
                StoreErrorKind::SchemaChanged,
                format!("columns of {} are not known", qualified(&raw, &table)),
            ));
        };
        let tables = TargetTables::new(&self.session, &raw, (&table, CHANGES), known.layout);
        Ok(Box::new(tables))
    }

    async fn mark_deleted(&self, target: &Target, pass: &FullPass) -> Result<u64, StoreError> {
        let raw = raw_database(&target.destination);
        let table = qualified(&raw, &tables::wide_name(target));
        Ok(sweep::mark_deleted(&self.session, &table, pass).await?)
    }

    async fn begin_rebuild(&self) -> Result<(), StoreError> {
        self.forget_shadows();
        Ok(rebuild::begin(&self.session).await?)
    }

    async fn finish_rebuild(&self) -> Result<(), StoreError> {
        let outcome = rebuild::finish(&self.session).await;
        // A live table may have other columns than before.
        self.forget_all();
        Ok(outcome?)
    }

    async fn close_rebuild(&self) -> Result<(), StoreError> {
        Ok(rebuild::note(&self.session, false).await?)
    }

    async fn rebuild_is_unfinished(&self) -> Result<bool, StoreError> {
        Ok(rebuild::is_unfinished(&self.session).await?)
    }

    async fn recovered(&self) -> Result<HashSet<Place>, StoreError> {
        let query = self
            .session
            .client()
            .query("SELECT topic, partition, offset FROM `_hubspot_streams`.recovered FINAL")
            .fetch_all::<(String, i32, i64)>();
        let rows = self
            .session
            .within("read the recovered dead letters", query)
            .await?;
        Ok(rows
            .into_iter()
            .map(|(topic, partition, offset)| Place {
                topic,
                partition,
                offset,
            })
            .collect())
    }

    async fn remember_recovered(&self, places: &[Place]) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = places
            .iter()
            .map(|place| {
                format!(
                    "({}, {}, {})",
                    names::literal(&place.topic),
                    place.partition,
                    place.offset
                )
            })
            .collect();
        let statement = format!(
            "INSERT INTO `_hubspot_streams`.recovered (topic, partition, offset) VALUES {}",
            rows.join(", ")
        );
        Ok(self
            .session
            .execute("note recovered dead letters", &statement)
            .await?)
    }
}

impl Warehouse {
    fn forget_shadows(&self) {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        layouts.retain(|(_, table), _| !table.ends_with(names::REBUILD_SUFFIX));
    }
}

impl From<WarehouseError> for StoreError {
    fn from(error: WarehouseError) -> Self {
        Self {
            kind: error.kind(),
            context: error.to_string(),
            source: Some(Box::new(error)),
        }
    }
}
