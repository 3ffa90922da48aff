//! The exchange of live tables with those that a rebuild has filled.
//!
//! It must not know how they were filled.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{
    error::WarehouseError,
    names::{META, REBUILD_SUFFIX, qualified, quoted, raw_database},
    session::Session,
    tables, views,
};
use crate::{crash, ingest::StoreErrorKind};

/// How long an exchange is tried, where ClickHouse does not answer.
const PATIENCE: Duration = Duration::from_mins(5);

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Drops the shadows of an earlier rebuild.
pub(crate) async fn begin(session: &Session) -> Result<(), WarehouseError> {
    for destination in tables::destinations(session).await? {
        for table in tables::wide_tables(session, &destination).await? {
            if table.ends_with(REBUILD_SUFFIX) {
                drop_table(session, &destination, &table).await?;
            }
        }
    }
    Ok(())
}

/// Notes that exchanges have begun, or that nothing is missing after them.
pub(crate) async fn note(session: &Session, is_open: bool) -> Result<(), WarehouseError> {
    let statement = format!(
        "INSERT INTO {}.exchanges (is_open) VALUES ({is_open})",
        quoted(META)
    );
    session
        .execute("note a rebuild's exchange", &statement)
        .await
}

/// Whether exchanges have begun and were not followed by the note of their end.
pub(crate) async fn is_unfinished(session: &Session) -> Result<bool, WarehouseError> {
    let statement = format!(
        "SELECT is_open FROM {}.exchanges ORDER BY at DESC LIMIT 1",
        quoted(META)
    );
    let newest = session.client().query(&statement).fetch_optional::<bool>();
    let newest = session.within("read whether a rebuild was cut off", newest);
    Ok(newest.await?.unwrap_or(false))
}

/// Puts every shadow in the place of its live table, each at once. Goes on
/// where ClickHouse does not answer, or its answer is lost, for a while.
pub(crate) async fn finish(session: &Session) -> Result<(), WarehouseError> {
    let began = Instant::now();
    // A shadow keeps its id under its new name: that tells what was exchanged.
    let mut filled = None;
    loop {
        let Err(error) = exchange_all(session, &mut filled).await else {
            return Ok(());
        };
        if error.kind() != StoreErrorKind::Unavailable || began.elapsed() > PATIENCE {
            return Err(error);
        }
        tracing::warn!(%error, "tables are not exchanged: trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// By destination and name of the live table, the id of what was filled.
type Filled = HashMap<(String, String), String>;

async fn exchange_all(
    session: &Session,
    filled: &mut Option<Filled>,
) -> Result<(), WarehouseError> {
    let filled = match filled {
        Some(filled) => filled,
        None => filled.insert(shadows(session).await?),
    };
    note(session, true).await?;
    for destination in tables::destinations(session).await? {
        let names = tables::wide_tables(session, &destination).await?;
        for live in names.iter().filter(|name| !name.ends_with(REBUILD_SUFFIX)) {
            if let Some(id) = filled.get(&(destination.clone(), live.clone())) {
                exchange(session, &destination, live, id).await?;
                continue;
            }
            let table = qualified(&raw_database(&destination), live);
            let statement = format!("TRUNCATE TABLE {table}");
            session.execute("empty a table", &statement).await?;
        }
        for shadow in names.iter().filter(|name| name.ends_with(REBUILD_SUFFIX)) {
            let live = shadow.strip_suffix(REBUILD_SUFFIX).unwrap_or_default();
            if !names.iter().any(|name| name == live) {
                rename(session, &destination, shadow, live).await?;
            }
        }
    }
    Ok(())
}

/// All shadows there are.
async fn shadows(session: &Session) -> Result<Filled, WarehouseError> {
    let mut filled = Filled::new();
    for destination in tables::destinations(session).await? {
        for table in tables::wide_tables(session, &destination).await? {
            let Some(live) = table.strip_suffix(REBUILD_SUFFIX) else {
                continue;
            };
            if let Some(id) = table_id(session, &destination, &table).await? {
                filled.insert((destination.clone(), live.to_owned()), id);
            }
        }
    }
    Ok(filled)
}

/// Doing it twice is doing it once.
async fn exchange(
    session: &Session,
    destination: &str,
    live: &str,
    filled: &str,
) -> Result<(), WarehouseError> {
    let raw = raw_database(destination);
    let shadow = format!("{live}{REBUILD_SUFFIX}");
    if table_id(session, destination, live).await?.as_deref() != Some(filled) {
        let statement = format!(
            "EXCHANGE TABLES {} AND {}",
            qualified(&raw, live),
            qualified(&raw, &shadow)
        );
        session.execute("exchange tables", &statement).await?;
        crash::point(crash::Point::InExchange);
    }
    drop_table(session, destination, &shadow).await?;
    make_views(session, destination, live).await
}

/// A rename that was done is not asked for again: the shadow is no more.
async fn rename(
    session: &Session,
    destination: &str,
    shadow: &str,
    live: &str,
) -> Result<(), WarehouseError> {
    let raw = raw_database(destination);
    let statement = format!(
        "RENAME TABLE {} TO {}",
        qualified(&raw, shadow),
        qualified(&raw, live)
    );
    session.execute("rename a table", &statement).await?;
    make_views(session, destination, live).await
}

async fn table_id(
    session: &Session,
    destination: &str,
    table: &str,
) -> Result<Option<String>, WarehouseError> {
    let id = session
        .client()
        .query("SELECT toString(uuid) FROM system.tables WHERE database = ? AND name = ?")
        .bind(raw_database(destination))
        .bind(table)
        .fetch_optional::<String>();
    session.within("read a table's id", id).await
}

async fn make_views(
    session: &Session,
    destination: &str,
    table: &str,
) -> Result<(), WarehouseError> {
    let raw = raw_database(destination);
    let layout = tables::layout(session, &raw, table)
        .await?
        .unwrap_or_default();
    for statement in views::statements(destination, table, &layout) {
        session.execute("make a view", &statement).await?;
    }
    Ok(())
}

async fn drop_table(
    session: &Session,
    destination: &str,
    table: &str,
) -> Result<(), WarehouseError> {
    let statement = format!(
        "DROP TABLE IF EXISTS {} SYNC",
        qualified(&raw_database(destination), table)
    );
    session.execute("drop a table", &statement).await
}
