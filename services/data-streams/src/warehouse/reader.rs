//! Reads the stored records of one object type, page by page.
//!
//! The wide table shows which records match, from a few narrow columns. Their
//! properties come from `changes` as one string each, which is cheaper than
//! reading hundreds of columns.

mod ahead;
mod csv;
mod export;
mod heads;
mod history;
mod properties;
mod spacing;

use std::{sync::Arc, thread, time::Duration};

use tokio::sync::{SemaphorePermit, mpsc};

use self::{ahead::ReadAhead, export::Export, heads::Head, spacing::Spacing};
use super::{
    Warehouse,
    error::WarehouseError,
    layout::Layout,
    names::{CHANGES, TableName, check_destination, check_object_type},
    render::Renderer,
    session::Session,
    tables,
};
use crate::records::{RecordPage, RecordQuery, StoredRecord};

/// Maximum time that a page waits for other pages being read.
const PAGE_WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Maximum number of pages read at once: more only compete for ClickHouse's
/// cores. Two for each core, on the assumption that ClickHouse has as many cores
/// as this process.
pub(super) fn pages_at_once() -> usize {
    thread::available_parallelism().map_or(4, |cores| cores.get().max(2) * 2)
}

/// What the readers of a table have learnt.
#[derive(Debug, Default)]
pub(super) struct TableReads {
    spacing: Spacing,
    ahead: ReadAhead,
}

impl Warehouse {
    /// Reads a page of records; an empty one for an object type that is not
    /// stored.
    ///
    /// # Errors
    ///
    /// When ClickHouse fails, when the page waits 10 s for other pages, or when
    /// the destination cannot be a database.
    pub async fn records(&self, query: &RecordQuery) -> Result<RecordPage, WarehouseError> {
        let Some(reader) = self.reader(query).await? else {
            return Ok(RecordPage::default());
        };
        let _permit = self.page_permit().await?;
        reader.page(query).await
    }

    /// Waits until less than [`pages_at_once`] pages are being read.
    async fn page_permit(&self) -> Result<SemaphorePermit<'_>, WarehouseError> {
        let permit = tokio::time::timeout(PAGE_WAIT_LIMIT, self.page_permits.acquire()).await;
        // The semaphore is never closed.
        permit
            .ok()
            .and_then(Result::ok)
            .ok_or(WarehouseError::TimedOut {
                action: "wait for other pages",
                seconds: PAGE_WAIT_LIMIT.as_secs(),
            })
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

    /// Sends all matching records as CSV by ascending id, like [`Self::export`].
    ///
    /// # Errors
    ///
    /// When ClickHouse fails, or when the destination cannot be a database.
    pub(crate) async fn csv<E: Send>(
        &self,
        query: &RecordQuery,
        out: &mpsc::Sender<Result<bytes::Bytes, E>>,
    ) -> Result<(), WarehouseError> {
        match self.reader(query).await? {
            Some(reader) => reader.csv(query, out).await,
            None => Ok(()),
        }
    }

    /// A reader of the queried table; `None` for an object type that is not
    /// stored.
    async fn reader<'a>(
        &'a self,
        query: &'a RecordQuery,
    ) -> Result<Option<RecordReader<'a>>, WarehouseError> {
        check_destination(&query.destination)?;
        if check_object_type(&query.object_type).is_err() {
            return Ok(None);
        }
        let table = TableName::storage(&query.destination, &query.object_type);
        let Some(layout) = self.recent_layout(&table).await? else {
            return Ok(None);
        };
        let reads = self.cache.reads(&table);
        Ok(Some(RecordReader::new(&self.session, query, layout, reads)))
    }

    async fn recent_layout(
        &self,
        table: &TableName,
    ) -> Result<Option<Arc<Layout>>, WarehouseError> {
        if let Some(layout) = self.cache.recent_layout(table) {
            return Ok(Some(layout));
        }
        let layout = tables::layout(&self.session, table).await?.map(Arc::new);
        if let Some(layout) = &layout {
            self.cache.keep(table.clone(), layout);
        }
        Ok(layout)
    }
}

/// Reads the records of one object type of a destination.
struct RecordReader<'a> {
    session: &'a Session,
    object_type: &'a str,
    wide: TableName,
    changes: TableName,
    layout: Arc<Layout>,
    reads: Arc<TableReads>,
}

impl<'a> RecordReader<'a> {
    /// A reader of the tables that the query names.
    fn new(
        session: &'a Session,
        query: &'a RecordQuery,
        layout: Arc<Layout>,
        reads: Arc<TableReads>,
    ) -> Self {
        let storage = |table: &str| TableName::storage(&query.destination, table);
        Self {
            session,
            object_type: &query.object_type,
            wide: storage(&query.object_type),
            changes: storage(CHANGES),
            layout,
            reads,
        }
    }

    /// Reads a page. It starts after an id, and ids never change: so a record that
    /// matches throughout is on exactly one page, whatever changes meanwhile.
    async fn page(&self, query: &RecordQuery) -> Result<RecordPage, WarehouseError> {
        if let Some(page) = self.page_ahead(query).await? {
            return Ok(page);
        }
        let mut heads = self.heads(query).await?;
        let is_last = heads.len() <= query.limit;
        heads.truncate(query.limit);
        let next = heads.last().map(|head| head.id).filter(|_| !is_last);
        let properties = self
            .properties(&heads, self.is_sparse(&heads, query))
            .await?;
        let mut renderer = Renderer::new(&self.layout, query.properties.as_deref());
        let records = heads
            .iter()
            .map(|head| {
                let properties = properties.get(&head.id).map(String::as_str);
                record(head, properties, &mut renderer)
            })
            .collect::<Result<_, _>>()?;
        Ok(RecordPage { records, next })
    }

    /// Whether the range of ids of these heads holds many objects that the query
    /// does not match.
    fn is_sparse(&self, heads: &[Head], query: &RecordQuery) -> bool {
        !query.matches_nearly_all()
            && heads::id_range(heads).is_some_and(|range| self.reads.spacing.is_sparse(range))
    }
}

/// Joins what the two tables hold of a record. Without its properties it is an error:
/// an object that seems to have none would be wrong.
fn record(
    head: &Head,
    properties: Option<&str>,
    renderer: &mut Renderer<'_>,
) -> Result<StoredRecord, WarehouseError> {
    let object_id = head.id;
    let properties = properties.ok_or(WarehouseError::NoProperties { object_id })?;
    let properties = renderer
        .render(properties)
        .map_err(|source| WarehouseError::Properties { object_id, source })?;
    Ok(StoredRecord {
        id: head.id,
        created_at: head.created_at,
        updated_at: head.updated_at,
        archived: head.archived,
        deleted: head.deleted,
        properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::StoreErrorKind;

    #[test]
    fn an_object_without_its_properties_is_an_error_and_not_a_record_that_has_none() {
        let head = Head {
            id: 7,
            created_at: 0,
            updated_at: 0,
            archived: false,
            deleted: false,
            version: 1,
        };
        let layout = Layout::default();
        let mut renderer = Renderer::new(&layout, None);
        assert_eq!(record(&head, Some("{}"), &mut renderer).unwrap().id, 7);
        let error = record(&head, None, &mut renderer).unwrap_err();
        assert!(error.to_string().contains("object 7"), "{error}");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
}
