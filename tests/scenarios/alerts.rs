//! The alerts, over the metrics of services that are in trouble. Prometheus' own code
//! evaluates them.

mod serving;
mod writing;

use std::collections::BTreeSet;

use harness::{HANG_LIMIT, Recording, Stack, api::stream, eventually, exposition};
use hubspot_sim::{Fault, FaultBody, Kind, Policy, Rule, Seen};
use serde_json::json;

/// Panics unless all of these are among the alerts that fire.
fn assert_fire(fire: &BTreeSet<String>, expected: &[&str]) {
    for name in expected {
        let name = format!("HubSpotStreams{name}");
        assert!(fire.contains(&name), "{name} does not fire, but {fire:?}");
    }
}

/// A system after its first sync.
async fn synced() -> Stack {
    let stack = Stack::with(60, 20).start().await;
    stack.first_sync(json!({"interval": "10s"})).await;
    stack
}

/// Changes a value of every contact.
fn change(stack: &Stack, second: usize) {
    let portal = stack.simulator.portal();
    let (ids, value) = (portal.ids("contacts"), second.to_string());
    portal.bulk("contacts", &ids, &[("city", &value)]).unwrap();
}

/// Requests a run, whether that is possible now or not.
async fn ask_for_run(stack: &Stack) {
    let path = "/v1/connections/default/sync";
    let asked = stack.api().try_send("POST", path, Some(json!({}))).await;
    drop(asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_says_what_it_is() {
    let stack = synced().await;
    let of_worker = [
        "worker_records_total",
        "worker_connection_limit_wait_seconds_total",
    ];
    let of_data_streams = [
        "data_streams_ingest_rows_total",
        "data_streams_stream_records",
    ];
    for (port, names) in [
        (stack.worker_ports[0], of_worker),
        (stack.instances[0].port, of_data_streams),
    ] {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let text = eventually("records are counted", HANG_LIMIT, async || {
            let answer = harness::api::client().get(&url).send().await.ok()?;
            let text = answer.text().await.ok()?;
            names.iter().all(|it| text.contains(it)).then_some(text)
        });
        let text = text.await;
        assert_eq!(exposition::undescribed(&text), [""; 0], "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_alert_fires_while_all_is_well() {
    let stack = synced().await;
    let mut recording = Recording::default();
    let each = async |second| change(&stack, second);
    recording.take(&stack, 50, each).await;
    let fire = recording.alerts(&stack, 0).await;
    assert!(fire.is_empty(), "{fire:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_while_hubspot_fails_and_limits_requests() {
    let stack = synced().await;
    let faults = stack.simulator.faults();
    let fails = Fault::Status {
        code: 500,
        body: FaultBody::Json,
        retry_after: None,
    };
    let limited = Fault::RateLimited {
        policy: Policy::Secondly,
        retry_after: Some(1),
    };
    let mut recording = Recording::default();
    let mut succeeded = 0;
    let each = async |_| {
        let requests = stack.simulator.requests().all().into_iter();
        let is_read = |it: &Seen| it.kind == Kind::Search && it.status == 200;
        let now = requests.filter(is_read).count();
        // Once a run has got through, or the streams would wait ever longer and ask ever less.
        if now > succeeded && faults.waiting().is_empty() {
            succeeded = now;
            faults.push(Rule::any(limited.clone()).times(2));
            faults.push(Rule::any(fails.clone()).times(6));
        }
        ask_for_run(&stack).await;
    };
    recording.take(&stack, 50, each).await;
    let fire = recording.alerts(&stack, 0).await;
    assert_fire(&fire, &["HubSpotFails", "RateLimited"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_while_clickhouse_is_away() {
    let mut stack = synced().await;
    stack.clickhouse.kill();
    let mut recording = Recording::default();
    let each = async |second| {
        change(&stack, second);
        ask_for_run(&stack).await;
        let path = "/v1/connections/default/records/contacts";
        drop(stack.api().try_send("GET", path, None).await);
    };
    recording.take(&stack, 40, each).await;
    let fire = recording.alerts(&stack, 0).await;
    assert_fire(&fire, &["ApiFails", "ClickHouseFails", "NothingLoaded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_for_one_connection_stream_table_and_message() {
    let stack = synced().await;
    stack.matches_truth("contacts").await;
    stack.simulator.portal().set_scope("companies", false);
    let sql = stack.sql();
    sql.query("RENAME TABLE hubspot_raw.contacts TO hubspot_raw.kept")
        .await;
    sql.query("CREATE TABLE hubspot_raw.contacts (x UInt8) ENGINE = Memory")
        .await;
    let message = vec![("no key of a record".to_owned(), Some(b"no record".to_vec()))];
    stack
        .servers()
        .produce(&stack.topic("records"), message)
        .await;
    change(&stack, 0);
    eventually("the table's records wait", HANG_LIMIT, async || {
        let answer = stack.api().try_send("GET", "/health/ready", None).await;
        let answer = answer.ok()?;
        (!answer.body["failures"]["targets"].is_null()).then_some(())
    })
    .await;
    // Another connection of the same portal.
    stack.api().start("twin", json!({})).await;
    let has_failed = |it: &serde_json::Value| it["observed"]["state"] == "failed";
    stack
        .api()
        .until("the twin is refused", "twin", HANG_LIMIT, has_failed)
        .await;
    let is_skipped = |it: &serde_json::Value| stream(it, "companies")["phase"] == "skipped";
    stack
        .api()
        .until("companies are skipped", "default", HANG_LIMIT, is_skipped)
        .await;
    let mut recording = Recording::default();
    recording.take(&stack, 2, async |_| ()).await;
    let soon = recording.alerts(&stack, 30).await;
    assert_fire(
        &soon,
        &["ConnectionFails", "MessagesToDeadLetters", "TargetsWait"],
    );
    let late = recording.alerts(&stack, 70).await;
    assert_fire(&late, &["StreamFails", "StreamStale"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_for_a_refused_token_and_for_services_that_are_away() {
    let mut stack = synced().await;
    let mut recording = Recording::default();
    recording.take(&stack, 1, async |_| ()).await;
    stack.simulator.revoke_token(harness::stack::TOKEN);
    ask_for_run(&stack).await;
    let is_refused = |it: &serde_json::Value| it["observed"]["error"]["code"] == "unauthorized";
    stack
        .api()
        .until("the token is refused", "default", HANG_LIMIT, is_refused)
        .await;
    recording.take(&stack, 1, async |_| ()).await;
    let fire = recording.alerts(&stack, 30).await;
    assert_fire(&fire, &["CredentialRefused"]);
    let fire = recording.alerts(&stack, 180).await;
    assert_fire(&fire, &["HubSpotNotRead", "StreamStale"]);

    stack.first_worker().kill();
    stack.instances[0].process.kill();
    recording.take(&stack, 2, async |_| ()).await;
    let fire = recording.alerts(&stack, 15).await;
    assert_fire(&fire, &["WorkerAway", "DataStreamsAway", "InstanceAway"]);
}
