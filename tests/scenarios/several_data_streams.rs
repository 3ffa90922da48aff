//! Two instances of data-streams: partitions move between them in the middle of
//! batches, and both answer alike.

use std::time::Duration;

use harness::{Api, Mode, Stack, eventually};
use hubspot_sim::Kind;
use serde_json::{Value, json};

use crate::changing_records::{self, ChangingRecords};

/// The group gives up a member that is silent for six seconds.
const SESSION: Duration = Duration::from_secs(20);

/// Both answer the same to the same question, once both have read all there is.
async fn until_both_answer_alike(a: &Api, b: &Api, path: &str) -> Value {
    eventually(path, Duration::from_secs(30), async || {
        let (a, b) = tokio::join!(a.send("GET", path, None), b.send("GET", path, None));
        (a.status == 200 && a.body == b.body).then_some(a.body)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_moved_in_mid_batch_lose_nothing_and_instances_answer_alike() {
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
    changing_records::assert_no_duplicates(&stack).await;

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
        until_both_answer_alike(&first, &last, path).await;
    }
}

/// A partition that is taken away while it is paused for back pressure is still
/// paused when it comes back, for all that the client says.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_revoked_while_paused_are_read_again_when_reassigned() {
    let mut stack = Stack::with(3_000, 20)
        .data_streams("BATCH_ROWS", "50")
        .links()
        .start()
        .await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    stack.links().data_streams_clickhouse.set(Mode::Stall);
    for round in 0..4 {
        records.change(&stack, &format!("held up {round}")).await;
        stack.sync().await;
    }
    // What does not fit in between has waited for a second: it is paused.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The other one reaches ClickHouse, and is gone before long.
    let clickhouse = format!("http://127.0.0.1:{}", stack.clickhouse.port);
    stack.add_data_streams_with(&[("CLICKHOUSE_URL", &clickhouse)]);
    until_assigned(&stack, 1, 1).await;
    let before = assignments(&stack, 0);
    stack.instances[1].process.kill();
    until_assigned(&stack, 0, before + 1).await;
    stack.instances.truncate(1);
    stack.links().data_streams_clickhouse.heal();
    records
        .change_during(&mut stack, "they are back", async |_: &mut Stack| {})
        .await;
    changing_records::assert_no_duplicates(&stack).await;
}

/// How often an instance was given partitions so far.
fn assignments(stack: &Stack, place: usize) -> usize {
    let log = stack.instances[place].process.output();
    log.matches("ingest::poll::poller: assigned").count()
}

async fn until_assigned(stack: &Stack, place: usize, times: usize) {
    eventually("partitions are assigned", SESSION, async || {
        (assignments(stack, place) >= times).then_some(())
    })
    .await;
}

/// Waits until so many pages of a list were read.
async fn pages(stack: &Stack, count: u64) {
    eventually("pages are read", Duration::from_mins(1), async || {
        (stack.simulator.requests().count(Kind::List) >= count).then_some(())
    })
    .await;
}
