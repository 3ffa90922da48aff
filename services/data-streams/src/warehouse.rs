//! The warehouse: stores records in ClickHouse and reads them back.
//!
//! Each connection syncs into a destination database with views for people. The
//! database `<destination>_raw` beside it holds the storage: one wide typed table
//! per object type, and `changes` with every version. No other module of the
//! crate may know ClickHouse.

mod block;
mod error;
mod finder;
mod former_changes;
mod history_views;
mod inserts;
mod reader;
mod render;
mod session;
mod sql;

mod association_view;
mod bookkeeping;
mod cache;
mod claims;
mod comparisons;
mod digests;
mod layout;
mod merges;
mod migrations;
mod names;
mod own_columns;
mod rebuild;
mod rebuilds;
mod tables;
mod value;
mod views;

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use schemas::{Definitions, Millis};
use tokio::sync::Semaphore;

#[doc(hidden)]
pub use self::block::Encoder;
pub(crate) use self::digests::DigestQuery;
pub(crate) use self::sql::SqlReader;
use self::{cache::TableCache, inserts::TargetTables, names::REBUILD_SUFFIX, session::Session};
pub use self::{error::WarehouseError, session::WarehouseSettings};
use crate::ingest::{
    Inserts, KnownRebuild, LogPosition, Purged, RebuildLease, RebuildState, Store, StoreError,
    StoreErrorKind, TableLoss, Target,
};

/// The warehouse.
#[derive(Debug)]
pub struct Warehouse {
    session: Session,
    cache: TableCache,
    /// One for each page being read. This limit gives 32 clients a third more
    /// pages per second.
    page_permits: Semaphore,
}

impl Warehouse {
    /// A warehouse that connects when it is first used.
    pub fn new(settings: &WarehouseSettings) -> Self {
        Self {
            session: Session::new(settings),
            cache: TableCache::default(),
            page_permits: Semaphore::new(reader::pages_at_once()),
        }
    }

    /// Checks that ClickHouse answers and accepts the password.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn ping(&self) -> Result<(), WarehouseError> {
        self.session.execute("ping", "SELECT 1 FORMAT Null").await
    }

    /// Merges the parts of idle tables, which makes reads faster.
    ///
    /// # Errors
    ///
    /// When the tables to merge cannot be listed. A merge that fails is logged.
    pub async fn merge_idle_tables(&self) -> Result<(), WarehouseError> {
        merges::merge(&self.session).await
    }

    /// Gives `changes` of every destination the present layout, beside loads and
    /// reads. A table of the former one is read and written once, and dropped two
    /// minutes later.
    ///
    /// # Errors
    ///
    /// When ClickHouse fails; a repetition continues where it failed.
    pub async fn replace_former_changes(&self) -> Result<(), WarehouseError> {
        for destination in bookkeeping::destinations(&self.session).await? {
            former_changes::replace(&self.session, &destination).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Warehouse {
    async fn warehouse_id(&self) -> Result<String, StoreError> {
        migrations::apply(&self.session).await?;
        Ok(bookkeeping::warehouse_id(&self.session).await?)
    }

    async fn upgrade(&self) -> Result<(), StoreError> {
        Ok(tables::upgrade(&self.session).await?)
    }

    async fn apply(
        &self,
        target: &Target,
        definitions: Option<&Definitions>,
    ) -> Result<(), StoreError> {
        let layout = tables::apply(&self.session, target, definitions).await?;
        self.cache.keep(tables::wide_table(target), &layout);
        Ok(())
    }

    fn inserts(&self, target: &Target) -> Result<Box<dyn Inserts + '_>, StoreError> {
        let table = tables::wide_table(target);
        let Some(layout) = self.cache.layout(&table) else {
            return Err(StoreError::new(
                StoreErrorKind::SchemaChanged,
                format!("columns of {table} are not known"),
            ));
        };
        Ok(Box::new(TargetTables::new(&self.session, target, layout)))
    }

    async fn begin_rebuild(&self) -> Result<(), StoreError> {
        self.cache
            .forget(|table| table.table.ends_with(REBUILD_SUFFIX));
        Ok(rebuild::drop_shadows(&self.session).await?)
    }

    async fn rebuild_losses(&self, before: Millis) -> Result<Option<TableLoss>, StoreError> {
        Ok(rebuild::losses(&self.session, before).await?)
    }

    async fn finish_rebuild(&self, lease: &RebuildLease) -> Result<(), StoreError> {
        let outcome = rebuild::exchange_tables(&self.session, lease).await;
        // A live table may have other columns than before.
        self.cache.forget(|_| true);
        Ok(outcome?)
    }

    async fn close_rebuild(&self) -> Result<(), StoreError> {
        Ok(rebuild::mark_unfinished(&self.session, false).await?)
    }

    async fn rebuild_is_unfinished(&self) -> Result<bool, StoreError> {
        Ok(rebuild::is_unfinished(&self.session).await?)
    }

    async fn ask_rebuild(&self, asked: &RebuildState) -> Result<(), StoreError> {
        Ok(rebuilds::ask(&self.session, asked).await?)
    }

    async fn rebuilds(&self) -> Result<Vec<KnownRebuild>, StoreError> {
        Ok(rebuilds::last(&self.session).await?)
    }

    async fn note_rebuild(
        &self,
        state: &RebuildState,
        before: &str,
        owner: &str,
    ) -> Result<(), StoreError> {
        Ok(rebuilds::note(&self.session, state, before, owner).await?)
    }

    async fn loaded(&self, topic: &str) -> Result<BTreeMap<i32, i64>, StoreError> {
        Ok(bookkeeping::loaded(&self.session, topic).await?)
    }

    async fn note_loaded(&self, topic: &str, next: &BTreeMap<i32, i64>) -> Result<(), StoreError> {
        Ok(bookkeeping::note_loaded(&self.session, topic, next).await?)
    }

    async fn purged(&self, topic: &str) -> Result<Purged, StoreError> {
        Ok(bookkeeping::purged(&self.session, topic).await?)
    }

    async fn note_purged(
        &self,
        connection: &str,
        topic: &str,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<(), StoreError> {
        Ok(bookkeeping::note_purged(&self.session, connection, topic, ends).await?)
    }

    async fn recovered(&self) -> Result<HashSet<LogPosition>, StoreError> {
        Ok(bookkeeping::recovered(&self.session).await?)
    }

    async fn remember_recovered(&self, positions: &[LogPosition]) -> Result<(), StoreError> {
        Ok(bookkeeping::remember_recovered(&self.session, positions).await?)
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
