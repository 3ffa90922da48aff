//! The worker's index under faults: the worker is killed at each of its points, its
//! topic is lost, a connection is made again.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use harness::{
    HANG_LIMIT, LostAnswer, Mode, Request, Stack, StackBuilder, api::stream, eventually, log,
    process::SHUTDOWN_LIMIT, replica, truth,
};
use serde_json::json;

use crate::changing_records;

/// Kafka's number of the request that ends a transaction.
const END_TRANSACTION: i16 = 26;

/// A stack whose passes follow each other closely.
fn with_passes(contacts: u32) -> StackBuilder {
    Stack::with(contacts, 20)
        .worker("LATE_INTERVAL", "2s")
        .worker("ARCHIVED_INTERVAL", "2s")
        .worker("FULL_INTERVAL", "5s")
}

/// Waits until passes write nothing more, and compares the log with its copies.
async fn assert_at_rest(stack: &Stack) {
    let api = stack.api();
    // What the first ones do not find has been read by its id before the second end.
    for _ in 0..2 {
        replica::passes_end(&api, "default", &["contacts"], HANG_LIMIT).await;
    }
    let before = stack.log().await;
    replica::passes_end(&api, "default", &["contacts"], HANG_LIMIT).await;
    let log = stack.log().await;
    let mut violations = replica::written_at_rest(&before, &log);
    log.assert_exactly_once();
    truth::log_matches(stack, &log, "contacts");
    stack.matches_truth("contacts").await;
    let portal = stack.simulator.portal();
    let of = (portal.id(), "contacts");
    let truth = truth::truth(&portal, "contacts");
    violations.extend(replica::deleted_alive(&log, of, &truth, |_| false));
    violations.extend(replica::last_differences(stack, "hubspot", of, &log, HANG_LIMIT).await);
    harness::check::assert_no_violations(&violations);
}

/// Starts the worker so that it is killed at a point.
fn restart_to_be_killed(stack: &mut Stack, point: &str) {
    stack.restart_worker(0, &[("WORKER_CRASH_AT", point)]);
}

async fn until_killed(stack: &mut Stack, point: &str) {
    let why = format!("it should be killed at {point}; was it built with fault-injection?");
    stack.first_worker().until_ended(HANG_LIMIT, &why).await;
    stack.restart_worker(0, &[]);
}

