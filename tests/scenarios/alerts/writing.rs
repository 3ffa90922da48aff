//! The alerts of what the worker cannot write, and of what cannot be read where it was
//! written.

use harness::{
    HANG_LIMIT, Recording, Stack, api, api::stream, eventually, exposition, incompressible,
};
use schemas::{CrmRecord, PropertyMap};
use serde_json::json;

use super::{ask_for_run, assert_fire};
use crate::{definition_numbers::open_transaction, reconciliations};

/// Waits until a metric of the worker is as wanted; the sum over its labels.
async fn until_worker_has(stack: &Stack, metric: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    let url = format!("http://127.0.0.1:{}/metrics", stack.worker_ports[0]);
    eventually(metric, HANG_LIMIT, async || {
        let answer = api::client().get(&url).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let samples = exposition::samples(&text).filter(|(name, ..)| *name == metric);
        let values: Vec<_> = samples.map(|(.., value)| value).collect();
        let sum = values.iter().sum();
        (!values.is_empty() && wanted(sum)).then_some(sum)
    })
    .await
}

/// An object becomes larger than the topic of records takes, and a full pass finds that
/// ClickHouse lacks what it has become.
async fn lose_a_large_record(stack: &Stack) {
    let (servers, portal) = (stack.servers(), stack.simulator.portal());
    servers
        .limit_messages(&stack.topic("records"), 2_000_000)
        .await;
    let id = portal.ids("contacts")[0];
    let large = incompressible(4_000_000);
    portal
        .update("contacts", id, &[("jobtitle", &large)])
        .unwrap();
    stack.sync().await;
    let api = stack.api();
    reconciliations::request(&api, "contacts").await;
    let is_compared =
        |it: &serde_json::Value| stream(it, "contacts")["verdict"]["still_different"] == 1;
    api.until("they are compared", "default", HANG_LIMIT, is_compared)
        .await;
}

/// Writes a record with a schema that the registry has lost.
async fn write_with_a_lost_schema(stack: &Stack) {
    let properties = PropertyMap::from_iter([("jobtitle", "x")]);
    let portal_id = stack.simulator.portal().id().cast_signed();
    let record = CrmRecord {
        connection: "default",
        run_id: "written-by-a-test",
        reason: "backfill",
        ..CrmRecord::new(portal_id, "contacts", 9_000_000, &properties)
    };
    let message = (record.key(), Some(record.encode(u32::MAX / 2)));
    let servers = stack.servers();
    servers
        .produce(&stack.topic("records"), vec![message])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_for_what_kafka_does_not_take_and_for_what_cannot_be_read_there() {
    let mut stack = Stack::with(60, 20)
        // A page fills the queue, as after a minute of a backfill: then no more is read.
        .worker("PENDING_BYTES", "1")
        .start()
        .await;
    stack.first_sync(json!({"interval": "10s"})).await;
    stack.matches_truth("contacts").await;
    lose_a_large_record(&stack).await;
    let mut recording = Recording::default();
    recording.take(&stack, 2, async |_| ()).await;
    let soon = recording.alerts(&stack, 10).await;
    assert_fire(&soon, &["RecordsToDeadLetters"]);
    let late = recording.alerts(&stack, 185).await;
    assert_fire(&late, &["RecordsDiffer"]);

    write_with_a_lost_schema(&stack).await;
    for topic in ["records", "dead-letters"] {
        let servers = stack.servers();
        servers.limit_messages(&stack.topic(topic), 100).await;
    }
    let portal = stack.simulator.portal();
    let id = portal.ids("contacts")[1];
    portal.update("contacts", id, &[("city", "Oslo")]).unwrap();
    ask_for_run(&stack).await;
    let metric = "worker_transactions_aborted_total";
    let before = until_worker_has(&stack, metric, |_| true).await;
    until_worker_has(&stack, metric, |now| now > before + 5.0).await;
    let mut recording = Recording::default();
    recording.take(&stack, 24, async |_| ()).await;
    let fire = recording.alerts(&stack, 0).await;
    assert_fire(
        &fire,
        &[
            "SchemaMissing",
            "TransactionsAborted",
            "WorkerWritesNothing",
        ],
    );

    // Nothing can be read behind it, as where a partition has lost its only replica.
    let (bootstrap, topic) = (stack.servers().bootstrap(), stack.topic("checkpoints"));
    let open = tokio::task::spawn_blocking(move || open_transaction(&bootstrap, &topic, 2));
    let open = open.await.unwrap();
    stack.restart_worker(0, &[]);
    until_worker_has(&stack, "worker_partitions", |_| true).await;
    recording.take(&stack, 2, async |_| ()).await;
    let fire = recording.alerts(&stack, 8).await;
    assert_fire(&fire, &["PartitionsWithoutOwner"]);
    drop(open);
}
