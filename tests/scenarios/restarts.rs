//! Services end and start again: commands and schedules survive.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use harness::{HANG_LIMIT, Process, Stack, api::stream, log, process::SHUTDOWN_LIMIT};
use hubspot_sim::Kind;
use schemas::{Status, StreamStatus, codec, status, unframe};
use serde_json::{Value, json};

/// How a service ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Terminated,
    Killed,
}

impl Ending {
    fn end(self, process: &mut Process) {
        match self {
            Self::Terminated => process.terminate(SHUTDOWN_LIMIT),
            Self::Killed => process.kill(),
        }
    }
}

/// A system whose only runs after the first are those of the interval.
async fn with_an_hourly_schedule() -> Stack {
    let stack = Stack::with(200, 10)
        .worker("LATE_INTERVAL", "31d")
        .worker("ARCHIVED_INTERVAL", "31d")
        .worker("FULL_INTERVAL", "31d")
        .start()
        .await;
    stack
        .first_sync(json!({"streams": ["contacts"], "interval": "1h"}))
        .await;
    until_idle(&stack, |_| true).await;
    stack
}

/// Waits until the stream is idle, has a next run, and `more` holds.
async fn until_idle(stack: &Stack, more: impl Fn(&Value) -> bool) -> Value {
    let what = "contacts are idle with a next run";
    stack
        .api()
        .until(what, "default", HANG_LIMIT, |connection| {
            let contacts = stream(connection, "contacts");
            contacts["phase"] == "idle" && !contacts["next_run"].is_null() && more(connection)
        })
        .await
}

/// Every status of the stream, in order.
async fn history(stack: &Stack) -> Vec<StreamStatus> {
    log::read_topic(stack.servers(), &stack.topic("status"))
        .await
        .iter()
        .filter(|it| it.key == "default/contacts")
        .filter_map(|it| {
            let value = it.value.as_deref().unwrap();
            let datum = unframe(value).unwrap().datum;
            codec::decode::<Status>(status::SCHEMA, datum)
                .unwrap()
                .stream
        })
        .collect()
}

/// Ids of scheduled runs.
async fn scheduled_runs(stack: &Stack) -> BTreeSet<String> {
    history(stack)
        .await
        .into_iter()
        .filter(|it| it.reason.as_deref() == Some("incremental"))
        .filter_map(|it| it.run_id)
        .collect()
}

async fn next_run_at(stack: &Stack) -> i64 {
    let last = history(stack).await.pop().expect("a status");
    last.next_run_at.expect("a next run")
}

/// Ends the worker, calls `pause`, starts another and waits until it is idle.
async fn replace_worker(stack: &mut Stack, ending: Ending, pause: impl FnOnce(&Stack)) {
    let before = stack.api().connection("default").await;
    ending.end(stack.workers.last_mut().expect("a worker"));
    pause(stack);
    stack.add_worker();
    until_idle(stack, |now| {
        now["observed"]["worker"] != before["observed"]["worker"]
            && stream(now, "contacts")["at"] != stream(&before, "contacts")["at"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_worker_keeps_the_schedule() {
    let mut stack = with_an_hourly_schedule().await;
    let due = next_run_at(&stack).await;
    for ending in [Ending::Terminated, Ending::Killed] {
        let since = Instant::now();
        replace_worker(&mut stack, ending, |_| {}).await;
        assert_eq!(next_run_at(&stack).await, due, "{ending:?}");
        let reads: Vec<_> = stack
            .simulator
            .requests()
            .since(since)
            .into_iter()
            .filter(|it| !matches!(it.kind, Kind::Details | Kind::Usage))
            .collect();
        assert!(reads.is_empty(), "{ending:?}: {reads:?}");
    }
    assert_eq!(scheduled_runs(&stack).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_runs_are_caught_up_by_one_run_at_the_start() {
    const HOUR: i64 = 3_600_000;
    let mut stack = with_an_hourly_schedule().await;
    for (number, ending) in [(1, Ending::Terminated), (2, Ending::Killed)] {
        let before = stack.simulator.portal().now_ms();
        replace_worker(&mut stack, ending, |stack| {
            let portal = stack.simulator.portal();
            let id = portal.ids("contacts")[0];
            let city = format!("city {number}");
            portal.update("contacts", id, &[("city", &city)]).unwrap();
            stack.simulator.advance(Duration::from_hours(5));
        })
        .await;
        let started = next_run_at(&stack).await - HOUR;
        let after = stack.simulator.portal().now_ms();
        assert!(
            (before + 5 * HOUR..=after).contains(&started),
            "{ending:?}: the interval starts with the late run"
        );
        assert_eq!(scheduled_runs(&stack).await.len(), number, "{ending:?}");
        stack.matches_truth("contacts").await;
    }
    stack.log().await.assert_exactly_once();
}

/// What a connection shows, without what counts for some seconds only, and when it was
/// reported: each slot of a stream that has nothing to do reports it once more.
fn lasting(mut connection: Value) -> Value {
    connection["observed"]["budget"].take();
    for stream in connection["streams"].as_array_mut().into_iter().flatten() {
        stream["at"].take();
    }
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_data_streams_shows_the_same_state_and_causes_no_request() {
    let mut stack = with_an_hourly_schedule().await;
    let before = until_idle(&stack, |_| true).await;
    for ending in [Ending::Terminated, Ending::Killed] {
        let since = Instant::now();
        ending.end(&mut stack.instances.last_mut().expect("an instance").process);
        stack.add_data_streams();
        let api = stack.api();
        api.ready().await;
        let after = api.connection("default").await;
        assert_eq!(lasting(after), lasting(before.clone()), "{ending:?}");
        let requests = stack.simulator.requests().since(since);
        assert!(requests.is_empty(), "{ending:?}: {requests:?}");
    }
    assert_eq!(scheduled_runs(&stack).await, BTreeSet::new());
    // The new instance accepts commands.
    stack.sync().await;
    stack.matches_truth("contacts").await;
}
