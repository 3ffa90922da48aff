//! The numbers of a portal's definitions only grow, and the definitions keep every
//! property ever seen, whichever connection and worker write them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use harness::{HANG_LIMIT, Process, Stack, eventually, log::read_topic};
use hubspot_sim::Definition;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use schemas::{
    CrmRecord, Definitions, codec, definitions::definitions_key, partition_for, unframe,
};
use serde_json::json;

/// A connection's name whose commands are in this partition, of two.
fn name_in(partition: i32) -> String {
    (0..100)
        .map(|number| format!("owner_{number}"))
        .find(|it| partition_for(it.as_bytes(), 2) == partition)
        .unwrap()
}

/// Starts a connection and waits until it has read all contacts.
async fn start(stack: &Stack, name: &str) {
    let api = stack.api();
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    api.start(name, settings).await;
    until_read(stack, name).await;
}

async fn until_read(stack: &Stack, name: &str) {
    let is_read = |it: &serde_json::Value| !it["streams"][0]["last_success"].is_null();
    stack
        .api()
        .until("contacts are read", name, HANG_LIMIT, is_read)
        .await;
}

async fn delete(stack: &Stack, name: &str) {
    let (api, path) = (stack.api(), format!("/v1/connections/{name}"));
    api.send("DELETE", &path, None).await;
    eventually("the connection is deleted", HANG_LIMIT, async || {
        (api.send("GET", &path, None).await.status == 404).then_some(())
    })
    .await;
}

fn define(stack: &Stack, name: &str) {
    let portal = stack.simulator.portal();
    let definition = Definition::new(name, "string", "text");
    portal.define_property("contacts", definition).unwrap();
}

async fn sync(stack: &Stack, name: &str) {
    stack.request_of(name, json!({}), HANG_LIMIT).await;
}

/// The definitions of contacts, in the order of the log. No property ever goes.
async fn definitions(stack: &Stack) -> Vec<Definitions> {
    let key = definitions_key(stack.simulator.portal().id().cast_signed(), "contacts");
    let messages = read_topic(stack.servers(), &stack.topic("definitions")).await;
    let all: Vec<Definitions> = messages
        .into_iter()
        .filter(|it| it.key == key)
        .map(|it| {
            let value = it.value.unwrap();
            let datum = unframe(&value).unwrap().datum;
            codec::decode(schemas::definitions::SCHEMA, datum).unwrap()
        })
        .collect();
    for (before, after) in all.iter().zip(all.iter().skip(1)) {
        for property in &before.properties {
            let is_kept = after.properties.iter().any(|it| it.name == property.name);
            assert!(is_kept, "{} is lost in {after:?}", property.name);
        }
    }
    all
}

async fn assert_numbers(stack: &Stack, expected: &[i64]) {
    let numbers: Vec<_> = definitions(stack)
        .await
        .iter()
        .map(|it| it.version)
        .collect();
    assert_eq!(numbers, expected);
}

/// The numbers of definitions that records name.
async fn numbers_in_records(stack: &Stack) -> Vec<i64> {
    let messages = read_topic(stack.servers(), &stack.topic("records")).await;
    let number = |value: &[u8]| {
        let datum = unframe(value).unwrap().datum;
        CrmRecord::decode(datum).unwrap().definitions_version
    };
    let values = messages.iter().filter_map(|it| it.value.as_deref());
    values.map(number).collect()
}

async fn until_each_owns_a_partition(stack: &Stack) {
    let owns_one = |it: &Process| {
        let output = it.output();
        let last = output
            .lines()
            .rfind(|line| line.contains("partitions taken over"));
        last.is_some_and(|line| line.contains("partitions=1"))
    };
    eventually("each worker owns a partition", HANG_LIMIT, async || {
        stack.workers.iter().all(owns_one).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_grow_when_a_connection_is_made_again_its_portal_moves_and_a_worker_dies() {
    let mut stack = Stack::with(30, 1).start().await;
    stack.add_worker();
    until_each_owns_a_partition(&stack).await;
    let (first, second) = (name_in(0), name_in(1));
    start(&stack, &first).await;
    define(&stack, "second");
    sync(&stack, &first).await;
    assert_numbers(&stack, &[1, 2]).await;

    // Made again: no checkpoint says that the portal has definitions.
    delete(&stack, &first).await;
    start(&stack, &first).await;
    assert_numbers(&stack, &[1, 2]).await;
    let named = numbers_in_records(&stack).await;
    assert!(named.iter().all(|it| (1..=2).contains(it)), "{named:?}");
    define(&stack, "third");
    sync(&stack, &first).await;
    assert_numbers(&stack, &[1, 2, 3]).await;

    // Another connection on another worker, whose partition was taken over before.
    delete(&stack, &first).await;
    define(&stack, "fourth");
    start(&stack, &second).await;
    assert_numbers(&stack, &[1, 2, 3, 4]).await;

    // And back, which the first worker has not read either.
    delete(&stack, &second).await;
    start(&stack, &first).await;
    assert_numbers(&stack, &[1, 2, 3, 4]).await;

    for index in 0..2 {
        define(&stack, &format!("fifth_{index}"));
        stack.restart_worker(index, &[]);
        sync(&stack, &first).await;
    }
    assert_numbers(&stack, &[1, 2, 3, 4, 5, 6]).await;
    stack.log().await.assert_exactly_once();
}

/// Opens a transaction with one message in each of the first partitions of a topic. Blocks.
pub(crate) fn open_transaction(bootstrap: &str, topic: &str, partitions: i32) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", format!("{topic}.open"))
        .create()
        .unwrap();
    producer.init_transactions(HANG_LIMIT).unwrap();
    producer.begin_transaction().unwrap();
    for partition in 0..partitions {
        let record = BaseRecord::to(topic)
            .partition(partition)
            .key("open")
            .payload("aborted later");
        producer.send(record).unwrap();
    }
    producer.flush(HANG_LIMIT).unwrap();
    producer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_of_another_writer_hides_no_number() {
    let stack = Stack::with(30, 1).start().await;
    start(&stack, "default").await;
    let (bootstrap, topic) = (stack.servers().bootstrap(), stack.topic("definitions"));
    let open = tokio::task::spawn_blocking(move || open_transaction(&bootstrap, &topic, 4))
        .await
        .unwrap();
    // Committed behind the open transaction.
    define(&stack, "second");
    sync(&stack, "default").await;
    delete(&stack, "default").await;
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    stack.api().start("default", settings).await;
    let waits = |it: &serde_json::Value| it["observed"]["state"] == "starting";
    stack
        .api()
        .until("the worker waits", "default", HANG_LIMIT, waits)
        .await;
    // Long enough for a worker that does not wait to be done.
    let is_running = async || {
        let connection = stack.api().connection("default").await;
        (connection["observed"]["state"] == "running").then_some(())
    };
    let early = tokio::time::timeout(
        Duration::from_secs(1),
        eventually("", HANG_LIMIT, is_running),
    );
    assert!(early.await.is_err(), "it has not waited");
    tokio::task::spawn_blocking(move || open.abort_transaction(HANG_LIMIT))
        .await
        .unwrap()
        .unwrap();
    until_read(&stack, "default").await;
    assert_numbers(&stack, &[1, 2]).await;
    define(&stack, "third");
    sync(&stack, "default").await;
    assert_numbers(&stack, &[1, 2, 3]).await;
}
