//! Databases, tables and columns of a destination.
//!
//! It must not know what is stored in them.

use std::sync::Arc;

use schemas::Definitions;

use super::{
    error::WarehouseError,
    layout::{ColumnChange, Layout},
    names::{
        CHANGES, DESTINATION, META, OBJECT_TYPE, REBUILD_SUFFIX, checked, literal, qualified,
        quoted, raw_database,
    },
    session::Session,
    views,
};
use crate::{
    crash,
    ingest::{Tables, Target},
};

const WIDE: &str = include_str!("../../../../schemas/clickhouse/storage_wide.sql");
const CHANGES_TABLE: &str = include_str!("../../../../schemas/clickhouse/storage_changes.sql");

/// Alterations of one table that other processes may get in between.
const ATTEMPTS: usize = 3;

/// Name of the wide table of a target.
pub(crate) fn wide_name(target: &Target) -> String {
    match target.tables {
        Tables::Live => target.object_type.clone(),
        Tables::Shadow => format!("{}{REBUILD_SUFFIX}", target.object_type),
    }
}

/// Creates what is missing, adds columns, makes the views anew.
pub(crate) async fn apply(
    session: &Session,
    target: &Target,
    definitions: Option<&Definitions>,
) -> Result<Arc<Layout>, WarehouseError> {
    checked(OBJECT_TYPE, &target.object_type)?;
    checked(DESTINATION, &target.destination)?;
    let raw = raw_database(&target.destination);
    for name in [&target.destination, &raw] {
        let statement = format!("CREATE DATABASE IF NOT EXISTS {}", quoted(name));
        session.execute("create a database", &statement).await?;
    }
    claim(session, target).await?;
    let create = |text: &str, name: &str| text.replace("{table}", &qualified(&raw, name));
    session
        .execute("create a table", &create(CHANGES_TABLE, CHANGES))
        .await?;
    let table = wide_name(target);
    session
        .execute("create a table", &create(WIDE, &table))
        .await?;
    let layout = settle(session, &raw, &table, definitions).await?;
    if target.tables == Tables::Live {
        for statement in views::statements(&target.destination, &target.object_type, &layout) {
            session.execute("make a view", &statement).await?;
        }
    }
    Ok(Arc::new(layout))
}

/// Brings the columns to the definitions.
async fn settle(
    session: &Session,
    raw: &str,
    table: &str,
    definitions: Option<&Definitions>,
) -> Result<Layout, WarehouseError> {
    let mut layout = layout(session, raw, table).await?.unwrap_or_default();
    let Some(definitions) = definitions else {
        return Ok(layout);
    };
    for _ in 0..ATTEMPTS {
        let changes = layout.plan(definitions);
        if changes.is_empty() && definitions.fetched_at <= layout.defined_at {
            break;
        }
        let columns = changes.len();
        session
            .execute("add columns", &alter(raw, table, &changes, definitions))
            .await?;
        if columns > 0 {
            crash::point(crash::Point::InAlter);
            tracing::info!(table = qualified(raw, table), columns, "columns changed");
        }
        layout = self::layout(session, raw, table).await?.unwrap_or_default();
    }
    Ok(layout)
}

/// One `ALTER` for all changes.
fn alter(raw: &str, table: &str, changes: &[ColumnChange], definitions: &Definitions) -> String {
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
    format!("ALTER TABLE {} {}", qualified(raw, table), parts.join(", "))
}

/// Columns of a table as they are now; `None` where there is no such table.
pub(crate) async fn layout(
    session: &Session,
    raw: &str,
    table: &str,
) -> Result<Option<Layout>, WarehouseError> {
    const ACTION: &str = "read the columns of a table";
    let comment = session
        .client()
        .query("SELECT comment FROM system.tables WHERE database = ? AND name = ?")
        .bind(raw)
        .bind(table)
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
        .bind(raw)
        .bind(table)
        .fetch_all::<(String, String, String)>();
    let rows = session.within(ACTION, rows).await?;
    let rows = rows
        .iter()
        .map(|(n, t, c)| (n.as_str(), t.as_str(), c.as_str()));
    Ok(Some(Layout::read(rows, comment.parse().unwrap_or(0))))
}

/// Notes whose destination it is. The oldest claim counts.
async fn claim(session: &Session, target: &Target) -> Result<(), WarehouseError> {
    let meta = quoted(META);
    if let Some(owner) = owner(session, &target.destination).await? {
        return owned(target, owner);
    }
    let statement = format!(
        "INSERT INTO {meta}.destinations (destination, connection) VALUES ({}, {})",
        literal(&target.destination),
        literal(&target.connection)
    );
    session.execute("claim a destination", &statement).await?;
    match owner(session, &target.destination).await? {
        Some(owner) => owned(target, owner),
        None => Ok(()),
    }
}

fn owned(target: &Target, owner: String) -> Result<(), WarehouseError> {
    if owner == target.connection {
        Ok(())
    } else {
        Err(WarehouseError::Taken {
            database: target.destination.clone(),
            owner,
        })
    }
}

async fn owner(session: &Session, destination: &str) -> Result<Option<String>, WarehouseError> {
    let query = session
        .client()
        .query(
            "SELECT connection FROM `_hubspot_streams`.destinations WHERE destination = ? \
             ORDER BY claimed_at, connection LIMIT 1",
        )
        .bind(destination)
        .fetch_optional::<String>();
    session.within("read whose a destination is", query).await
}

/// Every destination ever used.
pub(crate) async fn destinations(session: &Session) -> Result<Vec<String>, WarehouseError> {
    let query = session
        .client()
        .query(
            "SELECT DISTINCT destination FROM `_hubspot_streams`.destinations \
             ORDER BY destination",
        )
        .fetch_all::<String>();
    session.within("read the destinations", query).await
}

/// Wide tables of a destination, shadows included.
pub(crate) async fn wide_tables(
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
