//! data-streams is killed at each of its crash points: nothing is lost or
//! duplicated.

use harness::{HANG_LIMIT, Stack, eventually, process::SHUTDOWN_LIMIT};
use hubspot_sim::Definition;
use serde_json::{Value, json};

use crate::changing_records::{self, ChangingRecords};

/// Replaces the running instances by one that is killed at a crash point.
fn start_with_crash_point(stack: &mut Stack, point: &str) {
    for instance in &mut stack.instances {
        if instance.process.is_running() {
            instance.process.terminate(SHUTDOWN_LIMIT);
        }
    }
    stack.add_data_streams_with(&[("DATA_STREAMS_CRASH_AT", point)]);
}

fn assert_crashed_at(stack: &mut Stack, point: &str) {
    let last = stack.instances.last_mut().expect("an instance");
    let output = last.process.until_failed(HANG_LIMIT);
    let name = point.split(':').next().unwrap_or_default();
    assert!(
        output.contains("crash point reached") && output.contains(name),
        "it ended for another reason than {name}:\n{output}"
    );
}

/// Requests a run from an instance that may be killed before it answers.
async fn request_run(stack: &Stack) {
    let path = "/v1/connections/default/sync";
    let answer = stack.api().try_send("POST", path, Some(json!({}))).await;
    assert!(answer.is_err() || answer.is_ok_and(|it| it.status < 300));
}

async fn start_again(stack: &mut Stack) {
    stack.add_data_streams();
    stack.api().ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_migration_is_finished_by_the_next_start() {
    let mut stack = Stack::with(300, 10).without_services().start().await;
    stack.add_worker();
    for point in ["in-migration:2", "in-migration:1", "in-alter:1"] {
        start_with_crash_point(&mut stack, point);
        if point.starts_with("in-alter") {
            stack.api().ready().await;
            stack.api().start("default", json!({})).await;
        }
        assert_crashed_at(&mut stack, point);
    }
    start_again(&mut stack).await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    let twice = "SELECT count() - uniqExact(version) FROM _hubspot_streams.migrations FINAL";
    assert_eq!(stack.sql().number(twice).await, 0);
    let ids = "SELECT count() FROM _hubspot_streams.warehouse";
    assert_eq!(stack.sql().number(ids).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_streams_killed_at_any_step_of_a_batch_loses_and_duplicates_nothing() {
    let mut stack = Stack::with(1_000, 20).start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    for point in [
        "before-insert",
        "after-insert:1",
        "before-commit",
        "after-commit",
    ] {
        start_with_crash_point(&mut stack, point);
        stack.api().ready().await;
        records.change(&stack, point).await;
        request_run(&stack).await;
        assert_crashed_at(&mut stack, point);
        start_again(&mut stack).await;
        // Stored by this instance, so that the next one, which is to be killed,
        // has nothing to do until records change.
        records.change(&stack, "after the restart").await;
        changing_records::complete_a_run(&stack).await;
        stack.matches_truth("contacts").await;
    }
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_added_just_before_a_crash_are_visible_after_the_next_start() {
    let mut stack = Stack::with(200, 10).start().await;
    stack.first_sync(json!({})).await;
    start_with_crash_point(&mut stack, "in-alter");
    stack.api().ready().await;
    let portal = stack.simulator.portal();
    portal
        .define_property("contacts", Definition::new("shoe_size", "number", "number"))
        .unwrap();
    let ids = portal.ids("contacts");
    portal
        .bulk("contacts", &ids, &[("shoe_size", "43")])
        .unwrap();
    stack.search_shows_changes().await;
    request_run(&stack).await;
    assert_crashed_at(&mut stack, "in-alter");
    start_again(&mut stack).await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    let sized = "SELECT countIf(shoe_size = 43) FROM hubspot.contacts";
    let sized = stack.sql_as_reader().number(sized).await;
    assert_eq!(usize::try_from(sized).unwrap(), ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_while_exchanging_tables_is_restarted_by_the_next_start() {
    let mut stack = Stack::with(400, 40).start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    start_with_crash_point(&mut stack, "in-exchange");
    stack.api().ready().await;
    let answer = stack
        .api()
        .send("POST", "/v1/warehouse/rebuild", None)
        .await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_crashed_at(&mut stack, "in-exchange");
    let requests = stack.simulator.requests().counts().total;
    start_again(&mut stack).await;
    until_rebuilt(&stack).await;
    assert_eq!(stack.simulator.requests().counts().total, requests);
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    records.change(&stack, "after the rebuild").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    changing_records::assert_no_duplicates(&stack).await;
}

async fn until_rebuilt(stack: &Stack) {
    let api = stack.api();
    let last: Value = eventually("the rebuild has ended", HANG_LIMIT, async || {
        let answer = api.send("GET", "/v1/warehouse/rebuild", None).await;
        (answer.status == 200 && !answer.body["ended_at"].is_null()).then_some(answer.body)
    })
    .await;
    assert_eq!(last["state"], "done", "{last}");
}
