//! The data of the former version is continued: nothing is read again that its
//! checkpoints do not make due, and nothing that it stored changes.

use std::{collections::BTreeMap, time::Duration};

use harness::{
    DataSet, HANG_LIMIT, RecordLog, Recorded, Stack, api::stream, eventually, log::Record, truth,
};
use hubspot_sim::{Kind, Portal, Seen};
use serde_json::{Value, json};

/// The version before this one.
const FORMER: &str = "0.1";

/// What was stored: the query of each table and view, and the columns that name
/// a row.
const STORED: [(&str, &[&str]); 9] = [
    ("hubspot.contacts", &["_object_id"]),
    ("hubspot.contacts_all", &["_object_id"]),
    ("hubspot.companies", &["_object_id"]),
    ("hubspot.companies_all", &["_object_id"]),
    ("hubspot_raw.contacts FINAL", &["_object_id"]),
    ("hubspot_raw.companies FINAL", &["_object_id"]),
    ("hubspot_raw.changes FINAL", CHANGE),
    ("_hubspot_streams.warehouse", &["id"]),
    ("_hubspot_streams.destinations", &["destination"]),
];
const CHANGE: &[&str] = &["object_type", "object_id", "version"];

/// Rows by the values of the columns that name them.
type Rows = BTreeMap<Vec<String>, Value>;

async fn rows(stack: &Stack, table: &str, key: &[&str]) -> Rows {
    // As text, or JSON would round the versions.
    let sql = format!(
        "SELECT * FROM {table} SETTINGS output_format_json_quote_64bit_integers = 1 \
         FORMAT JSONEachRow"
    );
    // A table that gets another layout is replaced, and missing for a moment.
    let what = format!("{table} can be read");
    let clickhouse = stack.sql();
    let answer = eventually(&what, HANG_LIMIT, async || {
        clickhouse.try_query(&sql).await.ok()
    })
    .await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut rows = Rows::new();
    for line in answer.lines() {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        let name = key.iter().map(|it| text(&row[it])).collect();
        let twice = rows.insert(name, row);
        assert!(twice.is_none(), "{table} has a row twice: {twice:?}");
    }
    rows
}

/// The log, without the message that became a dead letter.
async fn log(stack: &Stack) -> RecordLog {
    RecordLog::read_framed(stack.servers(), &stack.topic("records")).await
}

async fn stored(stack: &Stack) -> BTreeMap<&'static str, Rows> {
    let mut stored = BTreeMap::new();
    for (table, key) in STORED {
        stored.insert(table, rows(stack, table, key).await);
    }
    stored
}

/// Whether a value is as before, or has more fields.
fn contains(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => before
            .iter()
            .all(|(name, value)| now.get(name).is_some_and(|it| contains(it, value))),
        (Value::Array(now), Value::Array(before)) => {
            now.len() == before.len() && now.iter().zip(before).all(|(now, it)| contains(now, it))
        }
        _ => now == before,
    }
}

/// Panics unless each row is as before, except those of which `changed` is true.
fn assert_kept(table: &str, now: &Rows, before: &Rows, changed: impl Fn(&Value) -> bool) {
    for (name, row) in before.iter().filter(|(_, row)| !changed(row)) {
        let found = now.get(name).unwrap_or(&Value::Null);
        assert!(contains(found, row), "{table}: {row} is now {found}");
    }
}

/// Requests whose answers have records.
fn reads(stack: &Stack) -> Vec<Seen> {
    let all = stack.simulator.requests().all();
    let about_the_account =
        |kind: Kind| matches!(kind, Kind::Details | Kind::Usage | Kind::Properties);
    all.into_iter()
        .filter(|it| !about_the_account(it.kind))
        .collect()
}

/// A system on the data of the former version, before its services start.
async fn former() -> (Stack, Recorded) {
    let data = DataSet::of_version(FORMER);
    let recorded = data.recorded.clone();
    let stack = Stack::with(0, 0)
        .continues(data)
        .without_services()
        .start()
        .await;
    assert_eq!(
        Recorded::truth_of(&stack.simulator.portal()),
        recorded.truth,
        "the simulator makes another portal from the same seed: see tests/README.md"
    );
    (stack, recorded)
}

