//! Two instances of data-streams: partitions move between them in the middle of
//! batches, and both answer alike.

use std::time::Duration;

use harness::{Api, Stack, eventually};
use hubspot_sim::Kind;
use serde_json::{Value, json};

use crate::load;

/// Both answer the same to the same question, once both have read all there is.
async fn answer_alike(a: &Api, b: &Api, path: &str) -> Value {
    eventually(path, Duration::from_secs(30), async || {
        let (a, b) = tokio::join!(a.send("GET", path, None), b.send("GET", path, None));
        (a.status == 200 && a.body == b.body).then_some(a.body)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_in_the_middle_of_batches_and_both_answer_alike() {
    let mut stack = Stack::with(6_000, 60)
        // Many small batches, so that each move finds one under way.
        .data_streams("BATCH_ROWS", "50")
        .start()
        .await;
    stack.simulator.set_latency(Duration::from_millis(150));
    stack.api().start("default", json!({})).await;
    pages(&stack, 8).await;
    // One joins, one stands still past its session, wakes, and one is killed.
    stack.add_data_streams();
    stack.api().ready().await;
    pages(&stack, 16).await;
    stack.instances[0].process.signal("STOP");
    tokio::time::sleep(Duration::from_secs(8)).await;
    stack.instances[0].process.signal("CONT");
    stack.simulator.set_latency(Duration::ZERO);
    stack.add_data_streams();
    stack.api().ready().await;
    stack.instances[1].process.kill();
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    load::nothing_is_doubled(&stack).await;

    let (first, last) = (
        Api::new(stack.instances[0].port),
        Api::new(stack.instances[2].port),
    );
    for path in [
        "/v1/connections",
        "/v1/connections/default",
        "/v1/dead-letters",
        "/v1/connections/default/records/contacts?limit=100",
        "/v1/connections/default/records/companies?limit=1000&archived=any",
    ] {
        answer_alike(&first, &last, path).await;
    }
}

/// Waits until so many pages of a list were read.
async fn pages(stack: &Stack, count: u64) {
    eventually("pages are read", Duration::from_mins(1), async || {
        (stack.simulator.requests().count(Kind::List) >= count).then_some(())
    })
    .await;
}
