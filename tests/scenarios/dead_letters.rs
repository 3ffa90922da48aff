//! Undecodable messages and unusual values: messages become dead letters with a
//! reason, and nothing else waits for them.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use harness::{HANG_LIMIT, Stack, api::stream, eventually, incompressible};
use hubspot_sim::Definition;
use schemas::{CrmRecord, PropertyMap, crm_record::SCHEMA, frame};
use serde_json::{Value, json};

/// Keys and values of messages.
type Messages = Vec<(String, Option<Vec<u8>>)>;

/// How often a batch is timed: a busy machine can delay one, but undecodable
/// messages would delay each.
const ATTEMPTS: u32 = 3;

/// The fetch sequence of the last record written here: each is a version of its own,
/// later than all that a worker says of the log.
static FETCH_SEQUENCE: AtomicI64 = AtomicI64::new(1 << 62);

/// A valid record of an object that HubSpot does not have; key and value.
fn record(stack: &Stack, schema_id: u32, id: i64, text: &str) -> (String, Vec<u8>) {
    let properties = PropertyMap::from_iter([("jobtitle", text)]);
    let record = CrmRecord {
        created_at: 1_700_000_000_000,
        updated_at: 1_700_000_000_000,
        connection: "default",
        run_id: "written-by-a-test",
        reason: "backfill",
        fetched_at: 1_700_000_000_000,
        fetch_sequence: 1 + FETCH_SEQUENCE.fetch_add(1, Ordering::Relaxed),
        ..CrmRecord::new(
            stack.simulator.portal().id().cast_signed(),
            "contacts",
            id,
            &properties,
        )
    };
    (record.key(), record.encode(schema_id))
}

/// A later version of the record's schema, and a record of that version.
fn record_of_a_later_schema(stack: &Stack, schema_id: u32, id: i64) -> (String, (String, Vec<u8>)) {
    let mut schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let field = json!({"name": "origin", "type": "string", "default": ""});
    schema["fields"]
        .as_array_mut()
        .expect("fields")
        .insert(0, field);
    let (key, value) = record(stack, schema_id, id, "later schema");
    let mut message = frame(schema_id, value.len());
    message.extend([14]);
    message.extend(b"replica");
    message.extend(&value[5..]);
    (schema.to_string(), (key, message))
}

/// Undecodable messages of each kind among valid records, and the reasons of the
/// dead letters that they become.
fn mixed_batch(stack: &Stack, id: u32, command_id: u32, unknown: u32) -> (Messages, Vec<String>) {
    let valid = |number: i64| record(stack, id, 9_000_000 + number, "valid");
    let (_, (later_key, later)) = record_of_a_later_schema(stack, unknown, 9_000_200);
    let mut cut = valid(50).1;
    cut.truncate(40);
    let mut other = valid(51).1;
    other[1..5].copy_from_slice(&command_id.to_be_bytes());
    let undecodable: [(&str, &str, Option<Vec<u8>>); 6] = [
        ("not_framed", "a", Some(b"no avro at all".to_vec())),
        ("not_framed", "c", Some(Vec::new())),
        ("no_value", "d", None),
        ("undecodable", "e", Some(cut)),
        ("other_schema", "f", Some(other)),
        ("unknown_schema", &later_key, Some(later)),
    ];
    let (key, value) = valid(1);
    let mut messages = vec![(key, Some(value))];
    let mut reasons = Vec::new();
    for (number, (reason, key, value)) in (10..).zip(undecodable) {
        reasons.push(reason.to_owned());
        messages.push((key.to_owned(), value));
        let (key, value) = valid(number);
        messages.push((key, Some(value)));
    }
    (messages, reasons)
}

async fn letters(stack: &Stack) -> Vec<(i64, String)> {
    let answer = stack.api().get("/v1/dead-letters").await;
    let letters = answer["results"].as_array().expect("a list");
    letters
        .iter()
        .map(|it| {
            let reason = it["reason"].as_str().expect("a reason").to_owned();
            (it["offset"].as_i64().expect("an offset"), reason)
        })
        .collect()
}

