//! HubSpot cannot give some object, or large pages: all others arrive, it is named, and it
//! arrives once it can be had.

use harness::{HANG_LIMIT, Stack, eventually, log};
use hubspot_sim::{Fault, FaultBody, Kind, Rule};
use schemas::{RunStatus, Status, codec, unframe};
use serde_json::json;

/// HubSpot fails on every page and read of contacts that has this one or is too large.
fn fail_on(stack: &Stack, id: u64, above: usize) {
    let unreadable = Fault::FailingObjects {
        ids: vec![id],
        code: 500,
        body: FaultBody::Json,
    };
    let faults = stack.simulator.faults();
    for fault in [unreadable, Fault::PageTimeout { above }] {
        for kind in [Kind::List, Kind::ListArchived, Kind::BatchRead] {
            faults.push(Rule::next(kind, fault.clone()).of("contacts").always());
        }
    }
}

/// The run of contacts that succeeded last, by its status in the log.
async fn last_succeeded(stack: &Stack, reason: &str) -> RunStatus {
    eventually("a run succeeds", HANG_LIMIT, async || {
        let messages = log::read_topic(stack.servers(), &stack.topic("status")).await;
        let statuses = messages.iter().rev().filter_map(|message| {
            let framed = unframe(message.value.as_ref()?).unwrap();
            let status: Status = codec::decode(schemas::status::SCHEMA, framed.datum).unwrap();
            status.stream.filter(|it| it.name == "contacts")
        });
        let mut runs = statuses.flat_map(|it| it.runs);
        runs.find(|it| it.reason == reason && it.outcome.as_deref() == Some("succeeded"))
    })
    .await
}

async fn contacts(stack: &Stack, condition: &str) -> usize {
    let sql = format!("SELECT count() FROM hubspot.contacts_all WHERE {condition}");
    let count = stack.sql().try_query(&sql).await;
    count.map_or(0, |count| count.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_on_without_an_unreadable_object_and_the_next_pass_reads_it() {
    let stack = Stack::with(600, 20).start().await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let all = ids.len() + portal.archived_ids("contacts").len();
    let unreadable = ids[250];
    fail_on(&stack, unreadable, 20);
    let api = stack.api();
    api.start("default", json!({"interval": "10s"})).await;
    let run = last_succeeded(&stack, "backfill").await;
    assert_eq!(run.unreadable, 1);
    assert_eq!(run.unreadable_ids, [unreadable.cast_signed()]);
    eventually("all others are stored", HANG_LIMIT, async || {
        (contacts(&stack, "1").await == all - 1).then_some(())
    })
    .await;
    let condition = format!("_object_id = {unreadable}");
    assert_eq!(contacts(&stack, &condition).await, 0);

    stack.simulator.faults().clear();
    stack.request(json!({"kind": "resync"})).await;
    assert_eq!(last_succeeded(&stack, "full").await.unreadable, 0);
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_becomes_unreadable_is_not_deleted_and_other_changes_arrive() {
    let stack = Stack::with(300, 20).start().await;
    stack.first_sync(json!({"interval": "10s"})).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    fail_on(&stack, ids[100], 20);
    portal
        .bulk("contacts", &ids, &[("jobtitle", "engineer")])
        .unwrap();
    eventually("all other changes are stored", HANG_LIMIT, async || {
        let changed = contacts(&stack, "jobtitle = 'engineer'").await;
        (changed == ids.len() - 1).then_some(())
    })
    .await;
    let run = last_succeeded(&stack, "incremental").await;
    stack.request(json!({"kind": "resync"})).await;
    let full = last_succeeded(&stack, "full").await;
    for named in [run.unreadable_ids, full.unreadable_ids] {
        assert!(named.is_empty() || named == [ids[100].cast_signed()]);
    }
    assert_eq!(full.unreadable, 1);
    let deleted = stack
        .log()
        .await
        .records
        .into_iter()
        .filter(|it| it.deleted);
    assert_eq!(deleted.count(), 0);

    stack.simulator.faults().clear();
    stack.request(json!({"kind": "resync"})).await;
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}
