//! Several workers in one group: only the owner of a connection fetches it, even
//! when workers are paused, killed or added.

use std::time::Duration;

use harness::{HANG_LIMIT, Stack, Timeline, eventually, process::SHUTDOWN_LIMIT, truth};
use rand::RngExt as _;
use serde_json::json;

/// How long a connection may be without an owner while Kafka answers: a promise
/// of the product.
const WITHOUT_OWNER: Duration = Duration::from_secs(15);
/// The group reassigns the partitions of a member that is silent for this time.
const SESSION: Duration = Duration::from_secs(6);
/// Kafka aborts a transaction that is open for this time.
const TRANSACTION: Duration = Duration::from_secs(15);

/// Waits for that many more requests, none of which may take longer than `pause`
/// to follow the one before it.
async fn until_more_requests(stack: &Stack, more: u64, pause: Duration) {
    let total = || stack.simulator.requests().counts().total;
    let wanted = total() + more;
    while total() < wanted {
        let before = total();
        eventually("a request follows", pause, async || {
            (total() > before).then_some(())
        })
        .await;
    }
}

async fn assert_everything_arrives(stack: &Stack) {
    stack.simulator.set_latency(Duration::ZERO);
    stack.first_sync(json!({})).await;
    let log = stack.log().await;
    log.assert_exactly_once();
    truth::log_matches(stack, &log, "contacts");
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_join_leave_or_are_killed_lose_and_duplicate_nothing() {
    let mut stack = Stack::with(9_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(250));
    stack.api().start("default", json!({})).await;
    until_more_requests(&stack, 5, HANG_LIMIT).await;
    stack.add_worker();
    until_more_requests(&stack, 8, WITHOUT_OWNER).await;
    stack.add_worker();
    until_more_requests(&stack, 8, WITHOUT_OWNER).await;
    for worker in &mut stack.workers[..2] {
        worker.kill();
    }
    until_more_requests(&stack, 8, WITHOUT_OWNER).await;
    stack.restart_worker(0, &[]);
    until_more_requests(&stack, 8, WITHOUT_OWNER).await;
    stack.workers[2].terminate(SHUTDOWN_LIMIT);
    until_more_requests(&stack, 8, WITHOUT_OWNER).await;
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_resumed_after_losing_its_partitions_requests_and_writes_nothing() {
    let mut stack = Stack::with(6_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(200));
    let api = stack.api();
    api.start("default", json!({})).await;
    until_more_requests(&stack, 10, HANG_LIMIT).await;
    // The owner is paused while it holds pages that are not committed.
    stack.first_worker().signal("STOP");
    stack.add_worker();
    until_more_requests(&stack, 10, WITHOUT_OWNER + SESSION).await;
    api.stop("default").await;
    let stopped = stack.after_requests_sent().await;
    let written = stack.log().await.records.len();
    stack.first_worker().signal("CONT");
    // It is fenced, releases its partitions, and joins the group again.
    let paused = &stack.workers[0];
    eventually(
        "the paused worker is a member again",
        HANG_LIMIT,
        async || {
            let log = paused.output();
            (log.matches("partitions assigned").count() > 1).then_some(())
        },
    )
    .await;
    let asked = stack.simulator.requests().since(stopped);
    assert!(asked.is_empty(), "after the answer to a stop: {asked:?}");
    let log = stack.log().await;
    assert_eq!(
        log.records.len(),
        written,
        "no page of the paused worker is visible"
    );
    log.assert_exactly_once();
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_paused_beyond_the_transaction_timeout_recovers() {
    let mut stack = Stack::with(4_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(150));
    stack.api().start("default", json!({})).await;
    until_more_requests(&stack, 10, HANG_LIMIT).await;
    stack.first_worker().signal("STOP");
    let paused = TRANSACTION + Duration::from_secs(3);
    // The pause is the fault.
    tokio::time::sleep(paused).await;
    stack.first_worker().signal("CONT");
    until_more_requests(&stack, 5, WITHOUT_OWNER).await;
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_starts_after_a_stop_at_a_random_moment() {
    let timeline = Timeline::new(8);
    let _printed = timeline.guard();
    let stack = Stack::with(5_000, 200).start().await;
    stack.simulator.set_latency(Duration::from_millis(30));
    let mut choices = timeline.choices("stops");
    let api = stack.api();
    for _ in 0..12 {
        api.start("default", json!({})).await;
        let wait = choices.random_range(0..700);
        // The stop comes at a random moment.
        tokio::time::sleep(Duration::from_millis(wait)).await;
        timeline.note(format!("stop {wait} ms after the start"));
        api.stop("default").await;
        let stopped = stack.after_requests_sent().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        let asked = stack.simulator.requests().since(stopped);
        assert!(asked.is_empty(), "after the answer to a stop: {asked:?}");
    }
    assert_everything_arrives(&stack).await;
}
