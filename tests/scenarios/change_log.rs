//! The log is a change log: what has not changed is not written, and what is gone is
//! said to every consumer, but only what is gone.

use std::collections::HashSet;

use harness::{HANG_LIMIT, Stack, StackBuilder, eventually, truth};
use hubspot_sim::{Fault, Kind, Rule};
use serde_json::json;

/// A stack whose passes follow each other closely.
fn with_passes(contacts: u32) -> StackBuilder {
    Stack::with(contacts, 20)
        .worker("LATE_INTERVAL", "1s")
        .worker("ARCHIVED_INTERVAL", "1s")
        .worker("FULL_INTERVAL", "2s")
}

/// Waits until that many full passes over contacts have begun and ended.
async fn full_passes(stack: &Stack, count: usize) {
    let api = stack.api();
    let runs = std::sync::Mutex::new(HashSet::new());
    eventually("full passes", HANG_LIMIT, async || {
        let connection = api.get("/v1/connections/default").await;
        let streams = connection["streams"].as_array()?.clone();
        let contacts = streams.into_iter().find(|it| it["name"] == "contacts")?;
        if contacts["reason"] == "full" && contacts["outcome"] == "succeeded" {
            let mut runs = runs.lock().unwrap();
            runs.insert(contacts["run_id"].to_string());
        }
        (runs.lock().unwrap().len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_over_an_unchanged_portal_write_nothing() {
    let stack = with_passes(700).start().await;
    stack.first_sync(json!({})).await;
    let before = stack.log().await.records.len();
    full_passes(&stack, 3).await;
    let log = stack.log().await;
    assert_eq!(log.records.len(), before);
    log.assert_exactly_once();

    // One change is one record, whichever runs meet it.
    let portal = stack.simulator.portal();
    let id = portal.ids("contacts")[7];
    portal
        .update("contacts", id, &[("jobtitle", "engineer")])
        .unwrap();
    stack.matches_truth("contacts").await;
    full_passes(&stack, 2).await;
    assert_eq!(stack.log().await.records.len(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_search_shows_is_found_by_passes_and_said_to_every_consumer() {
    let stack = with_passes(500).start().await;
    stack.first_sync(json!({})).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let archived = portal.archived_ids("contacts");
    portal.erase("contacts", ids[1]).unwrap();
    portal.erase("contacts", archived[1]).unwrap();
    portal.archive("contacts", ids[2]).unwrap();
    portal.restore("contacts", archived[2]).unwrap();
    portal.merge("contacts", ids[3], ids[4]).unwrap();
    portal
        .calculate("contacts", ids[5], &[("jobtitle", "calculated")])
        .unwrap();
    stack.matches_truth("contacts").await;
    let log = stack.log().await;
    truth::log_matches(&stack, &log, "contacts");
    log.assert_exactly_once();

    // A rebuild from the log alone has the same.
    crate::missing_state::rebuild(&stack).await;
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_delete_no_living_object() {
    let stack = with_passes(600).start().await;
    stack.first_sync(json!({})).await;
    let portal = stack.simulator.portal();
    let faults = stack.simulator.faults();
    for fault in [
        Fault::ListEnds { after_rows: 150 },
        Fault::ListEnds { after_rows: 0 },
        Fault::NoPaging { holding: None },
        Fault::RepeatPage { holding: None },
    ] {
        faults.push(Rule::next(Kind::List, fault).of("contacts").times(2));
        full_passes(&stack, 2).await;
    }
    let missing = Fault::RandomMisses {
        percent: 2.0,
        seed: 5,
    };
    faults.push(Rule::next(Kind::BatchRead, missing).always());
    let ids = portal.ids("contacts");
    portal
        .bulk("contacts", &ids, &[("jobtitle", "changed")])
        .unwrap();
    stack.matches_truth("contacts").await;
    full_passes(&stack, 2).await;
    let deleted = stack.log().await.records.into_iter().filter(|it| it.deleted);
    assert_eq!(deleted.count(), 0);
}