async fn reprocess(stack: &Stack) -> (Value, Value) {
    let path = "/v1/dead-letters/reprocess";
    let answer = stack.api().send("POST", path, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    (answer.body["stored"].clone(), answer.body["left"].clone())
}

/// How many records of this test the change history has.
async fn stored(stack: &Stack) -> i64 {
    let sql = "SELECT count() FROM hubspot_raw.changes FINAL WHERE run_id = 'written-by-a-test'";
    stack.sql().number(sql).await
}

/// Writes messages, and waits until that many records of this test are stored.
async fn time_to_store(stack: &Stack, messages: Messages, count: i64) -> Duration {
    stack
        .servers()
        .produce(&stack.topic("records"), messages)
        .await;
    let written = Instant::now();
    eventually("valid records are stored", HANG_LIMIT, async || {
        (stored(stack).await == count).then_some(())
    })
    .await;
    written.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_messages_become_dead_letters_and_do_not_delay_their_batch() {
    let stack = Stack::with(100, 5).start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let topic = stack.topic("records");
    let servers = stack.servers();
    let id = servers.register(&format!("{topic}-value"), SCHEMA).await;
    let command_id = servers
        .register(
            &format!("{}-value", stack.topic("commands")),
            schemas::command::SCHEMA,
        )
        .await;
    // Higher than any id that other scenarios register meanwhile.
    let unknown = id.max(command_id) + 1_000_000;

    let (mut reasons, mut count) = (Vec::new(), 0);
    for attempt in 1..=ATTEMPTS {
        // How long a batch without undecodable messages takes now.
        let (key, value) = record(&stack, id, 9_000_002, "valid");
        count += 1;
        let alone = time_to_store(&stack, vec![(key, Some(value))], count).await;
        let (messages, expected) = mixed_batch(&stack, id, command_id, unknown + attempt);
        count += i64::try_from(messages.len() - expected.len()).expect("few");
        reasons.extend(expected);
        let took = time_to_store(&stack, messages, count).await;
        if took < 2 * alone + Duration::from_secs(2) {
            break;
        }
        assert!(
            attempt < ATTEMPTS,
            "valid records took {took:?}, without undecodable messages {alone:?}"
        );
    }
    // Large messages, without a time limit.
    reasons.push("not_framed".to_owned());
    let (key, large) = record(&stack, id, 9_000_100, &"x".repeat(4 * 1024 * 1024));
    let large = vec![
        (key, Some(large)),
        ("b".to_owned(), Some(vec![7; 4 * 1024 * 1024])),
    ];
    time_to_store(&stack, large, count + 1).await;
    let listed = eventually("all dead letters are listed", HANG_LIMIT, async || {
        let letters = letters(&stack).await;
        (letters.len() == reasons.len()).then_some(letters)
    })
    .await;
    // Dead letters are ordered within a partition only.
    let mut listed: Vec<String> = listed.into_iter().map(|(_, reason)| reason).collect();
    listed.sort();
    reasons.sort();
    assert_eq!(listed, reasons);
    let left = json!(reasons.len());
    assert_eq!(reprocess(&stack).await, (json!(0), left));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_becomes_readable_is_reprocessed_once() {
    let stack = Stack::with(100, 5).own_registry().start().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let topic = stack.topic("records");
    let servers = stack.servers();
    // The registry assigns ids in order, so the next one is known.
    let probe = servers.register("probe-value", r#""string""#).await;
    let (schema, message) = record_of_a_later_schema(&stack, probe + 1, 9_000_200);
    let (key, value) = message;
    servers.produce(&topic, vec![(key, Some(value))]).await;
    eventually("the dead letter is listed", HANG_LIMIT, async || {
        (letters(&stack).await.len() == 1).then_some(())
    })
    .await;
    let id = servers.register(&format!("{topic}-value"), &schema).await;
    assert_eq!(id, probe + 1, "the registry gives ids in order");
    assert_eq!(reprocess(&stack).await, (json!(1), json!(0)));
    assert_eq!(reprocess(&stack).await, (json!(0), json!(0)));
    assert!(letters(&stack).await.is_empty());
    assert_eq!(stored(&stack).await, 1);
    // Further messages with that schema are decoded.
    let (_, (key, value)) = record_of_a_later_schema(&stack, id, 9_000_200);
    servers.produce(&topic, vec![(key, Some(value))]).await;
    eventually(
        "the next message of that schema is stored",
        HANG_LIMIT,
        async || (stored(&stack).await == 2).then_some(()),
    )
    .await;
    assert!(letters(&stack).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_names_and_values_arrive_unchanged() {
    let names = [
        "quote's",
        "back`tick",
        "back\\slash",
        "new\nline",
        "tab\tand\u{1}control",
        "名前_ünïcode",
        "x); DROP TABLE hubspot_raw.contacts; --",
        "?",
        "{x:String}",
        "_object_id",
    ];
    let stack = Stack::with(120, 5).start().await;
    let portal = stack.simulator.portal();
    for name in names {
        portal
            .define_property("contacts", Definition::new(name, "string", "text"))
            .expect("a property");
    }
    for (name, kind) in [
        ("size", "number"),
        ("born", "date"),
        ("met", "datetime"),
        ("sure", "bool"),
    ] {
        portal
            .define_property("contacts", Definition::new(name, kind, kind))
            .expect("a property");
    }
    let ids = portal.ids("contacts");
    let all: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (*name, "'; -- `\u{0}\n\\"))
        .collect();
    portal.update("contacts", ids[0], &all).expect("an update");
    portal
        .update(
            "contacts",
            ids[1],
            &[
                ("size", "1e999"),
                ("born", "2024-13-45"),
                ("met", "soon"),
                ("sure", "maybe"),
            ],
        )
        .expect("an update");
    let huge = "y".repeat(4 * 1024 * 1024);
    portal
        .update("contacts", ids[2], &[("jobtitle", huge.as_str())])
        .expect("an update");
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    let connection = stack.api().connection("default").await;
    assert!(
        stream(&connection, "contacts")["error"].is_null(),
        "{connection}"
    );
    assert!(letters(&stack).await.is_empty());
    let path = format!("/v1/connections/default/records/contacts/{}", ids[0]);
    let one = stack.api().get(&path).await;
    for name in names {
        if name != "_object_id" {
            assert_eq!(one["properties"][name], "'; -- `\u{0}\n\\", "{name}");
        }
    }
    let sql = format!(
        "SELECT toString(_extra) FROM hubspot.contacts WHERE _object_id = {}",
        ids[1]
    );
    let extra = stack.sql_as_reader().query(&sql).await;
    for text in ["1e999", "2024-13-45", "soon", "maybe"] {
        assert!(extra.contains(text), "{text} in {extra}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_size_limit_of_the_dead_letters_does_not_stop_its_partition() {
    let stack = Stack::with(50, 5).start().await;
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    let servers = stack.servers();
    let letters = stack.topic("dead-letters");
    servers.limit_messages(&letters, 10_000).await;
    let records = stack.topic("records");
    let large = incompressible(100_000).into_bytes();
    let schema = servers.register(&format!("{records}-value"), SCHEMA).await;
    let (key, value) = record(&stack, schema, 8_000_001, "after a large one");
    // Both have one key and so one partition: the record comes after the large message.
    let messages = vec![(key.clone(), Some(large)), (key.clone(), Some(value))];
    servers.produce(&records, messages).await;
    let loaded = "SELECT count() FROM hubspot.contacts_all WHERE _object_id = 8000001";
    stack.sql().until(loaded, 1).await;
    // Rows can be seen shortly before the dead letters of their batch.
    let letter = eventually("the dead letter is listed", HANG_LIMIT, async || {
        let shown = stack.api().get("/v1/dead-letters").await;
        shown["results"].get(0).cloned()
    })
    .await;
    assert_eq!(letter["key"], key, "{letter}");
    assert_eq!(letter["reason"], "not_framed", "{letter}");
    let error = letter["error"].as_str().unwrap_or_default();
    assert!(error.contains("100000 bytes"), "{letter}");
}
