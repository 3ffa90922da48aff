//! The outcomes of comparisons of the log with the tables, kept in ClickHouse, so that
//! every instance knows them.

use serde::Deserialize;

use super::{
    Warehouse,
    error::WarehouseError,
    names::{TableName, literal},
};
use crate::comparison::Comparison;

/// Streams that one query asks for.
const STREAMS_PER_QUERY: usize = 1_000;

/// A row of the table.
#[derive(clickhouse::Row, Deserialize)]
struct StoredComparison {
    connection: String,
    stream: String,
    run_id: String,
    request_id: Option<String>,
    started_at: i64,
    finished_at: i64,
    compared_at: i64,
    in_hubspot: i64,
    in_warehouse: i64,
    changed: i64,
    deleted: i64,
    unreadable: i64,
    still_different: i64,
}

impl Warehouse {
    /// The comparison of the last pass of each of these streams, named by connection and
    /// object type; the first one, if several instances compared it.
    pub(crate) async fn last_comparisons(
        &self,
        streams: &[(String, String)],
    ) -> Result<Vec<Comparison>, WarehouseError> {
        let mut found = Vec::new();
        for some in streams.chunks(STREAMS_PER_QUERY) {
            let statement = last(some);
            let rows = self.session.client().query_raw(&statement);
            let rows = rows.fetch_all::<StoredComparison>();
            let rows = self.session.within("read comparisons", rows).await?;
            found.extend(rows.into_iter().map(Comparison::from));
        }
        Ok(found)
    }

    /// Keeps a comparison.
    pub(crate) async fn keep_comparison(&self, it: &Comparison) -> Result<(), WarehouseError> {
        let request_id = it.request_id.as_deref();
        let names = [&it.connection, &it.stream, &it.run_id].map(|it| literal(it));
        let numbers = [
            it.started_at,
            it.finished_at,
            it.compared_at,
            it.in_hubspot,
            it.in_warehouse,
            it.changed,
            it.deleted,
            it.unreadable,
            it.still_different,
        ]
        .map(|number| number.to_string());
        let insert = format!(
            "INSERT INTO {} (connection, stream, run_id, request_id, started_at, finished_at, \
             compared_at, in_hubspot, in_warehouse, changed, deleted, unreadable, \
             still_different) VALUES ({}, {}, {})",
            TableName::bookkeeping("comparisons"),
            names.join(", "),
            request_id.map_or_else(|| "NULL".to_owned(), literal),
            numbers.join(", "),
        );
        self.session.execute("keep a comparison", &insert).await
    }
}

fn last(streams: &[(String, String)]) -> String {
    let streams: Vec<_> = streams
        .iter()
        .map(|(connection, stream)| format!("({}, {})", literal(connection), literal(stream)))
        .collect();
    format!(
        "SELECT connection, stream, run_id, request_id, started_at, finished_at, compared_at, \
         in_hubspot, in_warehouse, changed, deleted, unreadable, still_different FROM {} \
         WHERE (connection, stream) IN ({}) ORDER BY finished_at DESC, compared_at LIMIT 1 \
         BY connection, stream",
        TableName::bookkeeping("comparisons"),
        streams.join(", ")
    )
}

impl From<StoredComparison> for Comparison {
    fn from(row: StoredComparison) -> Self {
        Self {
            connection: row.connection,
            stream: row.stream,
            run_id: row.run_id,
            request_id: row.request_id,
            started_at: row.started_at,
            finished_at: row.finished_at,
            compared_at: row.compared_at,
            in_hubspot: row.in_hubspot,
            in_warehouse: row.in_warehouse,
            changed: row.changed,
            deleted: row.deleted,
            unreadable: row.unreadable,
            still_different: row.still_different,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let streams = [("a'b".to_owned(), "contacts".to_owned())];
        assert!(last(&streams).contains(r"IN (('a\'b', 'contacts'))"));
    }
}
