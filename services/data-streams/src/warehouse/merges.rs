//! Merges the parts of tables that have come to rest.
//!
//! While a table is filled, ClickHouse leaves many parts of a size beside each
//! other, as the tables' settings ask: a merge writes every row anew, and costs
//! more than the insert did. But each read pays for each part, so what a
//! backfill has left is merged once it is over. It must not know what is in a
//! table.

use std::time::Duration;

use super::{
    error::WarehouseError,
    names::{META, qualified, quoted, raw_database_of},
    session::Session,
};

/// Parts that a table may have for good: an insert a minute needs no merge each.
const PARTS: u8 = 4;

/// Rows of an insert of a backfill. What incremental runs insert is less.
const LARGE: u16 = 1_000;

/// A table is at rest when so many seconds have passed without such an insert.
const REST_SECONDS: u8 = 5;

/// For how long one merge is waited for; it goes on without us. A million rows
/// of 49 properties take about 10 s.
const LIMIT: Duration = Duration::from_mins(30);

/// Merges what is worth it. A table that cannot be merged does not hold up the
/// others.
pub(super) async fn merge(session: &Session) -> Result<(), WarehouseError> {
    let tables = session
        .client()
        .query_raw(&at_rest())
        .fetch_all::<(String, String)>();
    let tables = session.within("look for parts to merge", tables).await?;
    for (database, table) in &tables {
        // It takes the parts whose merge costs least for what it saves, so that
        // a few small parts do not rewrite a large one.
        let statement = format!("OPTIMIZE TABLE {}", qualified(database, table));
        let merged = session.execute_within("merge parts", &statement, LIMIT);
        match merged.await {
            Ok(()) => tracing::debug!(database, table, "parts merged"),
            Err(error) => tracing::debug!(database, table, %error, "parts not merged"),
        }
    }
    Ok(())
}

/// Tables of ours with too many parts, into which nothing large is inserted and
/// of which nothing is merged.
fn at_rest() -> String {
    format!(
        "SELECT database, table FROM system.parts WHERE active AND database IN (SELECT \
         {} FROM {}.destinations) GROUP BY database, table \
         HAVING count() > {PARTS} AND countIf(level = 0 AND rows >= {LARGE} AND \
         modification_time > now() - {REST_SECONDS}) = 0 AND (database, table) NOT IN \
         (SELECT database, table FROM system.merges) ORDER BY database, table",
        raw_database_of("destination"),
        quoted(META),
    )
}
