//! Reads the versions of one object from `changes`.

use serde::Deserialize;

use super::RecordReader;
use crate::{
    records::{HistoryPage, HistoryQuery, RecordQuery, StoredVersion},
    warehouse::{Warehouse, error::WarehouseError, names::literal, render::Renderer},
};

/// A row of `changes`.
#[derive(clickhouse::Row, Deserialize)]
struct VersionRow {
    version: u128,
    created_at: i64,
    updated_at: i64,
    synced_at: i64,
    archived: bool,
    deleted: bool,
    merged_into: Option<u64>,
    connection: String,
    run_id: String,
    reason: String,
    topic: String,
    partition: i32,
    offset: i64,
    properties: String,
}

impl Warehouse {
    /// Reads versions of an object, newest first; an empty page for one that is not
    /// stored.
    ///
    /// # Errors
    ///
    /// As [`Self::records`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, WarehouseError> {
        let table = RecordQuery {
            destination: query.destination.clone(),
            object_type: query.object_type.clone(),
            ..RecordQuery::default()
        };
        let Some(reader) = self.reader(&table).await? else {
            return Ok(HistoryPage::default());
        };
        let _permit = self.page_permit().await?;
        reader.history(query).await
    }
}

impl RecordReader<'_> {
    async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, WarehouseError> {
        let statement = self.versions(query);
        let rows = self.session.records(&statement).fetch_all::<VersionRow>();
        let rows = self.session.within("read the versions of an object", rows);
        let mut renderer = Renderer::new(&self.layout, None);
        let mut versions = rows
            .await?
            .into_iter()
            .map(|row| version(query.id, row, &mut renderer))
            .collect::<Result<Vec<_>, _>>()?;
        let earlier = versions.split_off(query.limit.min(versions.len()));
        Ok(HistoryPage {
            versions,
            earlier: earlier.into_iter().next(),
        })
    }

    /// Selects one version more than the page has.
    fn versions(&self, query: &HistoryQuery) -> String {
        let before = query.before.map(|it| format!(" AND version < {it}"));
        format!(
            "SELECT version, created_at, updated_at, synced_at, archived, deleted, merged_into, \
             connection, run_id, reason, topic, partition, offset, properties FROM {} FINAL \
             WHERE object_type = {} AND object_id = {}{} ORDER BY version DESC LIMIT {}",
            self.changes,
            literal(self.object_type),
            query.id,
            before.unwrap_or_default(),
            query.limit + 1,
        )
    }
}

fn version(
    object_id: u64,
    row: VersionRow,
    renderer: &mut Renderer<'_>,
) -> Result<StoredVersion, WarehouseError> {
    let properties = renderer
        .render(&row.properties)
        .map_err(|source| WarehouseError::Properties { object_id, source })?;
    Ok(StoredVersion {
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
        synced_at: row.synced_at,
        archived: row.archived,
        deleted: row.deleted,
        merged_into: row.merged_into,
        connection: row.connection,
        run_id: row.run_id,
        reason: row.reason,
        topic: row.topic,
        partition: row.partition,
        offset: row.offset,
        properties,
    })
}
