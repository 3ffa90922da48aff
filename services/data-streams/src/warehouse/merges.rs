//! Merges the parts of idle tables.
//!
//! While a table is filled, ClickHouse leaves many parts of similar size
//! unmerged, as the table's settings ask: a merge writes every row again, which
//! costs more than the insert. But every part makes reads slower. So the parts
//! that a backfill leaves are merged when it is over.

use std::time::Duration;

use super::{
    error::WarehouseError,
    names::{TableName, raw_database_of},
    session::Session,
};

/// A table with at most this many parts is left alone, so that an insert a minute
/// does not cause a merge each.
const MAX_PARTS: u8 = 4;

/// Fewer inserted rows than this in [`IDLE_SECONDS`] are the changes of an idle
/// portal. A backfill inserts more, however small each insert is.
const BACKFILL_ROWS: u16 = 1_000;

/// How long a table has to be without a backfill. Longer than the 10 s of HubSpot's
/// limit: a backfill that has reached it may pause for most of that time, and a merge in
/// each pause would write its rows again and again.
const IDLE_SECONDS: u8 = 15;

/// Maximum wait for one merge, which continues in ClickHouse afterwards. A
/// million rows of 49 properties take about 10 s.
const MERGE_LIMIT: Duration = Duration::from_mins(30);

/// Merges the idle tables with too many parts. Continues with the next table
/// where a merge fails.
pub(super) async fn merge(session: &Session) -> Result<(), WarehouseError> {
    let tables = session
        .client()
        .query_raw(&idle_tables())
        .fetch_all::<(String, String)>();
    let tables = session.within("list parts to merge", tables).await?;
    for (database, table) in &tables {
        // Without FINAL, ClickHouse chooses the parts that are worth merging, so a
        // few small parts do not cause a large one to be rewritten.
        let statement = format!("OPTIMIZE TABLE {}", TableName::new(database, table));
        let merged = session.execute_within("merge parts", &statement, MERGE_LIMIT);
        match merged.await {
            Ok(()) => tracing::debug!(database, table, "parts merged"),
            Err(error) => tracing::debug!(database, table, %error, "parts not merged"),
        }
    }
    Ok(())
}

/// Selects our tables with too many parts that have no backfill and no running
/// merge.
fn idle_tables() -> String {
    format!(
        "SELECT database, table FROM system.parts WHERE active AND database IN (SELECT \
         {} FROM {}) GROUP BY database, table \
         HAVING count() > {MAX_PARTS} AND sumIf(rows, level = 0 AND \
         modification_time > now() - {IDLE_SECONDS}) < {BACKFILL_ROWS} AND (database, table) NOT IN \
         (SELECT database, table FROM system.merges) ORDER BY database, table",
        raw_database_of("destination"),
        TableName::bookkeeping("destinations"),
    )
}
