//! Start, stop, kill and restart: the system reaches the requested state.

use std::time::Duration;

use harness::{
    HANG_LIMIT, HttpsFront, Mode, Proxy, Stack, api::stream, eventually, process::SHUTDOWN_LIMIT,
    tls::Certificates,
};
use serde_json::json;

use crate::changing_records;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_starts_after_the_answer_to_a_stop() {
    let mut stack = Stack::with(5_000, 10)
        .portal(|portal| portal.changes_per_second = 0.0)
        .start()
        .await;
    stack.simulator.set_latency(Duration::from_millis(100));
    let api = stack.api();
    api.start("default", json!({})).await;
    eventually("the backfill runs", HANG_LIMIT, async || {
        (stack.simulator.requests().counts().total > 10).then_some(())
    })
    .await;
    let answer = api.send("POST", "/v1/connections/default/stop", None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stopped = stack.after_requests_sent().await;
    let connection = api.connection("default").await;
    assert_eq!(connection["state"], "stopped");

    // A start continues from the checkpoint, until everything has arrived.
    assert!(stack.simulator.requests().since(stopped).is_empty());
    stack.simulator.set_latency(Duration::ZERO);
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    assert!(stack.workers.iter_mut().all(harness::Process::is_running));
}

/// What waits for its connection is not sent once the stop is answered.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_starts_after_a_stop_while_connections_are_being_made() {
    let mut stack = Stack::with(5_000, 10).without_services().start().await;
    let certificates = Certificates::new();
    let simulator = stack.simulator.address().port();
    let front = HttpsFront::start(&certificates, simulator, None).await;
    let proxy = Proxy::to(front.port).await;
    stack.add_worker_with(&[
        (
            "HUBSPOT_BASE_URL",
            &format!("https://127.0.0.1:{}", proxy.port()),
        ),
        ("SSL_CERT_FILE", &certificates.setting("ca.pem")),
    ]);
    stack.add_data_streams();
    let api = stack.api();
    api.ready().await;
    stack.simulator.set_latency(Duration::from_millis(100));
    api.start("default", json!({})).await;
    eventually("the backfill runs", HANG_LIMIT, async || {
        (stack.simulator.requests().counts().total > 10).then_some(())
    })
    .await;
    // Handshakes of new connections stand still.
    let before = proxy.connections();
    proxy.set(Mode::Stall);
    proxy.reset();
    eventually("connections are being made", HANG_LIMIT, async || {
        (proxy.connections() > before).then_some(())
    })
    .await;
    let answer = api.send("POST", "/v1/connections/default/stop", None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stopped = stack.after_requests_sent().await;
    proxy.heal();
    // Nothing announces that nothing comes; a handshake takes some ms.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stack.simulator.requests().since(stopped).is_empty());

    stack.simulator.set_latency(Duration::ZERO);
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_stop_fetches_at_once() {
    let stack = Stack::with(50, 5)
        .portal(|portal| portal.changes_per_second = 0.0)
        .start()
        .await;
    stack.first_sync(json!({"interval": "1h"})).await;
    stack.api().stop("default").await;
    create_while_stopped(&stack).await;
    stack.api().start("default", json!({})).await;
    stack.matches_truth("contacts").await;

    // A requested run in between does not count for the schedule.
    stack.api().stop("default").await;
    stack.sync().await;
    create_while_stopped(&stack).await;
    stack.api().start("default", json!({})).await;
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_fetches_changes_to_pages_that_a_stopped_run_had_read() {
    let stack = Stack::with(6_000, 5)
        .portal(|portal| portal.changes_per_second = 0.0)
        .start()
        .await;
    stack.simulator.set_latency(Duration::from_millis(100));
    let api = stack.api();
    api.start("default", json!({"interval": "1h"})).await;
    let committed = "some pages are committed";
    api.until(committed, "default", HANG_LIMIT, |connection| {
        stream(connection, "contacts")["records_total"].as_u64() > Some(0)
    })
    .await;
    api.stop("default").await;
    stack.simulator.set_latency(Duration::ZERO);
    // Some of them are on pages that the run has read.
    let portal = stack.simulator.portal();
    for id in portal.ids("contacts") {
        let changed = [("jobtitle", "changed while stopped")];
        portal.update("contacts", id, &changed).unwrap();
    }
    stack.search_shows_changes().await;
    api.start("default", json!({})).await;
    stack.matches_truth("contacts").await;
}

async fn create_while_stopped(stack: &Stack) {
    let portal = stack.simulator.portal();
    portal
        .create("contacts", &[("email", "made@while.stopped")])
        .unwrap();
    stack.search_shows_changes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_resumes_from_its_checkpoint() {
    let mut stack = Stack::with(6_000, 60).start().await;
    stack.simulator.set_latency(Duration::from_millis(60));
    stack.api().start("default", json!({})).await;
    eventually("some pages are read", HANG_LIMIT, async || {
        (stack.simulator.requests().counts().total > 20).then_some(())
    })
    .await;
    stack.workers[0].kill();
    stack.add_worker();
    stack.simulator.set_latency(Duration::ZERO);
    stack.first_sync(json!({})).await;
    let log = stack.log().await;
    log.assert_exactly_once();
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_data_streams_loses_and_duplicates_nothing() {
    let mut stack = Stack::with(6_000, 60).start().await;
    stack.simulator.set_latency(Duration::from_millis(20));
    stack.api().start("default", json!({})).await;
    eventually("some pages are read", HANG_LIMIT, async || {
        (stack.simulator.requests().counts().total > 20).then_some(())
    })
    .await;
    stack.instances[0].process.kill();
    stack.add_data_streams();
    stack.api().ready().await;
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_end_within_ten_seconds_of_sigterm() {
    let mut stack = Stack::with(5_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(50));
    stack.api().start("default", json!({})).await;
    eventually("the backfill runs", HANG_LIMIT, async || {
        (stack.simulator.requests().counts().total > 10).then_some(())
    })
    .await;
    stack.workers[0].terminate(SHUTDOWN_LIMIT);
    stack.instances[0].process.terminate(SHUTDOWN_LIMIT);
    stack.add_worker();
    stack.add_data_streams();
    stack.api().ready().await;
    stack.simulator.set_latency(Duration::ZERO);
    stack.first_sync(json!({})).await;
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_end_within_ten_seconds_while_kafka_is_paused() {
    let mut stack = Stack::with(300, 10).own_kafka().start().await;
    stack.first_sync(json!({})).await;
    stack.add_worker();
    let joined = &stack.workers[1];
    eventually(
        "the second worker gets partitions",
        HANG_LIMIT,
        async || {
            joined
                .output()
                .contains("partitions assigned")
                .then_some(())
        },
    )
    .await;
    // While it reads the state of its new partitions.
    stack.own_servers().own_kafka().process.signal("STOP");
    for worker in &mut stack.workers {
        worker.terminate(SHUTDOWN_LIMIT);
    }
    stack.own_servers().own_kafka().process.signal("CONT");
    stack.restart_worker(0, &[]);
    let portal = stack.simulator.portal();
    portal
        .create("contacts", &[("email", "new@example.com")])
        .unwrap();
    let settings = Some(json!({}));
    stack
        .api()
        .until_applied("default", "start", settings)
        .await;
    stack.sync().await;
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_show_the_same_state() {
    let mut stack = Stack::with(100, 10).start().await;
    let first = stack.api();
    stack.add_data_streams();
    let second = stack.api();
    second.ready().await;
    stack.first_sync(json!({})).await;
    let (starts, stops) = tokio::join!(
        first.send(
            "POST",
            "/v1/connections/default/start",
            Some(json!({"interval": "7m"}))
        ),
        second.send("POST", "/v1/connections/default/stop", None),
    );
    assert!(matches!(starts.status, 200..=202), "{}", starts.body);
    assert!(matches!(stops.status, 200 | 202 | 409), "{}", stops.body);
    eventually("both show the same state", HANG_LIMIT, async || {
        let (a, b) = (
            first.connection("default").await,
            second.connection("default").await,
        );
        (a == b).then_some(())
    })
    .await;
    assert_eq!(first.connection("default").await["interval"], "7m");
}
