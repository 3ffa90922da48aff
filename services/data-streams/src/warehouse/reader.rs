//! Reads the stored records of one object type, page by page.
//!
//! The wide table shows which records match, from a few narrow columns. Their
//! properties come from `changes` as one string each, which is cheaper than
//! reading hundreds of columns.

pub(super) mod export;
mod heads;
mod properties;
mod spacing;

use std::{sync::Arc, thread};

use self::heads::Head;
pub(super) use self::spacing::Spacing;
use super::{
    error::WarehouseError,
    layout::Layout,
    names::{CHANGES, TableName},
    render::Renderer,
    session::Session,
};
use crate::records::{RecordPage, RecordQuery, StoredRecord};

/// Maximum number of pages read at once: more only compete for ClickHouse's
/// cores. Two for each core, on the assumption that ClickHouse has as many cores
/// as this process.
pub(super) fn pages_at_once() -> usize {
    thread::available_parallelism().map_or(4, |cores| cores.get().max(2) * 2)
}

/// Reads the records of one object type of a destination.
pub(super) struct RecordReader<'a> {
    session: &'a Session,
    object_type: &'a str,
    wide: TableName,
    changes: TableName,
    layout: Arc<Layout>,
    spacing: Arc<Spacing>,
}

impl<'a> RecordReader<'a> {
    /// A reader of the tables that the query names.
    pub(super) fn new(
        session: &'a Session,
        query: &'a RecordQuery,
        layout: Arc<Layout>,
        spacing: Arc<Spacing>,
    ) -> Self {
        let storage = |table: &str| TableName::storage(&query.destination, table);
        Self {
            session,
            object_type: &query.object_type,
            wide: storage(&query.object_type),
            changes: storage(CHANGES),
            layout,
            spacing,
        }
    }

    /// Reads a page. It starts after an id, and ids never change: so a record that
    /// matches throughout is on exactly one page, whatever changes meanwhile.
    pub(super) async fn page(&self, query: &RecordQuery) -> Result<RecordPage, WarehouseError> {
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
            .collect();
        Ok(RecordPage { records, next })
    }

    /// Whether the range of ids of these heads holds many objects that the query
    /// does not match.
    fn is_sparse(&self, heads: &[Head], query: &RecordQuery) -> bool {
        !query.matches_nearly_all()
            && heads::id_range(heads).is_some_and(|range| self.spacing.is_sparse(range))
    }
}

/// Joins what the two tables hold of a record.
fn record(head: &Head, properties: Option<&str>, renderer: &mut Renderer<'_>) -> StoredRecord {
    StoredRecord {
        id: head.id,
        created_at: head.created_at,
        updated_at: head.updated_at,
        archived: head.archived,
        properties: renderer.render(properties.unwrap_or("{}")),
    }
}
