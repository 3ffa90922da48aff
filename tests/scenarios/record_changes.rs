//! Changes in HubSpot arrive, whether search shows them or not.

use std::time::Duration;

use harness::{Stack, truth};
use hubspot_sim::Definition;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn changed_and_new_records_arrive_in_the_next_run() {
    // A lag that is longer than a run: what search does not show yet must not be
    // skipped.
    let stack = Stack::with(600, 60)
        .portal(|portal| portal.quirks.index_lag_ms = 1_000)
        .start()
        .await;
    stack.first_sync(json!({})).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    for id in ids.iter().take(40) {
        portal
            .update("contacts", *id, &[("firstname", "Ada"), ("phone", "")])
            .unwrap();
    }
    for number in 0..25 {
        let email = format!("new-{number}@example.com");
        portal.create("contacts", &[("email", &email)]).unwrap();
    }
    stack.sync().await;
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_thousand_records_of_one_millisecond_all_arrive() {
    let stack = Stack::with(12_500, 10).start().await;
    stack.first_sync(json!({})).await;
    let portal = stack.simulator.portal();
    let ids: Vec<_> = portal.ids("contacts").into_iter().take(12_000).collect();
    portal
        .bulk("contacts", &ids, &[("lifecyclestage", "customer")])
        .unwrap();
    stack.sync().await;
    stack.matches_truth("contacts").await;
    let log = stack.log().await;
    log.assert_exactly_once();
    truth::log_matches(&stack, &log, "contacts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_property_gets_a_column_and_its_values() {
    let stack = Stack::with(400, 40).start().await;
    stack.first_sync(json!({})).await;
    let portal = stack.simulator.portal();
    portal
        .define_property(
            "contacts",
            Definition::new("favourite_number", "number", "number"),
        )
        .unwrap();
    let ids = portal.ids("contacts");
    for id in ids.iter().take(10) {
        portal
            .update("contacts", *id, &[("favourite_number", "42")])
            .unwrap();
    }
    stack.sync().await;
    stack.matches_truth("contacts").await;
    let sum = stack
        .sql_as_reader()
        .query("SELECT toInt64(sum(favourite_number)) FROM hubspot.contacts")
        .await;
    assert_eq!(sum.trim(), "420");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_finds_archived_merged_restored_and_erased_records() {
    let stack = Stack::with(500, 50).start().await;
    stack.first_sync(json!({})).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let archived = portal.archived_ids("contacts");
    portal.archive("contacts", ids[0]).unwrap();
    portal.archive("contacts", ids[1]).unwrap();
    portal.erase("contacts", ids[2]).unwrap();
    portal.merge("contacts", ids[3], ids[4]).unwrap();
    portal.restore("contacts", archived[0]).unwrap();
    stack.request(json!({"kind": "resync"})).await;
    stack.matches_truth("contacts").await;

    let reader = stack.sql_as_reader();
    let gone = format!(
        "SELECT count() FROM hubspot.contacts WHERE _object_id IN ({}, {}, {}, {}, {})",
        ids[0], ids[1], ids[2], ids[3], ids[4],
    );
    assert_eq!(reader.number(&gone).await, 0);
    let back = format!(
        "SELECT count() FROM hubspot.contacts WHERE _object_id = {}",
        archived[0]
    );
    assert_eq!(reader.number(&back).await, 1);
    let deleted = format!(
        "SELECT count() FROM hubspot.contacts_all WHERE _deleted AND _object_id IN ({}, {}, {})",
        ids[2], ids[3], ids[4],
    );
    assert_eq!(reader.number(&deleted).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_changed_during_the_backfill_arrive_in_their_last_version() {
    let stack = Stack::with(4_000, 40).start().await;
    stack.simulator.set_latency(Duration::from_millis(20));
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let changes = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        for (number, id) in ids.iter().step_by(7).enumerate() {
            ticks.tick().await;
            portal
                .update("contacts", *id, &[("jobtitle", &format!("title {number}"))])
                .unwrap();
        }
    };
    tokio::join!(stack.first_sync(json!({})), changes);
    stack.sync().await;
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}
