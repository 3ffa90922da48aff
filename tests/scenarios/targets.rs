//! Targets: a destination belongs to one portal, and whatever is wrong with one target,
//! the others load on.

use harness::{HANG_LIMIT, Stack, eventually};
use hubspot_sim::{Limits, PortalConfig};
use serde_json::json;

use crate::changing_records;

const OTHER_PORTAL: u64 = 4_711_002;

/// A system over two portals; `file:other` leads to the second.
async fn two_portals() -> Stack {
    let mut other = PortalConfig {
        portal_id: OTHER_PORTAL,
        tokens: vec!["secret-token-other".to_owned()],
        contacts: 200,
        archived_percent: 0.0,
        limits: Limits::off(),
        ..PortalConfig::default()
    };
    other.quirks.index_lag_ms = 100;
    Stack::with(300, 10)
        .portal(|portal| portal.archived_percent = 0.0)
        .another_portal(other)
        .credential("other", "secret-token-other")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_of_another_portal_stops_no_other_connection() {
    let stack = two_portals().await;
    let (api, sql) = (stack.api(), stack.sql());
    stack
        .first_sync(json!({"streams": ["contacts"], "interval": "1h"}))
        .await;
    sql.until("SELECT count() FROM hubspot.contacts_all", 300)
        .await;
    api.delete("/v1/connections/default").await;

    // Whose account it is, only the worker finds out.
    let settings = json!({
        "credential": "file:other", "destination": "hubspot", "streams": ["contacts"],
        "interval": "1h",
    });
    api.start("second", settings.clone()).await;
    let start = "/v1/connections/second/start";
    eventually("the destination is refused", HANG_LIMIT, async || {
        let answer = api.send("POST", start, None).await;
        (answer.status == 409 && answer.body["code"] == "destination_taken").then_some(())
    })
    .await;
    // The same portal under another name takes its destination on.
    api.start("third", json!({"streams": ["contacts"], "interval": "1h"}))
        .await;
    sql.until("SELECT count() FROM hubspot_third.contacts_all", 300)
        .await;
    assert_eq!(
        sql.number("SELECT uniqExact(_portal_id) FROM hubspot.contacts_all")
            .await,
        1
    );
    // What the refused connection has read can go nowhere once it is deleted.
    api.delete("/v1/connections/second").await;
    api.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_table_cannot_be_stored_into_the_others_load_on() {
    let stack = two_portals().await;
    let (api, sql) = (stack.api(), stack.sql());
    stack
        .first_sync(json!({"streams": ["contacts"], "interval": "1h"}))
        .await;
    api.start(
        "other",
        json!({"credential": "file:other", "streams": ["contacts"], "interval": "1h"}),
    )
    .await;
    sql.until("SELECT count() FROM hubspot.contacts_all", 300)
        .await;
    sql.until("SELECT count() FROM hubspot_other.contacts_all", 200)
        .await;
    sql.query("RENAME TABLE hubspot_other_raw.contacts TO hubspot_other_raw.kept")
        .await;
    sql.query("CREATE TABLE hubspot_other_raw.contacts (x UInt8) ENGINE = Memory")
        .await;

    for round in 0..3 {
        let title = format!("round {round}");
        for portal in [
            stack.simulator.portal(),
            stack.simulator.portal_by_id(OTHER_PORTAL).unwrap(),
        ] {
            let ids = portal.ids("contacts");
            portal
                .bulk("contacts", &ids, &[("jobtitle", &title)])
                .unwrap();
        }
        stack.search_shows_changes().await;
        stack.request_of("other", json!({}), HANG_LIMIT).await;
        stack.request(json!({})).await;
        let loaded = format!("SELECT count() FROM hubspot.contacts_all WHERE jobtitle = '{title}'");
        sql.until(&loaded, 300).await;
    }
    // It is named, with the reason.
    eventually("the target is named", HANG_LIMIT, async || {
        let answer = api.try_send("GET", "/health/ready", None).await.ok()?;
        answer.body["failures"]["targets"]
            .as_str()
            .is_some_and(|it| it.contains("hubspot_other") && it.contains("contacts"))
            .then_some(())
    })
    .await;
    sql.query("DROP TABLE hubspot_other_raw.contacts SYNC")
        .await;
    sql.query("RENAME TABLE hubspot_other_raw.kept TO hubspot_other_raw.contacts")
        .await;
    let loaded = "SELECT count() FROM hubspot_other.contacts_all WHERE jobtitle = 'round 2'";
    sql.until(loaded, 200).await;
    // Each version is there: the first one and three changes.
    sql.until("SELECT count() FROM hubspot_other_raw.changes FINAL", 800)
        .await;
    api.ready().await;
    stack.matches_truth("contacts").await;
    changing_records::assert_no_duplicates(&stack).await;
    let letters = api.get("/v1/dead-letters").await;
    assert_eq!(letters["results"], json!([]));
}

/// Sends the settings and returns the code of the refusal.
async fn refusal(stack: &Stack, path: &str, settings: serde_json::Value) -> String {
    let answer = stack.api().send("POST", path, Some(settings)).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    answer.body["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_released_by_delete_and_dropped_by_purge() {
    let stack = two_portals().await;
    let (api, sql) = (stack.api(), stack.sql());
    // What is not ours is refused, and stays as it is.
    sql.query("CREATE DATABASE theirs").await;
    sql.query("CREATE TABLE theirs.contacts (x UInt8) ENGINE = Memory")
        .await;
    let settings = json!({"streams": ["contacts"], "interval": "1h", "destination": "theirs"});
    let start = "/v1/connections/default/start";
    assert_eq!(
        refusal(&stack, start, settings).await,
        "destination_foreign"
    );

    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    stack.first_sync(settings.clone()).await;
    let count = "SELECT count() FROM hubspot.contacts_all";
    sql.until(count, 300).await;
    let moved = json!({"destination": "elsewhere"});
    assert_eq!(refusal(&stack, start, moved).await, "destination_fixed");
    // A view of a person under one of our names.
    sql.query("CREATE VIEW hubspot.companies AS SELECT 1 AS x")
        .await;

    api.delete("/v1/connections/default").await;
    let mut again = settings.clone();
    again["destination"] = json!("hubspot");
    api.start("again", again).await;
    let done = |it: &serde_json::Value| !it["streams"][0]["last_success"].is_null();
    api.until("it is read again", "again", HANG_LIMIT, done)
        .await;
    sql.until(count, 300).await;
    assert_eq!(api.get("/v1/dead-letters").await["results"], json!([]));

    api.delete("/v1/connections/again?purge=true").await;
    let left = "SELECT count() FROM system.databases WHERE name = 'hubspot_raw'";
    sql.until(left, 0).await;
    assert_eq!(sql.number("SELECT x FROM hubspot.companies").await, 1);
    sql.query("DROP VIEW hubspot.companies SYNC").await;
    // Not even a rebuild from the log brings it back, and another account may have it.
    api.rebuild().await;
    assert_eq!(sql.number(left).await, 0);
    api.start(
        "second",
        json!({
            "credential": "file:other", "destination": "hubspot", "streams": ["contacts"],
            "interval": "1h",
        }),
    )
    .await;
    sql.until(count, 200).await;
    // A connection of a purged name gets everything again, in its new destination.
    let mut again = settings;
    again["destination"] = json!("elsewhere");
    api.start("again", again).await;
    sql.until("SELECT count() FROM elsewhere.contacts_all", 300)
        .await;
    api.ready().await;
}
