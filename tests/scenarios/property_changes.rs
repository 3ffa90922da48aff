//! Properties are created and changed during a sync: no value is lost, and no
//! restart is needed.

use std::time::Duration;

use harness::{HANG_LIMIT, Process, Stack, eventually};
use hubspot_sim::{Definition, Kind};
use serde_json::json;

const NUMBER: &str = "lucky_number";

async fn until_read(stack: &Stack, kind: Kind, count: u64) {
    eventually("pages are read", HANG_LIMIT, async || {
        (stack.simulator.requests().count(kind) >= count).then_some(())
    })
    .await;
}

/// Waits until that many contacts have the value 7.
async fn until_sevens_are_stored(stack: &Stack, expected: usize) {
    let sql = format!("SELECT countIf({NUMBER} = 7) FROM hubspot.contacts");
    stack.sql_as_reader().until(&sql, expected).await;
}

/// During the batch reads of a run, makes the property a number and changes
/// values; then completes one more run.
async fn sync_while_the_property_becomes_a_number(stack: &Stack, change_values: impl FnOnce()) {
    stack.simulator.set_latency(Duration::from_millis(100));
    let read = stack.simulator.requests().count(Kind::BatchRead);
    let change = async {
        until_read(stack, Kind::BatchRead, read + 5).await;
        stack
            .simulator
            .portal()
            .define_property("contacts", Definition::new(NUMBER, "number", "number"))
            .unwrap();
        change_values();
        stack.simulator.set_latency(Duration::ZERO);
    };
    tokio::join!(stack.sync(), change);
    stack.sync().await;
}

fn assert_all_still_run(stack: &mut Stack) {
    assert!(stack.workers.iter_mut().all(Process::is_running));
    assert!(stack.instances.iter_mut().all(|it| it.process.is_running()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_created_during_the_backfill_loses_no_value() {
    let mut stack = Stack::with(4_000, 10).start().await;
    stack.simulator.set_latency(Duration::from_millis(100));
    let api = stack.api();
    api.start("default", json!({"streams": ["contacts"]})).await;
    until_read(&stack, Kind::List, 8).await;
    let portal = stack.simulator.portal();
    portal
        .define_property("contacts", Definition::new(NUMBER, "number", "number"))
        .unwrap();
    // A calculated value does not change last-modified, so search cannot show it.
    let ids: Vec<_> = portal.ids("contacts").into_iter().step_by(40).collect();
    for (index, id) in ids.iter().enumerate() {
        let set = [(NUMBER, "7")];
        if index % 2 == 0 {
            portal.calculate("contacts", *id, &set).unwrap();
        } else {
            portal.update("contacts", *id, &set).unwrap();
        }
    }
    stack.simulator.set_latency(Duration::ZERO);
    until_sevens_are_stored(&stack, ids.len()).await;
    stack.matches_truth("contacts").await;
    assert_all_still_run(&mut stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_created_during_an_incremental_run_loses_no_value() {
    let mut stack = Stack::with(3_000, 10).start().await;
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    portal
        .bulk("contacts", &ids[..2_000], &[("jobtitle", "changed")])
        .unwrap();
    sync_while_the_property_becomes_a_number(&stack, || {
        for id in ids.iter().step_by(50) {
            portal.update("contacts", *id, &[(NUMBER, "7")]).unwrap();
        }
    })
    .await;
    until_sevens_are_stored(&stack, ids.len().div_ceil(50)).await;
    stack.matches_truth("contacts").await;
    assert_all_still_run(&mut stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_whose_type_changes_keeps_every_value() {
    let mut stack = Stack::with(2_500, 10).start().await;
    let portal = stack.simulator.portal();
    portal
        .define_property("contacts", Definition::new(NUMBER, "string", "text"))
        .unwrap();
    let ids = portal.ids("contacts");
    portal
        .update("contacts", ids[0], &[(NUMBER, "41")])
        .unwrap();
    portal
        .update("contacts", ids[1], &[(NUMBER, "forty-one")])
        .unwrap();
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    stack.matches_truth("contacts").await;
    let kind = "SELECT type FROM system.columns WHERE database = 'hubspot' AND \
                table = 'contacts' AND name = 'lucky_number'";
    assert_eq!(stack.sql().query(kind).await.trim(), "Nullable(String)");

    // The type changes during a run.
    portal
        .bulk("contacts", &ids[100..2_100], &[("jobtitle", "changed")])
        .unwrap();
    sync_while_the_property_becomes_a_number(&stack, || {
        portal
            .update("contacts", ids[2], &[(NUMBER, "43")])
            .unwrap();
    })
    .await;
    stack.matches_truth("contacts").await;
    eventually("the column has the new type", HANG_LIMIT, async || {
        (stack.sql().query(kind).await.trim() == "Nullable(Float64)").then_some(())
    })
    .await;

    let rows = stack
        .sql_as_reader()
        .rows(&format!(
            "SELECT _object_id AS id, {NUMBER} AS value, toString(_extra.{NUMBER}) AS text \
             FROM hubspot.contacts WHERE _object_id IN ({}, {}, {}) ORDER BY id",
            ids[0], ids[1], ids[2]
        ))
        .await;
    let values: Vec<_> = rows.iter().map(|it| it["value"].as_f64()).collect();
    assert_eq!(values, [Some(41.0), None, Some(43.0)], "{rows:?}");
    assert_eq!(rows[1]["text"], "forty-one", "{rows:?}");
    assert_all_still_run(&mut stack);
}
