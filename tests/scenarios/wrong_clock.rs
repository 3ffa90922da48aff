//! The worker's clock is wrong and jumps: nothing is lost.

use std::time::Duration;

use harness::{HANG_LIMIT, Stack, eventually, truth, wrong_clock::WrongClock};
use hubspot_sim::Kind;
use serde_json::json;

/// In ms.
const HOUR: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_clock_is_wrong_by_hours_and_jumps_loses_nothing() {
    let clock = WrongClock::new();
    let mut builder = Stack::with(3_000, 30);
    for (name, value) in clock.variables() {
        builder = builder.worker(name, &value);
    }
    let stack = builder.start().await;
    stack.simulator.set_latency(Duration::from_millis(40));
    let portal = stack.simulator.portal();
    let api = stack.api();
    api.start("default", json!({"interval": "10s"})).await;
    for hours in [0, 2, -3, 26] {
        clock.shift(hours * HOUR);
        let count = stack.simulator.requests().count(Kind::List) + 6;
        eventually("the worker continues", HANG_LIMIT, async || {
            (stack.simulator.requests().count(Kind::List) > count).then_some(())
        })
        .await;
    }
    clock.shift(2 * HOUR);
    stack.first_sync(json!({"interval": "10s"})).await;
    let ids = portal.ids("contacts");
    for (number, id) in ids.iter().take(50).enumerate() {
        if number == 25 {
            clock.shift(-5 * HOUR);
        }
        portal
            .update("contacts", *id, &[("jobtitle", "x")])
            .unwrap();
    }
    // Scheduled runs fetch the changes; none is requested.
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    api.stop("default").await;
    let log = stack.log().await;
    log.assert_exactly_once();
    truth::log_matches(&stack, &log, "contacts");
    let letters = api.get("/v1/dead-letters").await;
    assert_eq!(letters["results"], json!([]));
}
