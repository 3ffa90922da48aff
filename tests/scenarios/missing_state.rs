//! Starts where state is missing: ClickHouse or the registry was emptied, topics
//! were deleted.

use harness::{HANG_LIMIT, Stack, eventually, process::SHUTDOWN_LIMIT, servers::wait_until_ready};
use serde_json::json;

use crate::changing_records::{self, ChangingRecords};

/// Kills ClickHouse and starts it without its data.
fn empty_clickhouse(stack: &mut Stack) {
    stack.clickhouse.kill();
    std::fs::remove_dir_all(stack.folder().join("clickhouse/store")).expect("it had data");
    stack.clickhouse.restart();
    tokio::task::block_in_place(|| wait_until_ready(&mut stack.clickhouse));
}

async fn until_a_rebuild_is_advised(stack: &Stack) {
    let api = stack.api();
    eventually("data-streams advises a rebuild", HANG_LIMIT, async || {
        let answer = api.try_send("GET", "/health/ready", None).await.ok()?;
        let advised = answer.body.to_string().contains("/v1/warehouse/rebuild");
        (answer.status == 503 && advised).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_clickhouse_is_detected_and_rebuilt_without_requests_to_hubspot() {
    let mut stack = Stack::with(800, 40).start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    stack.matches_truth("contacts").await;
    let before = stack.simulator.requests().counts().total;

    // Emptied before a start, while offsets are committed.
    stack.instances[0].process.terminate(SHUTDOWN_LIMIT);
    empty_clickhouse(&mut stack);
    stack.add_data_streams();
    until_a_rebuild_is_advised(&stack).await;
    stack.api().rebuild().await;
    stack.api().ready().await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    assert_eq!(stack.simulator.requests().counts().total, before);

    // Emptied while data-streams runs: new records wait for the rebuild.
    empty_clickhouse(&mut stack);
    records.change(&stack, "while it is empty").await;
    changing_records::request_run(&stack, "contacts").await;
    until_a_rebuild_is_advised(&stack).await;
    stack.api().rebuild().await;
    stack.api().ready().await;
    records.change(&stack, "after the rebuild").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_registry_and_deleted_topics_are_recreated_at_the_next_start() {
    let mut stack = Stack::with(300, 20).own_registry().start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    stack.instances[0].process.terminate(SHUTDOWN_LIMIT);
    stack.workers[0].terminate(SHUTDOWN_LIMIT);
    let topics = [stack.topic("dead-letters"), stack.topic("status")];
    stack
        .servers()
        .delete(&[topics[0].as_str(), topics[1].as_str()])
        .await;
    let servers = stack.own_servers();
    servers.own_registry().kill();
    for entry in std::fs::read_dir(servers.registry_folder()).expect("its folder") {
        let path = entry.expect("a file").path();
        if path.file_name().is_some_and(|name| name != "server.log") {
            std::fs::remove_file(path).expect("a file is removed");
        }
    }
    servers.own_registry().restart();
    tokio::task::block_in_place(|| wait_until_ready(servers.own_registry()));
    stack.add_worker();
    stack.add_data_streams();
    stack.api().ready().await;
    records
        .change(&stack, "after everything was recreated")
        .await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    let letters = stack.api().get("/v1/dead-letters").await;
    assert_eq!(letters["results"], json!([]));
    changing_records::assert_no_duplicates(&stack).await;
}