/// Changes contacts of one pack, some at a time, until the pack is written again.
async fn change_until_killed(stack: &mut Stack, point: &str) {
    let ids = stack.simulator.portal().ids("contacts");
    for (round, ids) in ids.chunks(12).take(6).enumerate() {
        let title = format!("round {round}");
        let portal = stack.simulator.portal();
        portal
            .bulk("contacts", ids, &[("jobtitle", &title)])
            .unwrap();
        stack.search_shows_changes().await;
        let id = changing_records::request_run(stack, "contacts").await;
        loop {
            if !stack.first_worker().is_running() {
                return until_killed(stack, point).await;
            }
            let connection = stack.api().connection("default").await;
            if stream(&connection, "contacts")["request_done"] == id {
                break;
            }
            // The end of a process and the state of another have no common event.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    panic!("no pack was written again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_point_of_its_index_knows_what_it_has_written() {
    let mut stack = with_passes(1_500).links().start().await;
    stack.first_sync(json!({"interval": "10s"})).await;

    restart_to_be_killed(&mut stack, "before-tombstone:1");
    change_until_killed(&mut stack, "before-tombstone:1").await;

    // Between the two reads that prove a deletion.
    restart_to_be_killed(&mut stack, "before-confirm:2");
    let portal = stack.simulator.portal();
    let gone: HashSet<u64> = portal
        .ids("contacts")
        .into_iter()
        .skip(90)
        .take(5)
        .collect();
    for id in &gone {
        portal.erase("contacts", *id).unwrap();
    }
    until_killed(&mut stack, "before-confirm:2").await;
    stack.matches_truth("contacts").await;

    restart_to_be_killed(&mut stack, "in-restore:3");
    until_killed(&mut stack, "in-restore:3").await;

    // A commit whose answer is lost, after which nothing arrives, while all is written
    // again.
    restart_to_be_killed(&mut stack, "unknown-commit:1");
    let resync = json!({"kind": "resync", "streams": ["contacts"]});
    let asked = stack.simulator.requests().counts().total;
    stack.simulator.set_latency(Duration::from_millis(200));
    let path = "/v1/connections/default/sync";
    stack.api().send("POST", path, Some(resync)).await;
    eventually("the pass has begun", HANG_LIMIT, async || {
        (stack.simulator.requests().counts().total > asked + 6).then_some(())
    })
    .await;
    let link = &stack.links().worker_kafka;
    let lost = link.answers_lost();
    link.lose(LostAnswer::to(Request::Kafka(END_TRANSACTION)).after(2));
    link.until_answers_lost(lost + 1, HANG_LIMIT).await;
    link.set(Mode::Stall);
    let why = "a commit has no answer";
    stack.first_worker().until_ended(HANG_LIMIT, why).await;
    stack.links().heal_all();
    stack.simulator.set_latency(Duration::ZERO);
    stack.restart_worker(0, &[]);

    assert_at_rest(&stack).await;
    let log = stack.log().await;
    let deleted = log.records.iter().filter(|it| it.deleted);
    let deleted: Vec<u64> = deleted.map(|it| it.object_id.unsigned_abs()).collect();
    assert_eq!(deleted.len(), gone.len(), "each once: {deleted:?}");
    assert!(deleted.iter().all(|id| gone.contains(id)));
}

/// Deletes the default connection, and waits until its worker has forgotten it.
async fn delete(stack: &Stack) {
    let path = "/v1/connections/default";
    stack.api().send("DELETE", path, None).await;
    let topic = stack.topic("checkpoints");
    eventually("the checkpoints are gone", HANG_LIMIT, async || {
        let mut last = HashMap::new();
        for message in log::read_topic(stack.servers(), &topic).await {
            last.insert(message.key, message.value.is_none());
        }
        last.values().all(|is_gone| *is_gone).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_made_again_knows_what_the_log_has() {
    let mut stack = with_passes(600).start().await;
    let settings = json!({"interval": "10s"});
    stack.first_sync(settings.clone()).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    portal.erase("contacts", ids[3]).unwrap();
    stack.matches_truth("contacts").await;

    // What the former connection has not seen to go is found by the next one, whose
    // worker is killed while it fills its index from the log.
    delete(&stack).await;
    portal.erase("contacts", ids[5]).unwrap();
    restart_to_be_killed(&mut stack, "in-seed:1");
    stack.api().start("default", settings.clone()).await;
    until_killed(&mut stack, "in-seed:1").await;
    assert_at_rest(&stack).await;

    // At once: the worker may see both commands or the last one only.
    let path = "/v1/connections/default";
    stack.api().send("DELETE", path, None).await;
    portal.erase("contacts", ids[7]).unwrap();
    stack.api().start("default", settings).await;
    assert_at_rest(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_whose_topic_is_made_anew_still_finds_what_is_gone() {
    let mut stack = with_passes(600).start().await;
    stack.first_sync(json!({"interval": "10s"})).await;
    stack.first_worker().terminate(SHUTDOWN_LIMIT);
    let topic = stack.topic("index");
    stack.servers().delete(&[topic.as_str()]).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    portal.erase("contacts", ids[3]).unwrap();
    portal.archive("contacts", ids[4]).unwrap();
    stack.restart_worker(0, &[]);
    assert_at_rest(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_made_anew_gets_all_objects() {
    let mut stack = with_passes(600).start().await;
    stack.first_sync(json!({"interval": "10s"})).await;
    stack.first_worker().terminate(SHUTDOWN_LIMIT);
    stack.instances[0].process.terminate(SHUTDOWN_LIMIT);
    let topic = stack.topic("records");
    stack.servers().delete(&[topic.as_str()]).await;
    stack.restart_worker(0, &[]);
    stack.restart_data_streams(0);
    let portal = stack.simulator.portal();
    eventually("the log has all objects", HANG_LIMIT, async || {
        let log = stack.log().await;
        let found = harness::check::compacted(&log, portal.id(), "contacts");
        let truth = truth::truth(&portal, "contacts");
        harness::check::same(&found, &truth, "contacts")
            .is_empty()
            .then_some(())
    })
    .await;
    stack.matches_truth("contacts").await;
}
