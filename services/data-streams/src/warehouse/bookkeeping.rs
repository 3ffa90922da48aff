//! What the warehouse stores about itself: its id, how far the log is loaded, and the
//! dead letters that were recovered.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt as _, stream};

use super::{
    error::WarehouseError,
    names::{TableName, literal},
    session::Session,
};
use crate::ingest::{LogPosition, Purged, PurgedEnd};

/// Destinations whose tables are changed at a time. A statement that changes a table
/// mostly waits.
const DESTINATIONS_AT_ONCE: usize = 8;

/// Reads the warehouse's id, and creates it first where there is none.
pub(super) async fn warehouse_id(session: &Session) -> Result<String, WarehouseError> {
    let table = TableName::bookkeeping("warehouse");
    let create = format!(
        "INSERT INTO {table} (id) SELECT generateUUIDv4() WHERE NOT EXISTS \
         (SELECT 1 FROM {table})"
    );
    session.execute("name the warehouse", &create).await?;
    let select = format!("SELECT toString(id) FROM {table} ORDER BY created_at, id LIMIT 1");
    let id = session.client().query(&select).fetch_one::<String>();
    session.within("read the warehouse's id", id).await
}

/// Reads the log positions of the dead letters that have been stored since.
pub(super) async fn recovered(session: &Session) -> Result<HashSet<LogPosition>, WarehouseError> {
    let table = TableName::bookkeeping("recovered");
    let select = format!("SELECT topic, partition, offset FROM {table} FINAL");
    let rows = session
        .client()
        .query(&select)
        .fetch_all::<(String, i32, i64)>();
    let rows = session
        .within("read the recovered dead letters", rows)
        .await?;
    let positions = rows
        .into_iter()
        .map(|(topic, partition, offset)| LogPosition {
            topic,
            partition,
            offset,
        });
    Ok(positions.collect())
}

/// Records that the dead letters at these log positions are stored now.
pub(super) async fn remember_recovered(
    session: &Session,
    positions: &[LogPosition],
) -> Result<(), WarehouseError> {
    if positions.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = positions
        .iter()
        .map(|it| format!("({}, {}, {})", literal(&it.topic), it.partition, it.offset))
        .collect();
    let insert = format!(
        "INSERT INTO {} (topic, partition, offset) VALUES {}",
        TableName::bookkeeping("recovered"),
        rows.join(", ")
    );
    session
        .execute("record recovered dead letters", &insert)
        .await
}

/// Reads how far a topic is loaded: by partition, the next offset to read.
pub(super) async fn loaded(
    session: &Session,
    topic: &str,
) -> Result<BTreeMap<i32, i64>, WarehouseError> {
    let table = TableName::bookkeeping("loaded");
    let select = format!("SELECT partition, offset FROM {table} FINAL WHERE topic = ?");
    let rows = session.client().query(&select).bind(topic);
    let rows = session
        .within("read how far is loaded", rows.fetch_all::<(i32, i64)>())
        .await?;
    Ok(rows.into_iter().collect())
}

/// Notes how far a topic is loaded.
pub(super) async fn note_loaded(
    session: &Session,
    topic: &str,
    next: &BTreeMap<i32, i64>,
) -> Result<(), WarehouseError> {
    if next.is_empty() {
        return Ok(());
    }
    let topic = literal(topic);
    let rows = next
        .iter()
        .map(|(partition, offset)| format!("({topic}, {partition}, {offset})"));
    let insert = format!(
        "INSERT INTO {} (topic, partition, offset) VALUES {}",
        TableName::bookkeeping("loaded"),
        rows.collect::<Vec<_>>().join(", ")
    );
    session.execute("note how far is loaded", &insert).await
}

/// Reads up to where the records of connections were purged.
pub(super) async fn purged(session: &Session, topic: &str) -> Result<Purged, WarehouseError> {
    let table = TableName::bookkeeping("purged");
    let select = format!(
        "SELECT connection, partition, offset, toUnixTimestamp64Milli(at) FROM {table} FINAL \
         WHERE topic = ?"
    );
    let rows = session.client().query(&select).bind(topic);
    let rows = rows.fetch_all::<(String, i32, i64, i64)>();
    let mut purged = Purged::new();
    for (connection, partition, offset, at) in session.within("read what was purged", rows).await? {
        let of_connection = purged.entry(connection).or_default();
        of_connection.insert(partition, PurgedEnd { offset, at });
    }
    Ok(purged)
}

/// Notes up to where the records of a connection are purged.
pub(super) async fn note_purged(
    session: &Session,
    connection: &str,
    topic: &str,
    ends: &BTreeMap<i32, i64>,
) -> Result<(), WarehouseError> {
    let names = format!("{}, {}", literal(connection), literal(topic));
    let rows = ends
        .iter()
        .map(|(partition, offset)| format!("({names}, {partition}, {offset})"));
    let insert = format!(
        "INSERT INTO {} (connection, topic, partition, offset) VALUES {}",
        TableName::bookkeeping("purged"),
        rows.collect::<Vec<_>>().join(", ")
    );
    session.execute("note what is purged", &insert).await
}

/// Reads every destination in use.
pub(super) async fn destinations(session: &Session) -> Result<Vec<String>, WarehouseError> {
    let select = format!(
        "SELECT DISTINCT destination FROM {} ORDER BY destination",
        TableName::bookkeeping("destinations")
    );
    let destinations = session.client().query(&select).fetch_all::<String>();
    session.within("read the destinations", destinations).await
}

/// Does something for every destination, several at a time. All are done to their end
/// where one fails, so that no statement is still running when it is repeated; then the
/// first failure is returned.
pub(super) async fn for_destinations<T, F>(
    session: &Session,
    act: impl Fn(String) -> F,
) -> Result<Vec<T>, WarehouseError>
where
    F: Future<Output = Result<T, WarehouseError>>,
{
    let destinations = destinations(session).await?;
    let outcomes = stream::iter(destinations)
        .map(act)
        .buffered(DESTINATIONS_AT_ONCE)
        .collect::<Vec<_>>();
    outcomes.await.into_iter().collect()
}
