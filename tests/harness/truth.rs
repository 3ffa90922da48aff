//! Compares what is stored with what the simulator holds.
//!
//! It must not know how it came there.

use std::{collections::BTreeMap, time::Duration};

use hubspot_sim::{Digest, object_hash};
use serde_json::Value;

use crate::{RecordLog, Stack, eventually};

/// The comparison gives up so much earlier, to say what it has seen.
const TICK: Duration = Duration::from_secs(1);

/// How long a committed record may take into ClickHouse on a busy machine.
const LOAD_LIMIT: Duration = Duration::from_mins(2);

/// Panics unless the newest versions in the log are the simulator's objects.
pub fn log_matches(stack: &Stack, log: &RecordLog, object_type: &str) {
    let truth = stack
        .simulator
        .truth(object_type)
        .expect("a type of the portal");
    let mut digest = Digest::default();
    let mut count = 0;
    for record in log.newest(object_type).values().filter(|it| !it.deleted) {
        let properties: Vec<_> = record
            .properties
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        digest.add(object_hash(
            record.object_id.unsigned_abs(),
            record.updated_at,
            record.archived,
            properties,
        ));
        count += 1;
    }
    assert_eq!(count, truth.count, "objects of {object_type} in the log");
    assert_eq!(digest, truth.digest, "digest of {object_type} in the log");
}

/// Waits until the newest versions in ClickHouse are the simulator's objects.
pub(crate) async fn warehouse_matches(stack: &Stack, object_type: &str) {
    let expected = stack
        .simulator
        .truth(object_type)
        .expect("a type of the portal");
    let found = std::sync::Mutex::new(None);
    let matched = eventually(
        "ClickHouse holds what HubSpot holds",
        LOAD_LIMIT,
        async || {
            let (count, digest) = stored(stack, object_type).await?;
            *found.lock().unwrap() = Some((count, digest));
            (count == expected.count && digest == expected.digest).then_some(())
        },
    );
    let outcome = tokio::time::timeout(LOAD_LIMIT.saturating_sub(TICK), matched).await;
    assert!(
        outcome.is_ok(),
        "{object_type}: stored {:?}, in HubSpot {:?}",
        found.lock().unwrap(),
        (expected.count, expected.digest),
    );
}

/// Count and digest of a type in the change history of the default
/// connection; `None` while the table is not there yet.
async fn stored(stack: &Stack, object_type: &str) -> Option<(u64, Digest)> {
    let rows = stack
        .sql()
        .try_query(&format!(
            "SELECT * FROM (SELECT object_id AS id, toUnixTimestamp64Milli(updated_at) AS updated, \
             archived, deleted, properties FROM hubspot_raw.changes \
             WHERE object_type = '{object_type}' ORDER BY version DESC LIMIT 1 BY object_id) \
             WHERE NOT deleted AND id NOT IN (SELECT _object_id FROM \
             hubspot.{object_type}_all WHERE _deleted) FORMAT JSONEachRow"
        ))
        .await
        .ok()?;
    let mut digest = Digest::default();
    let mut count = 0;
    for line in rows.lines() {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        let properties: BTreeMap<String, String> =
            serde_json::from_str(row["properties"].as_str()?).expect("properties are JSON");
        digest.add(object_hash(
            number(&row["id"]).unsigned_abs(),
            number(&row["updated"]),
            row["archived"] == Value::Bool(true),
            properties
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        ));
        count += 1;
    }
    Some((count, digest))
}

/// ClickHouse quotes 64-bit numbers in JSON, by default.
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no number"))
}