/// Starts today's services and waits until the connection is idle again.
async fn start_services(stack: &mut Stack) -> Value {
    stack.add_worker();
    stack.add_data_streams();
    let api = stack.api();
    api.ready().await;
    api.until("the worker is idle", "default", HANG_LIMIT, |connection| {
        let is_idle = |name: &str| stream(connection, name)["phase"] == "idle";
        let observed = &connection["observed"];
        observed["worker"] != "former-worker"
            && observed["state"] == "running"
            && ["contacts", "companies"].into_iter().all(is_idle)
    })
    .await
}

/// The former version's answers are today's, but for who works and since when.
async fn assert_answers_are_kept(stack: &Stack, recorded: &Recorded) {
    for (path, before) in &recorded.answers {
        let answer = stack.api().send("GET", path, None).await;
        let mut before = before.clone();
        for state in ["/observed", "/streams/0", "/streams/1"] {
            if let Some(Value::Object(state)) = before.pointer_mut(state) {
                state.retain(|name, _| !["at", "worker"].contains(&name.as_str()));
            }
        }
        assert!(
            contains(&answer.body, &before),
            "{path}: {before:#} is now {:#}",
            answer.body
        );
    }
}

/// The contacts page by page, as in one page of the former version.
async fn assert_pages_are_kept(stack: &Stack, recorded: &Recorded) {
    let (path, whole) = recorded
        .answers
        .iter()
        .find(|(path, _)| path.contains("/contacts?limit=1000"))
        .unwrap();
    let path = path.replace("limit=1000", "limit=30");
    let (mut records, mut after) = (Vec::new(), String::new());
    loop {
        let page = stack.api().get(&format!("{path}{after}")).await;
        records.extend(page["results"].as_array().unwrap().clone());
        match page["paging"]["next"]["after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert!(contains(&json!(records), &whole["results"]));
}

/// Changes of each kind that search shows; the ids of changed contacts and
/// companies.
fn change(portal: &Portal) -> [Vec<u64>; 2] {
    let contacts = portal.ids("contacts");
    let companies = portal.ids("companies");
    let [updated, cleared, primary, secondary] = [0, 30, 31, 32].map(|index| contacts[index]);
    let set = [("favourite_number", "44"), ("city", "Bergen")];
    portal.update("contacts", updated, &set).unwrap();
    portal
        .update("contacts", cleared, &[("email", "")])
        .unwrap();
    let winner = portal.merge("contacts", primary, secondary).unwrap();
    let new = portal.create("contacts", &[("email", "later@example.com")]);
    portal
        .update("companies", companies[7], &[("city", "Lima")])
        .unwrap();
    let contacts = vec![updated, cleared, primary, secondary, winner, new.unwrap()];
    [contacts, vec![companies[7]]]
}

/// What [`CHANGE`] names, in order.
fn versions(records: &[Record]) -> Vec<Vec<String>> {
    let name = |it: &Record| {
        let (id, version) = (it.object_id.to_string(), it.version.to_string());
        vec![it.object_type.clone(), id, version]
    };
    let mut names: Vec<_> = records.iter().map(name).collect();
    names.sort();
    names
}

/// What was appended since.
fn appended(now: &RecordLog, before: &RecordLog) -> Vec<Record> {
    let is_new = |it: &&Record| {
        let same_partition = before.records.iter().filter(|old| old.at.0 == it.at.0);
        same_partition.into_iter().all(|old| old.at.1 < it.at.1)
    };
    now.records.iter().filter(is_new).cloned().collect()
}

/// Syncs what changed in the portal: each change is once in the log and once in
/// ClickHouse, and all other rows are as before.
async fn assert_changes_arrive_once(
    stack: &Stack,
    before: &BTreeMap<&'static str, Rows>,
    former_log: &RecordLog,
) {
    let [contacts, companies] = change(&stack.simulator.portal());
    stack.sync().await;
    // The former version wrote what its passes found to be gone into the tables of
    // current objects alone: the next full pass writes it for every consumer.
    for object_type in ["contacts", "companies"] {
        truth::current_objects_match(stack, object_type).await;
    }
    let log_now = log(stack).await;
    log_now.assert_exactly_once();
    let new = appended(&log_now, former_log);
    let mut changed: Vec<_> = new.iter().map(|it| it.object_id.unsigned_abs()).collect();
    let mut expected = [contacts, companies].concat();
    changed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(changed, expected, "{new:?}");

    let changes = rows(stack, "hubspot_raw.changes FINAL", CHANGE).await;
    let former = &before["hubspot_raw.changes FINAL"];
    let loaded = changes.keys().filter(|name| !former.contains_key(*name));
    assert_eq!(loaded.cloned().collect::<Vec<_>>(), versions(&new));
    for (table, rows) in stored(stack).await {
        let was_changed = |row: &Value| {
            let id = row["_object_id"].as_str().unwrap_or_default();
            changed.iter().any(|it| it.to_string() == id)
        };
        assert_kept(table, &rows, &before[table], was_changed);
    }
}

/// What is new in this version: only rows written since have a content hash, and
/// `changes` gets its new order.
async fn assert_tables_are_upgraded(stack: &Stack, before: &BTreeMap<&'static str, Rows>) {
    for (table, rows) in stored(stack).await {
        let Some(name) = ["_content_hash", "content_hash"]
            .into_iter()
            .find(|name| rows.values().any(|row| row.get(name).is_some()))
        else {
            assert!(table.starts_with("_hubspot_streams"), "{table} has no hash");
            continue;
        };
        for (key, row) in &rows {
            let is_former = before[table].get(key).is_some_and(|it| contains(row, it));
            assert_eq!(row[name] == "0", is_former, "{table}: {row}");
        }
    }
    let sql = "SELECT sorting_key FROM system.tables WHERE database = 'hubspot_raw' AND \
               name = 'changes'";
    let key = "object_type, object_id, fetch_sequence";
    stack.sql().until(sql, key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_the_former_version_is_continued_without_a_resync() {
    let (mut stack, recorded) = former().await;
    let before = stored(&stack).await;
    let former_log = log(&stack).await;
    assert!(former_log.records.len() > 400 && before["hubspot_raw.changes FINAL"].len() > 400);

    start_services(&mut stack).await;
    assert!(reads(&stack).is_empty(), "{:?}", reads(&stack));
    assert_answers_are_kept(&stack, &recorded).await;
    assert_pages_are_kept(&stack, &recorded).await;
    for (table, rows) in stored(&stack).await {
        assert_eq!(rows.len(), before[table].len(), "{table}");
        assert_kept(table, &rows, &before[table], |_| false);
    }
    assert_eq!(log(&stack).await.records, former_log.records);

    assert_changes_arrive_once(&stack, &before, &former_log).await;
    assert_tables_are_upgraded(&stack, &before).await;
    let lists = |seen: &Seen| matches!(seen.kind, Kind::List | Kind::ListArchived);
    assert!(!reads(&stack).iter().any(lists), "{:?}", reads(&stack));

    // The next full pass is due a day after the last one, and finds what search
    // does not show.
    let portal = stack.simulator.portal();
    let contacts = portal.ids("contacts");
    portal.erase("contacts", contacts[40]).unwrap();
    portal.archive("contacts", contacts[41]).unwrap();
    stack.simulator.advance(Duration::from_hours(25));
    // By its answers the worker learns what time it is.
    stack.sync().await;
    for object_type in ["contacts", "companies"] {
        stack.matches_truth(object_type).await;
    }
    let log = log(&stack).await;
    log.assert_exactly_once();
    assert!(
        log.records
            .iter()
            .all(|it| it.reason != "backfill" || it.at.1 < 1_000)
    );
}
