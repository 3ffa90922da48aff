//! The worker's verdict of each pass is compared with ClickHouse: tables that were
//! tampered with are found and filled from the log again.

use std::collections::BTreeMap;

use harness::{
    Api, HANG_LIMIT, Stack,
    api::{Answer, stream},
    eventually,
};
use schemas::{
    CrmRecord, DigestRange, PropertyMap, Status, Verdict, codec, crm_record, object_digest, status,
    verdict::verdict_key,
};
use serde_json::{Value, json};

const PATH: &str = "/v1/connections/default/reconciliations";

/// What data-streams logs of tables that it fills again, and of each comparison.
const FILLED: &str = "tables differ from the log, so they are filled from it again";
const COMPARED: &str = "verdict compared with the tables";

/// Objects in one range of the verdicts that a test makes.
const PER_RANGE: usize = 50;

/// Waits until the comparison of a run or of a request is listed, and returns it.
async fn compared(api: &Api, stream: &str, field: &str, id: &str) -> Value {
    let what = format!("the comparison of {stream} with {field} {id}");
    eventually(&what, HANG_LIMIT, async || {
        let answer = api.try_send("GET", PATH, None).await.ok()?;
        let results = answer.body["results"].as_array()?;
        let is_it = |it: &&Value| it["stream"] == stream && it[field] == id;
        let found = results.iter().find(is_it)?;
        (!found["still_different"].is_null()).then(|| found.clone())
    })
    .await
}

/// Requests a reconciliation of a stream, and returns it once it is compared.
pub(crate) async fn reconcile(stack: &Stack, stream: &str) -> Value {
    let api = stack.api();
    let answer = request(&api, stream).await;
    assert_eq!(answer.headers["location"], PATH);
    let id = answer.body["request_id"].as_str().unwrap();
    compared(&api, stream, "request_id", id).await
}

