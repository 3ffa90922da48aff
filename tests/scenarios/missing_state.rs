//! Starts against a world that is half there: ClickHouse emptied, the registry
//! empty, topics gone.

use std::time::Duration;

use harness::{Stack, eventually, servers::wait_for};
use serde_json::{Value, json};

use crate::changing_records::{self, ChangingRecords};

const LIMIT: Duration = Duration::from_mins(1);

/// ClickHouse comes back with nothing in it.
fn empty_clickhouse(stack: &mut Stack) {
    stack.clickhouse.kill();
    std::fs::remove_dir_all(stack.folder().join("clickhouse/store")).expect("it had data");
    stack.clickhouse.restart();
    tokio::task::block_in_place(|| wait_for(&mut stack.clickhouse));
}

async fn until_a_rebuild_is_advised(stack: &Stack) {
    let api = stack.api();
    eventually("data-streams names the remedy", LIMIT, async || {
        let answer = api.try_send("GET", "/health/ready", None).await.ok()?;
        let said = answer.body.to_string().contains("/v1/warehouse/rebuild");
        (answer.status == 503 && said).then_some(())
    })
    .await;
}

async fn rebuild(stack: &Stack) -> Value {
    let api = stack.api();
    let answer = api.send("POST", "/v1/warehouse/rebuild", None).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let path = answer.body["status"].as_str().expect("a link").to_owned();
    let last = eventually("the rebuild has ended", LIMIT, async || {
        let state = api.get(&path).await;
        (!state["ended_at"].is_null()).then_some(state)
    })
    .await;
    assert_eq!(last["state"], "done", "{last}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_clickhouse_is_detected_and_rebuilt_without_requests_to_hubspot() {
    let mut stack = Stack::with(800, 40).start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    stack.matches_truth("contacts").await;
    let before = stack.simulator.requests().counts().total;

    // At the start, with offsets committed.
    stack.instances[0]
        .process
        .terminate(Duration::from_secs(10));
    empty_clickhouse(&mut stack);
    stack.add_data_streams();
    until_a_rebuild_is_advised(&stack).await;
    rebuild(&stack).await;
    stack.api().ready().await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    assert_eq!(stack.simulator.requests().counts().total, before);

    // While it runs: what comes then waits, and comes after the rebuild.
    empty_clickhouse(&mut stack);
    records.change(&stack, "while it is empty").await;
    changing_records::request_run(&stack, "contacts").await;
    until_a_rebuild_is_advised(&stack).await;
    rebuild(&stack).await;
    stack.api().ready().await;
    records.change(&stack, "after it was refilled").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_registry_and_deleted_topics_are_recreated_at_the_next_start() {
    let mut stack = Stack::with(300, 20).own_registry().start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    stack.instances[0]
        .process
        .terminate(Duration::from_secs(10));
    stack.workers[0].terminate(Duration::from_secs(10));
    let topics = [stack.topic("dead-letters"), stack.topic("status")];
    stack
        .servers()
        .delete(&[topics[0].as_str(), topics[1].as_str()])
        .await;
    let servers = stack.own_servers();
    servers.own_registry().kill();
    for entry in std::fs::read_dir(servers.folder.path().join("registry")).expect("its folder") {
        let path = entry.expect("a file").path();
        if path.file_name().is_some_and(|name| name != "server.log") {
            std::fs::remove_file(path).expect("a file goes");
        }
    }
    servers.own_registry().restart();
    tokio::task::block_in_place(|| wait_for(servers.own_registry()));
    stack.add_worker();
    stack.add_data_streams();
    stack.api().ready().await;
    records.change(&stack, "after all was made anew").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    let letters = stack.api().get("/v1/dead-letters").await;
    assert_eq!(letters["results"], json!([]));
    changing_records::assert_no_duplicates(&stack).await;
}
