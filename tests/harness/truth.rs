//! Compares the log and ClickHouse with what the simulator holds.

use std::{collections::BTreeMap, time::Duration};

use hubspot_sim::{Portal, TrueObject, Truth, object_hash};
use schemas::{ASSOCIATIONS, AssociatedTypes, Association};
use serde_json::Value;

use crate::{
    HANG_LIMIT, RecordLog, Stack,
    check::{self, FoundObject, Violation},
    eventually,
};

/// Panics unless a compacted reader of the log ends with the simulator's objects.
pub fn log_matches(stack: &Stack, log: &RecordLog, object_type: &str) {
    let portal = stack.simulator.portal();
    let found = check::compacted(log, portal.id(), object_type);
    let truth = truth(&portal, object_type);
    check::assert_no_violations(&check::same(&found, &truth, object_type));
}

/// What a portal holds of a stream.
pub fn truth(portal: &Portal, stream: &str) -> Truth {
    match AssociatedTypes::of(stream) {
        None => portal.truth(stream).expect("a type of the portal"),
        Some(types) => associations(portal, types),
    }
}

/// The time of a version, as far as it can be compared: a record of associations has that of
/// its object when the associations last changed.
pub(crate) fn comparable_time(stream: &str, updated_at: i64) -> i64 {
    match AssociatedTypes::of(stream) {
        None => updated_at,
        Some(_) => 0,
    }
}

/// What the live objects of a type are associated with.
fn associations(portal: &Portal, types: AssociatedTypes<'_>) -> Truth {
    let AssociatedTypes { from, to } = types;
    let of_object = |id: u64| {
        let others = portal.associated(from, id, to).into_iter();
        let of_other = |other: u64| {
            let kinds = portal.association_types((from, id), (to, other));
            kinds.into_iter().map(move |it| Association {
                id: other.to_string(),
                category: it.category.to_owned(),
                type_id: it.type_id,
                label: it.label,
            })
        };
        schemas::associations::to_json(others.flat_map(of_other).collect())
    };
    let objects: Vec<_> = portal
        .ids(from)
        .into_iter()
        .map(|id| TrueObject {
            id,
            created_at_ms: 0,
            updated_at_ms: 0,
            archived: false,
            properties: [(ASSOCIATIONS.to_owned(), of_object(id))]
                .into_iter()
                .filter(|(_, json)| !json.is_empty())
                .collect(),
        })
        .collect();
    let hash = |object: &TrueObject| {
        let pairs = object.properties.iter();
        let pairs = pairs.map(|(name, json)| (name.as_str(), json.as_str()));
        object_hash(object.id, 0, false, pairs)
    };
    Truth {
        count: objects.len() as u64,
        archived: 0,
        digest: objects.iter().map(hash).collect(),
        now_ms: portal.now_ms(),
        objects,
    }
}

/// Waits until the newest versions in ClickHouse are the simulator's objects.
pub(crate) async fn warehouse_matches(stack: &Stack, object_type: &str) {
    let portal = stack.simulator.portal();
    let violations = last_differences(stack, "hubspot", &portal, object_type, HANG_LIMIT).await;
    check::assert_no_violations(&violations);
}

/// Waits until the tables of current objects hold what the portal holds, whatever the
/// history says.
pub async fn current_objects_match(stack: &Stack, object_type: &str) {
    let truth = truth(&stack.simulator.portal(), object_type);
    let what = "the current objects are those of HubSpot";
    eventually(what, HANG_LIMIT, async || {
        let found = current(stack, "hubspot", object_type).await?;
        check::same(&found, &truth, object_type)
            .is_empty()
            .then_some(())
    })
    .await;
}

/// Waits until a destination holds what the portal holds, and returns the
/// differences that are left after `limit`.
pub async fn last_differences(
    stack: &Stack,
    destination: &str,
    portal: &Portal,
    object_type: &str,
    limit: Duration,
) -> Vec<Violation> {
    let truth = truth(portal, object_type);
    let last = std::sync::Mutex::new(Vec::new());
    // Longer than `limit`, so that the wait does not panic: the caller reports the
    // last differences, which explain more than a timeout.
    let longer = limit + Duration::from_mins(1);
    let matched = eventually("ClickHouse holds what HubSpot holds", longer, async || {
        let found = differences(stack, destination, &truth, object_type).await?;
        let none = found.is_empty();
        *last.lock().unwrap() = found;
        none.then_some(())
    });
    if tokio::time::timeout(limit, matched).await.is_ok() {
        return Vec::new();
    }
    let last = std::mem::take(&mut *last.lock().unwrap());
    if last.is_empty() {
        return vec![Violation {
            rule: check::Rule::Present,
            object: object_type.to_owned(),
            detail: format!("the tables of {destination} cannot be read"),
        }];
    }
    last
}

/// Differences between the truth and a destination, in its history of changes
/// and in its wide table; `None` while those do not exist.
async fn differences(
    stack: &Stack,
    destination: &str,
    truth: &Truth,
    object_type: &str,
) -> Option<Vec<Violation>> {
    let history = stored(stack, destination, object_type).await?;
    let mut violations = check::same(&history, truth, object_type);
    let wide = current(stack, destination, object_type).await?;
    violations.extend(check::same(&wide, truth, object_type));
    Some(violations)
}

/// The newest version of each object in the history of changes.
async fn stored(
    stack: &Stack,
    destination: &str,
    object_type: &str,
) -> Option<BTreeMap<i64, FoundObject>> {
    let sql = format!(
        "SELECT * FROM (SELECT object_id AS id, toUnixTimestamp64Milli(updated_at) AS updated, \
         archived, deleted, properties FROM {destination}_raw.changes \
         WHERE object_type = '{object_type}' ORDER BY version DESC LIMIT 1 BY object_id) \
         WHERE NOT deleted FORMAT JSONEachRow"
    );
    rows(stack, object_type, &sql, |row| {
        let text = row["properties"].as_str().expect("properties are text");
        Some(serde_json::from_str(text).expect("properties are JSON"))
    })
    .await
}

/// The objects of the wide table, which people query.
async fn current(
    stack: &Stack,
    destination: &str,
    object_type: &str,
) -> Option<BTreeMap<i64, FoundObject>> {
    let sql = format!(
        "SELECT _object_id AS id, toUnixTimestamp64Milli(_updated_at) AS updated, \
         _archived AS archived FROM {destination}.`{object_type}_all` WHERE NOT _deleted \
         FORMAT JSONEachRow"
    );
    rows(stack, object_type, &sql, |_| None).await
}

async fn rows(
    stack: &Stack,
    stream: &str,
    sql: &str,
    properties: impl Fn(&Value) -> Option<BTreeMap<String, String>>,
) -> Option<BTreeMap<i64, FoundObject>> {
    let text = stack.sql().try_query(sql).await.ok()?;
    let held = text.lines().map(|line| {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        let held = FoundObject {
            updated_at: comparable_time(stream, number(&row["updated"])),
            archived: row["archived"] == Value::Bool(true),
            properties: properties(&row),
        };
        (number(&row["id"]), held)
    });
    Some(held.collect())
}

/// By default ClickHouse quotes 64-bit numbers in JSON.
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{value} is not a number"))
}