/// Requests a full pass over a stream, without waiting for it.
pub(crate) async fn request(api: &Api, stream: &str) -> Answer {
    let path = "/v1/connections/default/reconcile";
    let body = json!({"streams": [stream]});
    let answer = api.send("POST", path, Some(body)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer
}

/// How often the instances have logged a text.
fn logged(stack: &Stack, text: &str) -> usize {
    let outputs = stack.instances.iter().map(|it| it.process.output());
    outputs.map(|it| it.matches(text).count()).sum()
}

/// Waits until ClickHouse has done what it was told.
async fn tamper(stack: &Stack, statement: &str) {
    let statement = format!("{statement} SETTINGS mutations_sync = 2");
    stack.sql().query(&statement).await;
}

/// Removes three contacts from the table, and changes the hash of another.
async fn tamper_with_contacts(stack: &Stack) {
    let ids = stack.simulator.portal().ids("contacts");
    let gone = &ids[10..13];
    let gone: Vec<_> = gone.iter().map(u64::to_string).collect();
    let table = "ALTER TABLE hubspot_raw.contacts";
    let gone = format!("{table} DELETE WHERE _object_id IN ({})", gone.join(", "));
    tamper(stack, &gone).await;
    let changed = format!(
        "{table} UPDATE _content_hash = _content_hash + 1 WHERE _object_id = {}",
        ids[ids.len() - 5]
    );
    tamper(stack, &changed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_at_rest_is_the_same_in_hubspot_and_in_clickhouse() {
    let stack = Stack::with(600, 30).start().await;
    stack.first_sync(json!({"interval": "1h"})).await;
    stack.matches_truth("contacts").await;
    let before = stack.log().await.records.len();
    let portal = stack.simulator.portal();
    for object_type in ["contacts", "companies"] {
        let live = portal.ids(object_type).len();
        let found = reconcile(&stack, object_type).await;
        assert_eq!(found["kind"], "full", "{found}");
        assert_eq!(found["in_hubspot"], live, "{found}");
        assert_eq!(found["in_warehouse"], live, "{found}");
        let counts = ["changed", "deleted", "unreadable", "still_different"];
        assert!(counts.iter().all(|it| found[it] == 0), "{found}");
        let connection = stack.api().connection("default").await;
        let verdict = &stream(&connection, object_type)["verdict"];
        assert_eq!(verdict["still_different"], 0, "{connection}");
    }
    assert_eq!(stack.log().await.records.len(), before);
    assert_eq!(logged(&stack, FILLED), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_tampered_with_is_found_and_filled_again_without_a_new_record() {
    let stack = Stack::with(600, 30).start().await;
    stack.first_sync(json!({"interval": "1h"})).await;
    stack.matches_truth("contacts").await;
    let before = stack.log().await.records.len();
    tamper_with_contacts(&stack).await;
    let found = reconcile(&stack, "contacts").await;
    assert_eq!(found["in_warehouse"], found["in_hubspot"], "{found}");
    assert_eq!(found["still_different"], 0, "{found}");
    assert_eq!(found["changed"], 0, "{found}");
    assert_eq!(logged(&stack, FILLED), 1);
    stack.matches_truth("contacts").await;
    assert_eq!(stack.log().await.records.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_makes_the_digest_that_the_contract_defines() {
    let stack = Stack::with(10, 5).without_services().start().await;
    for (id, hash) in [
        (1, 1),
        (0, u64::MAX),
        (i64::MAX, 0),
        (256, 1 << 40),
        (0x0102_0304_0506_0708, 0x1112_1314_1516_1718),
    ] {
        let sql = format!(
            "SELECT xxh3(concat(reinterpretAsFixedString(toUInt64({id})), \
             reinterpretAsFixedString(toUInt64({hash}))))"
        );
        let digest = stack.sql().query(&sql).await;
        let expected = object_digest(id, hash).to_string();
        assert_eq!(digest.trim(), expected, "{id} {hash}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_properties_are_missing_is_not_shown_without_them() {
    let stack = Stack::with(100, 5).start().await;
    stack.first_sync(json!({"interval": "1h"})).await;
    stack.matches_truth("contacts").await;
    let ids = stack.simulator.portal().ids("contacts");
    let id = ids[3];
    let gone = format!(
        "ALTER TABLE hubspot_raw.changes DELETE WHERE object_type = 'contacts' AND object_id = {id}"
    );
    tamper(&stack, &gone).await;
    let api = stack.api();
    let records = "/v1/connections/default/records/contacts";
    let later = format!("{records}?limit=20&after=k1{:016x}", ids[1]);
    for path in [format!("{records}/{id}"), records.to_owned(), later] {
        let answer = api.send("GET", &path, None).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert_eq!(answer.body["code"], "record_incomplete");
        assert!(answer.headers.contains_key("retry-after"));
    }
    stack.api().rebuild().await;
    let shown = api.get(&format!("{records}/{id}")).await;
    assert_ne!(shown["properties"], json!({}));
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_would_lose_many_objects_waits_for_a_person() {
    let stack = Stack::with(60, 5).start().await;
    stack.first_sync(json!({"interval": "1h"})).await;
    stack.matches_truth("contacts").await;
    // As from a log that was cut since.
    let lost = "INSERT INTO hubspot_raw.contacts (_object_id, _version) \
                SELECT 900000000 + number, 1 FROM numbers(1100)";
    let sql = stack.sql();
    sql.query(lost).await;
    let count = "SELECT count() FROM hubspot_raw.contacts FINAL";
    let held = sql.number(count).await;

    let refused = stack.api().rebuild_of(json!({})).await;
    assert_eq!(refused["state"], "failed", "{refused}");
    let error = refused["error"].as_str().unwrap();
    for part in ["would lose 1100 of its", "resync", "accept_loss"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(sql.number(count).await, held);

    let accepted = stack.api().rebuild_of(json!({"accept_loss": true})).await;
    assert_eq!(accepted["state"], "done", "{accepted}");
    assert_eq!(sql.number(count).await, held - 1100);
    stack.matches_truth("contacts").await;
}

/// A contact of the wide table.
struct Held {
    hash: u64,
    archived: bool,
    fetch_sequence: i64,
}

/// The contacts that ClickHouse has, by id.
async fn held(stack: &Stack) -> BTreeMap<i64, Held> {
    let sql = "SELECT toString(_object_id) AS id, toString(_content_hash) AS hash, _archived, \
               toString(_fetch_sequence) AS sequence FROM hubspot_raw.contacts FINAL \
               WHERE NOT _deleted";
    let rows = stack.sql().rows(sql).await.into_iter();
    let number = |it: &Value| it.as_str().unwrap().parse::<u64>().unwrap();
    rows.map(|row| {
        let held = Held {
            hash: number(&row["hash"]),
            archived: row["_archived"] == true,
            fetch_sequence: number(&row["sequence"]).cast_signed(),
        };
        (number(&row["id"]).cast_signed(), held)
    })
    .collect()
}

/// What a worker says of these contacts.
fn verdict(stack: &Stack, run_id: &str, contacts: &BTreeMap<i64, Held>) -> Verdict {
    let of_range = |some: &[(&i64, &Held)]| {
        let mut range = DigestRange {
            first_id: *some[0].0,
            ..DigestRange::default()
        };
        for (id, held) in some {
            range.add(**id, held.hash);
        }
        range
    };
    let all: Vec<_> = contacts.iter().collect();
    let live = all.iter().filter(|(_, it)| !it.archived).count();
    let sequences = contacts.values().map(|it| it.fetch_sequence);
    let now = stack.simulator.portal().now_ms();
    Verdict {
        stream: "contacts".to_owned(),
        portal_id: stack.simulator.portal().id().cast_signed(),
        run_id: run_id.to_owned(),
        reason: "full".to_owned(),
        started_at: now,
        finished_at: now,
        fetch_sequence: sequences.max().unwrap(),
        objects: i64::try_from(live).unwrap(),
        ranges: all.chunks(PER_RANGE).map(of_range).collect(),
        ..Verdict::default()
    }
}

/// Writes a verdict as a worker does, and returns its comparison.
async fn judge(stack: &Stack, verdict: &Verdict) -> Value {
    let topic = stack.topic("status");
    let servers = stack.servers();
    let id = servers
        .register(&format!("{topic}-value"), status::SCHEMA)
        .await;
    let message = Status {
        connection: "default".to_owned(),
        verdict: Some(verdict.clone()),
        ..Status::default()
    };
    let schema = codec::Schema::parse_str(status::SCHEMA).unwrap();
    let value = codec::encode(&schema, id, &message).unwrap();
    let key = verdict_key("default", "contacts");
    servers.produce(&topic, vec![(key, Some(value))]).await;
    compared(&stack.api(), "contacts", "id", &verdict.run_id).await
}

/// Writes later versions of two contacts, a deletion and a new contact to the log, and
/// waits until they are stored.
async fn change_afterwards(stack: &Stack, contacts: &BTreeMap<i64, Held>) {
    let topic = stack.topic("records");
    let servers = stack.servers();
    let schema = crm_record::SCHEMA;
    let schema_id = servers.register(&format!("{topic}-value"), schema).await;
    let ids: Vec<_> = contacts.keys().copied().collect();
    let newest = contacts.values().map(|it| it.fetch_sequence).max().unwrap();
    let now = stack.simulator.portal().now_ms();
    let properties = PropertyMap::from_iter([("jobtitle", "afterwards")]);
    let nothing = PropertyMap::default();
    let new = ids.last().unwrap() + 1;
    let written = [
        (ids[0], false),
        (ids[70], false),
        (ids[71], true),
        (new, false),
    ];
    let messages = (1..).zip(written).map(|(later, (id, deleted))| {
        let record = CrmRecord {
            created_at: now,
            updated_at: now,
            connection: "default",
            run_id: "afterwards",
            reason: "incremental",
            fetched_at: now,
            fetch_sequence: newest + later,
            content_hash: later,
            deleted,
            ..CrmRecord::new(
                stack.simulator.portal().id().cast_signed(),
                "contacts",
                id,
                if deleted { &nothing } else { &properties },
            )
        };
        (record.key(), Some(record.encode(schema_id)))
    });
    servers.produce(&topic, messages.collect()).await;
    let stored = "SELECT count() FROM hubspot_raw.contacts FINAL WHERE _run_id = 'afterwards'";
    stack.sql().until(stored, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_compared_once_as_of_its_place_in_the_log_and_what_differs_is_repaired() {
    let mut stack = Stack::with(300, 5).start().await;
    stack.first_sync(json!({"interval": "1h"})).await;
    stack.matches_truth("contacts").await;
    // This test says what the log has.
    stack.first_worker().kill();
    let contacts = held(&stack).await;

    tamper_with_contacts(&stack).await;
    let found = judge(&stack, &verdict(&stack, "tampered", &contacts)).await;
    assert_eq!(found["still_different"], 0, "{found}");
    assert_eq!(found["in_warehouse"], found["in_hubspot"], "{found}");
    assert_eq!(logged(&stack, FILLED), 1);
    stack.matches_truth("contacts").await;

    // What has changed since does not count.
    change_afterwards(&stack, &contacts).await;
    let found = judge(&stack, &verdict(&stack, "changed since", &contacts)).await;
    assert_eq!(found["still_different"], 0, "{found}");
    assert_eq!(found["in_warehouse"], found["in_hubspot"], "{found}");
    assert_eq!(logged(&stack, FILLED), 1);

    // The log lacks an object.
    let mut lacking = held(&stack).await;
    let fetch_sequence = lacking.values().map(|it| it.fetch_sequence).max().unwrap();
    let lost = Held {
        hash: 5,
        archived: false,
        fetch_sequence,
    };
    lacking.insert(1, lost);
    let found = judge(&stack, &verdict(&stack, "lacking", &lacking)).await;
    assert_eq!(found["still_different"], 1, "{found}");
    assert_eq!(logged(&stack, FILLED), 2);
    let connection = stack.api().connection("default").await;
    let contacts = stream(&connection, "contacts");
    assert_eq!(contacts["pending_request"]["kind"], "resync", "{contacts}");
    assert_eq!(contacts["verdict"]["still_different"], 1, "{contacts}");

    // Another instance and one that is restarted show it, and compare nothing again.
    let count = logged(&stack, COMPARED);
    stack.add_data_streams();
    stack.restart_data_streams(0);
    for instance in &stack.instances {
        let api = Api::new(instance.port);
        api.ready().await;
        let shown = compared(&api, "contacts", "id", "lacking").await;
        assert_eq!(shown, found);
    }
    assert_eq!(logged(&stack, COMPARED), count);
}
