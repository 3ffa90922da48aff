//! Memory stays bounded while records wait to be stored.

use std::time::{Duration, Instant};

use harness::{HANG_LIMIT, Mode, Stack};
use serde_json::json;

/// Limit of worker and data-streams together, in MiB: a promise of the product.
const BOUND_MIB: u64 = 250;

/// How long ClickHouse is unavailable; `MEMORY_SECONDS` sets a longer time.
fn outage() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "no setting of the product")]
    let seconds = std::env::var("MEMORY_SECONDS").ok();
    let seconds = seconds.and_then(|it| it.parse().ok()).unwrap_or(15);
    Duration::from_secs(seconds)
}

/// The highest resident memory of a process since it started, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() / 1024
}

fn assert_bounded(stack: &Stack) {
    let peaks: Vec<u64> = stack
        .workers
        .iter()
        .chain(stack.instances.iter().map(|it| &it.process))
        .map(|process| peak_mib(process.pid()))
        .collect();
    assert!(peaks.iter().sum::<u64>() <= BOUND_MIB, "{peaks:?} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_while_clickhouse_is_unavailable_under_full_input() {
    let stack = Stack::with(10_000, 10)
        .portal(|portal| portal.changes_per_second = 500.0)
        .links()
        .start()
        .await;
    stack.links().data_streams_clickhouse.set(Mode::Stall);
    let began = Instant::now();
    stack
        .api()
        .start("default", json!({"interval": "10s"}))
        .await;
    // The whole portal is in the log, and more comes every ten seconds.
    let api = stack.api();
    api.until("the backfill is done", "default", HANG_LIMIT, |it| {
        it["streams"].as_array().is_some_and(|streams| {
            !streams.is_empty() && streams.iter().all(|it| !it["last_success"].is_null())
        })
    })
    .await;
    tokio::time::sleep(outage().saturating_sub(began.elapsed())).await;
    assert_bounded(&stack);
    api.stop("default").await;
    stack.links().data_streams_clickhouse.heal();
    let log = stack.log().await;
    log.assert_exactly_once();
    let count = "SELECT uniqExact(topic, partition, offset) FROM hubspot_raw.changes";
    stack.sql().until(count, log.records.len()).await;
    assert_bounded(&stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_when_hubspot_answers_with_pages_of_ten_megabytes() {
    let stack = Stack::with(600, 10).start().await;
    let portal = stack.simulator.portal();
    let large = "z".repeat(100 * 1024);
    portal
        .bulk("contacts", &portal.ids("contacts"), &[("jobtitle", &large)])
        .unwrap();
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    assert_bounded(&stack);
}
