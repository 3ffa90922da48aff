//! Creates the databases, tables, columns and views of a destination.

use std::sync::Arc;

use schemas::Definitions;

use super::{
    bookkeeping,
    error::WarehouseError,
    layout::{ColumnChange, Layout},
    names::{
        CHANGES, REBUILD_SUFFIX, TableName, check_destination, check_object_type, literal, quoted,
        raw_database,
    },
    session::Session,
    views,
};
use crate::{
    crash,
    ingest::{TableSet, Target},
};

const WIDE_SQL: &str = include_str!("../../../../schemas/clickhouse/storage_wide.sql");
const CHANGES_SQL: &str = include_str!("../../../../schemas/clickhouse/storage_changes.sql");

/// Maximum number of `ALTER`s of one table, in case other processes alter it at
/// the same time.
const ALTER_ATTEMPTS: usize = 3;

/// The wide table of a target.
pub(super) fn wide_table(target: &Target) -> TableName {
    let table = match target.tables {
        TableSet::Live => target.object_type.clone(),
        TableSet::Shadow => format!("{}{REBUILD_SUFFIX}", target.object_type),
    };
    TableName::storage(&target.destination, &table)
}

/// The `changes` of a target. It only grows, so a rebuild adds to it as well.
pub(super) fn changes_table(target: &Target) -> TableName {
    TableName::storage(&target.destination, CHANGES)
}

/// Creates what is missing, adds columns, and replaces the views.
pub(super) async fn apply(
    session: &Session,
    target: &Target,
    definitions: Option<&Definitions>,
) -> Result<Arc<Layout>, WarehouseError> {
    check_object_type(&target.object_type)?;
    check_destination(&target.destination)?;
    for name in [&target.destination, &raw_database(&target.destination)] {
        let statement = format!("CREATE DATABASE IF NOT EXISTS {}", quoted(name));
        session.execute("create a database", &statement).await?;
    }
    bookkeeping::claim_destination(session, target).await?;
    let table = wide_table(target);
    for (sql, table) in [(CHANGES_SQL, &changes_table(target)), (WIDE_SQL, &table)] {
        let statement = sql.replace("{table}", &table.to_string());
        session.execute("create a table", &statement).await?;
    }
    let layout = add_columns(session, &table, definitions).await?;
    if target.tables == TableSet::Live {
        let views = views::statements(&target.destination, &target.object_type, &layout);
        for statement in views {
            session.execute("create a view", &statement).await?;
        }
    }
    Ok(Arc::new(layout))
}

/// Alters a table until its columns fit the definitions.
async fn add_columns(
    session: &Session,
    table: &TableName,
    definitions: Option<&Definitions>,
) -> Result<Layout, WarehouseError> {
    let mut layout = layout(session, table).await?.unwrap_or_default();
    let Some(definitions) = definitions else {
        return Ok(layout);
    };
    for _ in 0..ALTER_ATTEMPTS {
        let changes = layout.plan(definitions);
        if changes.is_empty() && definitions.fetched_at <= layout.defined_at {
            break;
        }
        let columns = changes.len();
        session
            .execute("add columns", &alter(table, &changes, definitions))
            .await?;
        if columns > 0 {
            crash::point(crash::Point::InAlter);
            tracing::info!(%table, columns, "columns changed");
        }
        layout = self::layout(session, table).await?.unwrap_or_default();
    }
    Ok(layout)
}

/// One `ALTER` for all changes. The table's comment holds the time of the
/// definitions.
fn alter(table: &TableName, changes: &[ColumnChange], definitions: &Definitions) -> String {
    let mut parts: Vec<String> = changes
        .iter()
        .map(|change| match change {
            ColumnChange::Add(column) => format!(
                "ADD COLUMN IF NOT EXISTS {} {} COMMENT {}",
                quoted(&column.name),
                column.kind.sql(),
                literal(&column.note.json())
            ),
            ColumnChange::Comment(column) => format!(
                "COMMENT COLUMN IF EXISTS {} {}",
                quoted(&column.name),
                literal(&column.note.json())
            ),
        })
        .collect();
    parts.push(format!(
        "MODIFY COMMENT {}",
        literal(&definitions.fetched_at.to_string())
    ));
    format!("ALTER TABLE {table} {}", parts.join(", "))
}

/// Reads the columns of a table; `None` where there is no such table.
pub(super) async fn layout(
    session: &Session,
    table: &TableName,
) -> Result<Option<Layout>, WarehouseError> {
    const ACTION: &str = "read the columns of a table";
    let comment = session
        .client()
        .query("SELECT comment FROM system.tables WHERE database = ? AND name = ?")
        .bind(&table.database)
        .bind(&table.table)
        .fetch_optional::<String>();
    let Some(comment) = session.within(ACTION, comment).await? else {
        return Ok(None);
    };
    let rows = session
        .client()
        .query(
            "SELECT name, type, comment FROM system.columns WHERE database = ? AND table = ? \
             ORDER BY position",
        )
        .bind(&table.database)
        .bind(&table.table)
        .fetch_all::<(String, String, String)>();
    let rows = session.within(ACTION, rows).await?;
    let rows = rows
        .iter()
        .map(|(name, kind, comment)| (name.as_str(), kind.as_str(), comment.as_str()));
    Ok(Some(Layout::read(rows, comment.parse().unwrap_or(0))))
}

/// Names of the wide tables of a destination, those of a rebuild included.
pub(super) async fn wide_tables(
    session: &Session,
    destination: &str,
) -> Result<Vec<String>, WarehouseError> {
    let query = session
        .client()
        .query(
            "SELECT name FROM system.tables WHERE database = ? AND name != ? \
             AND engine = 'ReplacingMergeTree' ORDER BY name",
        )
        .bind(raw_database(destination))
        .bind(CHANGES)
        .fetch_all::<String>();
    session.within("list tables", query).await
}
