//! Several workers on one group: whoever owns a connection fetches it, and
//! nobody else does, whatever happens to the others.

use std::time::{Duration, Instant};

use harness::{Stack, Timeline, eventually, stack::SYNC_LIMIT, truth};
use rand::RngExt as _;
use serde_json::json;

/// How long a connection may be without an owner while Kafka answers.
const WITHOUT_OWNER: Duration = Duration::from_secs(15);
/// After that long without a word the group gives partitions to others.
const SESSION: Duration = Duration::from_secs(6);
/// Within it, Kafka gives a transaction up.
const TRANSACTION: Duration = Duration::from_secs(15);

/// Waits until so many requests more have come.
async fn until_more_requests(stack: &Stack, more: u64, limit: Duration) {
    let wanted = stack.simulator.requests().counts().total + more;
    eventually("requests come", limit, async || {
        (stack.simulator.requests().counts().total >= wanted).then_some(())
    })
    .await;
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
    until_more_requests(&stack, 5, SYNC_LIMIT).await;
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
    stack.workers[2].terminate(Duration::from_secs(10));
    until_more_requests(&stack, 8, WITHOUT_OWNER).await;
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_resumed_after_losing_its_partitions_requests_and_writes_nothing() {
    let mut stack = Stack::with(6_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(200));
    let api = stack.api();
    api.start("default", json!({})).await;
    until_more_requests(&stack, 10, SYNC_LIMIT).await;
    // The owner is paused in the middle of everything, with pages in its hands.
    stack.first_worker().signal("STOP");
    stack.add_worker();
    until_more_requests(&stack, 10, WITHOUT_OWNER + SESSION).await;
    api.stop("default").await;
    let stopped = Instant::now();
    let written = stack.log().await.records.len();
    stack.first_worker().signal("CONT");
    // It is fenced, lets go, and becomes a member again.
    let zombie = &stack.workers[0];
    eventually("the zombie is a member again", SYNC_LIMIT, async || {
        let log = zombie.output();
        (log.matches("partitions assigned").count() > 1).then_some(())
    })
    .await;
    let asked = stack.simulator.requests().since(stopped);
    assert!(asked.is_empty(), "after the answer to a stop: {asked:?}");
    let log = stack.log().await;
    assert_eq!(
        log.records.len(),
        written,
        "what the zombie held is not visible"
    );
    log.assert_exactly_once();
    assert_everything_arrives(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_paused_beyond_the_transaction_timeout_recovers() {
    let mut stack = Stack::with(4_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(150));
    stack.api().start("default", json!({})).await;
    until_more_requests(&stack, 10, SYNC_LIMIT).await;
    stack.first_worker().signal("STOP");
    let stalled = TRANSACTION + Duration::from_secs(3);
    // The time itself is the fault.
    tokio::time::sleep(stalled).await;
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
        // The moment of the stop is what is random here.
        tokio::time::sleep(Duration::from_millis(wait)).await;
        timeline.note(format!("stop {wait} ms after the start"));
        api.stop("default").await;
        let stopped = Instant::now();
        tokio::time::sleep(Duration::from_millis(150)).await;
        let asked = stack.simulator.requests().since(stopped);
        assert!(asked.is_empty(), "after the answer to a stop: {asked:?}");
    }
    assert_everything_arrives(&stack).await;
}
