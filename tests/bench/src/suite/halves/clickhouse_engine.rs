//! Loads the same rows into the same table by ClickHouse alone: its Kafka engine
//! with the format `AvroConfluent`, and a materialized view that maps properties
//! to columns.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Loaded;
use crate::system::System;

/// Creates a history table that drops its rows. Data-streams adds its columns.
pub(super) async fn drop_history(system: &System<'_>) -> anyhow::Result<()> {
    system.query("CREATE DATABASE hubspot_raw").await?;
    system
        .query("CREATE TABLE hubspot_raw.changes (object_id UInt64) ENGINE = Null")
        .await?;
    Ok(())
}

/// Loads the records topic into a table like that of data-streams.
pub(super) async fn load(
    system: &System<'_>,
    contacts: u32,
    limit: Duration,
) -> anyhow::Result<Loaded> {
    system.query("CREATE DATABASE stock").await?;
    system
        .query("CREATE TABLE stock.contacts AS hubspot_raw.contacts")
        .await?;
    system.query(&queue(system)).await?;
    let view = format!(
        "CREATE MATERIALIZED VIEW stock.flow TO stock.contacts AS SELECT {} FROM stock.queue",
        columns(system).await?
    );
    let began = Instant::now();
    system.query(&view).await?;
    let stored = "SELECT count() FROM stock.contacts";
    system
        .count_reaches(stored, contacts, began + limit)
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    system.query("DROP DATABASE stock").await?;
    Ok(Loaded {
        seconds,
        cpu_seconds: 0.0,
    })
}

fn queue(system: &System<'_>) -> String {
    format!(
        "CREATE TABLE stock.queue (portal_id Int64, object_id Int64, \
         created_at DateTime64(3, 'UTC'), updated_at DateTime64(3, 'UTC'), archived Bool, \
         deleted Bool, properties Map(String, Nullable(String)), connection String, \
         run_id String, fetched_at DateTime64(3, 'UTC'), fetch_sequence Int64, \
         merged_into Nullable(Int64)) ENGINE = Kafka SETTINGS kafka_broker_list = '{}', \
         kafka_topic_list = '{}records', kafka_group_name = '{}stock', \
         kafka_format = 'AvroConfluent', kafka_num_consumers = 2, \
         kafka_thread_per_consumer = 1, format_avro_schema_registry_url = '{}'",
        system.servers.bootstrap(),
        system.prefix,
        system.prefix,
        system.servers.registry_url(),
    )
}

/// The columns of the view, each with the value that data-streams writes.
async fn columns(system: &System<'_>) -> anyhow::Result<String> {
    let found = system
        .query(
            "SELECT name, type, comment FROM system.columns WHERE database = 'stock' \
             AND table = 'contacts' ORDER BY position FORMAT JSONEachRow",
        )
        .await?;
    let mut selected = vec![
        "object_id AS _object_id, portal_id AS _portal_id, created_at AS _created_at, \
         updated_at AS _updated_at, fetched_at AS _synced_at, archived AS _archived, \
         deleted AS _deleted, run_id AS _run_id, connection AS _connection, \
         bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(updated_at)), 64), \
         toUInt128(fetch_sequence)) AS _version, fetch_sequence AS _fetch_sequence, \
         _topic, toInt32(_partition) AS _partition, toInt64(_offset) AS _offset, \
         merged_into AS _merged_into"
            .to_owned(),
    ];
    for line in found.lines() {
        let column: Value = serde_json::from_str(line)?;
        let text = |name: &str| column.get(name).and_then(Value::as_str).unwrap_or_default();
        let note: Value = serde_json::from_str(text("comment")).unwrap_or_default();
        let Some(property) = note.get("property").and_then(Value::as_str) else {
            continue;
        };
        let value = format!("properties['{property}']");
        let kind = text("type")
            .trim_start_matches("Nullable(")
            .strip_suffix(')')
            .unwrap_or_default();
        let cast = match kind {
            "String" => value,
            time if time.starts_with("DateTime64") => {
                format!("parseDateTime64BestEffortOrNull({value}, 3, 'UTC')")
            }
            other => format!(
                "accurateCastOrNull({value}, '{}')",
                other.replace('\'', "\\'")
            ),
        };
        selected.push(format!("{cast} AS `{}`", text("name")));
    }
    Ok(selected.join(", "))
}
