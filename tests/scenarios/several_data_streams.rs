//! Two instances of data-streams: partitions move between them while batches are
//! under way, and both give the same answers.

use std::time::Duration;

use harness::{Api, HANG_LIMIT, Mode, Stack, eventually};
use hubspot_sim::Kind;
use serde_json::{Value, json};

use crate::changing_records::{self, ChangingRecords};

/// Longer than the 6 s after which the group drops a silent member.
const PAUSE: Duration = Duration::from_secs(8);

/// Waits until both give the same answer, as each reads Kafka independently.
async fn until_both_answer_alike(a: &Api, b: &Api, path: &str) -> Value {
    eventually(path, HANG_LIMIT, async || {
        let (a, b) = tokio::join!(a.send("GET", path, None), b.send("GET", path, None));
        (a.status == 200 && a.body == b.body).then_some(a.body)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_moved_in_mid_batch_lose_nothing_and_instances_answer_alike() {
    let mut stack = Stack::with(6_000, 60)
        // Small batches, so that one is under way at each move.
        .data_streams("BATCH_ROWS", "50")
        .start()
        .await;
    stack.simulator.set_latency(Duration::from_millis(150));
    stack.api().start("default", json!({})).await;
    until_pages_were_read(&stack, 8).await;
    // One joins, one is paused past its session and resumed, one is killed.
    stack.add_data_streams();
    stack.api().ready().await;
    until_pages_were_read(&stack, 16).await;
    stack.instances[0].process.signal("STOP");
    tokio::time::sleep(PAUSE).await;
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

/// The Kafka client keeps a partition paused that was revoked while paused for
/// back pressure, also after it is assigned again.
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
        records
            .change(&stack, &format!("while paused {round}"))
            .await;
        stack.sync().await;
    }
    // data-streams pauses a partition whose messages wait for a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The second instance reaches ClickHouse, and is killed soon.
    let clickhouse = format!("http://127.0.0.1:{}", stack.clickhouse.port);
    stack.add_data_streams_with(&[("CLICKHOUSE_URL", &clickhouse)]);
    until_assigned(&stack, 1, 1).await;
    let before = assignments(&stack, 0);
    stack.instances[1].process.kill();
    until_assigned(&stack, 0, before + 1).await;
    stack.instances.truncate(1);
    stack.links().data_streams_clickhouse.heal();
    records
        .change_during(&mut stack, "reassigned", async |_: &mut Stack| {})
        .await;
    changing_records::assert_no_duplicates(&stack).await;
}

/// Asked for on both at once, carried out by one; its end is the other's work.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_carried_out_once_and_goes_on_after_its_instance_was_killed() {
    let mut stack = Stack::with(4_000, 200)
        // Small batches, so that a rebuild takes a while.
        .data_streams("BATCH_ROWS", "20")
        .start()
        .await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    stack.add_data_streams();
    stack.api().ready().await;
    let [first, second] = [0, 1].map(|index| Api::new(stack.instances[index].port));
    let path = "/v1/warehouse/rebuild";
    let (a, b) = tokio::join!(
        first.send("POST", path, None),
        second.send("POST", path, None)
    );
    assert_eq!((a.status, b.status), (202, 202), "{} {}", a.body, b.body);
    let id = a.body["status"].as_str().unwrap_or_default().to_owned();
    for api in [&first, &second] {
        eventually("both show that it is carried out", HANG_LIMIT, async || {
            let shown = api.send("GET", &id, None).await;
            (shown.body["records"].as_u64()? > 0).then_some(())
        })
        .await;
    }
    let leader = (0..2)
        .find(|index| {
            let log = stack.instances[*index].process.output();
            log.contains("rebuild begins")
        })
        .expect("one carries it out");
    let other = 1 - leader;
    let log = stack.instances[other].process.output();
    assert!(!log.contains("rebuild begins"), "both carry it out");
    stack.instances[leader].process.kill();
    let other = Api::new(stack.instances[other].port);
    for ended in [&id, b.body["status"].as_str().unwrap_or_default()] {
        let last = eventually("the rebuild has ended", HANG_LIMIT, async || {
            let shown = other.send("GET", ended, None).await;
            (!shown.body["ended_at"].is_null() && shown.status == 200).then_some(shown.body)
        })
        .await;
        assert_eq!(last["state"], "done", "{last}");
    }
    stack.restart_data_streams(leader);
    stack.api().ready().await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    records.change(&stack, "after the rebuild").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    changing_records::assert_no_duplicates(&stack).await;
}

/// How often partitions were assigned to an instance so far.
fn assignments(stack: &Stack, index: usize) -> usize {
    let log = stack.instances[index].process.output();
    log.matches("assigned partitions=").count()
}

async fn until_assigned(stack: &Stack, index: usize, times: usize) {
    eventually("partitions are assigned", HANG_LIMIT, async || {
        (assignments(stack, index) >= times).then_some(())
    })
    .await;
}

/// Waits until that many pages of a list were read.
async fn until_pages_were_read(stack: &Stack, count: u64) {
    eventually("pages are read", HANG_LIMIT, async || {
        (stack.simulator.requests().count(Kind::List) >= count).then_some(())
    })
    .await;
}
