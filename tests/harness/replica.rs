//! The log as a change log: what passes over a portal at rest add to it, and whether
//! ClickHouse has what a compacted reader of the log ends with.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use hubspot_sim::Truth;
use serde_json::Value;

use crate::{
    Api, RecordLog, Stack,
    check::{Rule, Violation},
    eventually,
    log::Record,
};

/// Runs over what no change announces.
const PASSES: [&str; 3] = ["full", "archived", "late"];

/// Waits until passes of each kind over each stream have begun and ended, beside those
/// that are known now.
pub async fn passes_end(api: &Api, connection: &str, streams: &[&str], limit: Duration) {
    let path = format!("/v1/connections/{connection}/runs");
    let known = std::sync::Mutex::new(None::<HashSet<String>>);
    let what = format!("further passes over {streams:?} of {connection} end");
    eventually(&what, limit, async || {
        let answer = api.try_send("GET", &path, None).await.ok()?;
        let runs = answer.body["results"].as_array()?;
        let mut known = known.lock().unwrap();
        let known = known.get_or_insert_with(|| runs.iter().map(run_id).collect());
        let has_ended = |stream: &str, reason: &str| {
            runs.iter().any(|run| {
                run["stream"] == stream
                    && run["reason"] == reason
                    && run["outcome"] == "succeeded"
                    && !known.contains(&run_id(run))
            })
        };
        let all = |stream: &&str| PASSES.iter().all(|reason| has_ended(stream, reason));
        streams.iter().all(all).then_some(())
    })
    .await;
}

fn run_id(run: &Value) -> String {
    run["run_id"].to_string()
}

/// What was written between two readings of the log, in which nothing has changed.
pub fn written_at_rest(before: &RecordLog, after: &RecordLog) -> Vec<Violation> {
    let mut ends: HashMap<i32, i64> = HashMap::new();
    for record in &before.records {
        ends.insert(record.at.0, record.at.1);
    }
    let new = after.records.iter();
    let new = new.filter(|it| ends.get(&it.at.0).is_none_or(|end| it.at.1 > *end));
    new.map(|record| Violation {
        rule: Rule::Rest,
        object: record.key.clone(),
        detail: format!(
            "at {:?}, {} run {}, last-modified {}{}",
            record.at,
            record.reason,
            record.run_id,
            record.updated_at,
            if record.deleted { ", a deletion" } else { "" }
        ),
    })
    .collect()
}

/// Deletions of objects that the portal has. An object that is gone never comes back
/// under its id, so no deletion was right at its time. Those of which `excused` is true
/// are left out.
pub fn deleted_alive(
    log: &RecordLog,
    (portal_id, object_type): (u64, &str),
    truth: &Truth,
    excused: impl Fn(&Record) -> bool,
) -> Vec<Violation> {
    let alive: HashSet<i64> = truth.objects.iter().map(|it| it.id.cast_signed()).collect();
    let of_type = |it: &&Record| {
        it.portal_id == portal_id.cast_signed() && it.object_type == object_type && it.deleted
    };
    let wrong = log.records.iter().filter(of_type);
    let wrong = wrong.filter(|it| alive.contains(&it.object_id) && !excused(it));
    wrong
        .map(|record| Violation {
            rule: Rule::Alive,
            object: record.key.clone(),
            detail: format!(
                "at {:?}, written {}, {} run {}",
                record.at, record.written_at, record.reason, record.run_id
            ),
        })
        .collect()
}

/// What a copy of the log says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copied {
    fetch_sequence: i64,
    content_hash: u64,
    archived: bool,
    deleted: bool,
}

/// Waits until the table of current objects has what a compacted reader of the log ends
/// with, deletions included, and returns the differences that are left after `limit`.
pub async fn last_differences(
    stack: &Stack,
    destination: &str,
    (portal_id, object_type): (u64, &str),
    log: &RecordLog,
    limit: Duration,
) -> Vec<Violation> {
    let expected: BTreeMap<i64, Copied> = log
        .last_of(portal_id, object_type)
        .into_iter()
        .map(|(id, record)| (id, Copied::of(record)))
        .collect();
    let table = format!("{destination}_raw.`{object_type}`");
    let mut last = Vec::new();
    let until = tokio::time::Instant::now() + limit;
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    while tokio::time::Instant::now() < until {
        ticks.tick().await;
        match stored(stack, &table).await {
            Ok(found) => last = differences(&expected, &found, &table),
            Err(error) => last = vec![violation(&table, error)],
        }
        if last.is_empty() {
            break;
        }
    }
    last
}

impl Copied {
    fn of(record: &Record) -> Self {
        Self {
            fetch_sequence: record.fetch_sequence,
            content_hash: record.content_hash,
            archived: record.archived,
            deleted: record.deleted,
        }
    }
}

async fn stored(stack: &Stack, table: &str) -> Result<BTreeMap<i64, Copied>, String> {
    let sql = format!(
        "SELECT _object_id, _fetch_sequence, _content_hash, toUInt8(_archived), \
         toUInt8(_deleted) FROM {table} FINAL FORMAT TSV"
    );
    let text = stack.sql().try_query(&sql).await?;
    let row = |line: &str| {
        let mut values = line.split('\t');
        let mut next = || values.next().unwrap_or_default();
        let id = next().parse().expect("an id");
        let copied = Copied {
            fetch_sequence: next().parse().expect("a sequence"),
            content_hash: next().parse().expect("a hash"),
            archived: next() == "1",
            deleted: next() == "1",
        };
        (id, copied)
    };
    Ok(text.lines().map(row).collect())
}

fn differences(
    expected: &BTreeMap<i64, Copied>,
    found: &BTreeMap<i64, Copied>,
    table: &str,
) -> Vec<Violation> {
    let ids: HashSet<i64> = expected.keys().chain(found.keys()).copied().collect();
    let mut ids: Vec<i64> = ids.into_iter().collect();
    ids.sort_unstable();
    let differing = ids
        .into_iter()
        .filter(|id| expected.get(id) != found.get(id));
    differing
        .map(|id| {
            let detail = format!("{:?}, in the log {:?}", found.get(&id), expected.get(&id));
            violation(&format!("{table}/{id}"), detail)
        })
        .collect()
}

fn violation(object: &str, detail: String) -> Violation {
    Violation {
        rule: Rule::Replica,
        object: object.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(fetch_sequence: i64) -> Copied {
        Copied {
            fetch_sequence,
            content_hash: 5,
            archived: false,
            deleted: false,
        }
    }

    #[test]
    fn a_copy_that_lacks_has_more_or_differs_is_found() {
        let log = BTreeMap::from([(1, copied(7)), (2, copied(8)), (3, copied(9))]);
        assert_eq!(differences(&log, &log, "contacts"), []);
        let other = BTreeMap::from([(1, copied(7)), (2, copied(6)), (4, copied(9))]);
        let found = differences(&log, &other, "contacts");
        let objects: Vec<_> = found.iter().map(|it| it.object.as_str()).collect();
        assert_eq!(objects, ["contacts/2", "contacts/3", "contacts/4"]);
    }
}
