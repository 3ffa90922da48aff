//! The log is a change log: what has not changed is not written, and what is gone is
//! said to every consumer, but only what is gone.

use std::collections::HashSet;

use harness::{HANG_LIMIT, Stack, StackBuilder, api::stream, eventually, truth};
use hubspot_sim::{Fault, FaultBody, Kind, Rule, Seen};
use serde_json::{Value, json};

use crate::reconciliations;

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
    let mut seen: Option<HashSet<String>> = None;
    let seen = std::sync::Mutex::new(&mut seen);
    eventually("full passes", HANG_LIMIT, async || {
        let answer = api.get("/v1/connections/default/runs").await;
        let runs = answer["results"].as_array()?.iter();
        let full = runs.filter(|it| it["stream"] == "contacts" && it["reason"] == "full");
        let (ended, open): (Vec<_>, Vec<_>) = full.partition(|it| it["outcome"] == "succeeded");
        let ids = |runs: &[&Value]| runs.iter().map(|it| it["run_id"].to_string()).collect();
        let mut seen = seen.lock().unwrap();
        // What had begun before does not count.
        let before = seen.get_or_insert_with(|| {
            let mut ids: HashSet<String> = ids(&ended);
            ids.extend(open.iter().map(|it| it["run_id"].to_string()));
            ids
        });
        let ended: HashSet<String> = ids(&ended);
        (ended.difference(before).count() >= count).then_some(())
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
    portal.erase("contacts", archived[0]).unwrap();
    portal.archive("contacts", ids[2]).unwrap();
    portal.restore("contacts", archived[1]).unwrap();
    portal.merge("contacts", ids[3], ids[4]).unwrap();
    portal
        .calculate("contacts", ids[5], &[("jobtitle", "calculated")])
        .unwrap();
    stack.matches_truth("contacts").await;
    let log = stack.log().await;
    truth::log_matches(&stack, &log, "contacts");
    log.assert_exactly_once();

    // A rebuild from the log alone has the same.
    stack.api().rebuild().await;
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
    let deleted = stack
        .log()
        .await
        .records
        .into_iter()
        .filter(|it| it.deleted);
    assert_eq!(deleted.count(), 0);
}

/// Numbers of contacts whose deletion is in the log.
async fn deletions(stack: &Stack) -> usize {
    let log = stack.log().await;
    log.records.iter().filter(|it| it.deleted).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_no_longer_sees_is_deleted_only_when_a_person_confirms_it() {
    let stack = Stack::with(600, 20).start().await;
    stack.first_sync(json!({"streams": ["contacts"]})).await;
    let view = Fault::PartialView {
        percent: 10.0,
        seed: 1,
    };
    let faults = stack.simulator.faults();
    faults.push(Rule::any(view).of("contacts").always());
    let api = stack.api();
    reconciliations::request(&api, "contacts").await;
    let path = "/v1/connections/default/reconciliations";
    let waiting = eventually("a pass whose deletions wait", HANG_LIMIT, async || {
        let answer = api.get(path).await;
        let mut results = answer["results"].as_array()?.iter();
        let found = results.find(|it| it["waits_for"].is_string())?;
        Some(found["id"].as_str()?.to_owned())
    })
    .await;
    assert_eq!(deletions(&stack).await, 0);

    let confirm = format!("{path}/{waiting}/confirm");
    let answer = api.send("POST", &confirm, None).await;
    assert!([200, 202].contains(&answer.status), "{}", answer.body);
    eventually("deletions", HANG_LIMIT, async || {
        (deletions(&stack).await > 500).then_some(())
    })
    .await;

    // They come back with the next pass that sees them.
    faults.clear();
    reconciliations::request(&api, "contacts").await;
    stack.matches_truth("contacts").await;
}

/// Waits until a contact has this value in ClickHouse.
async fn arrives(stack: &Stack, id: u64, jobtitle: &str) {
    let sql = format!("SELECT jobtitle FROM hubspot.contacts WHERE _object_id = {id}");
    stack.sql().until(&sql, jobtitle).await;
}

/// Every page of live contacts fails from now on.
fn no_pages() -> Rule {
    let fault = Fault::Status {
        code: 500,
        body: FaultBody::Json,
        retry_after: None,
    };
    Rule::next(Kind::List, fault).of("contacts").always()
}

async fn until_a_page_fails(stack: &Stack) {
    let failed = |seen: &Seen| seen.kind == Kind::List && seen.status == 500;
    eventually("a page of a list fails", HANG_LIMIT, async || {
        let requests = stack.simulator.requests().all();
        requests.iter().any(failed).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_while_a_page_of_the_backfill_keeps_failing() {
    let stack = Stack::with(400, 20).start().await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let faults = stack.simulator.faults();
    faults.push(no_pages().after(1));
    let api = stack.api();
    api.start("default", json!({"interval": "10s"})).await;
    until_a_page_fails(&stack).await;
    portal
        .update("contacts", ids[0], &[("jobtitle", "engineer")])
        .unwrap();
    arrives(&stack, ids[0], "engineer").await;
    let connection = api.get("/v1/connections/default").await;
    let phase = stream(&connection, "contacts")["phase"].as_str().unwrap();
    assert!(["backfill", "waiting"].contains(&phase), "{phase}");
    faults.clear();
    stack.matches_truth("contacts").await;
    stack.log().await.assert_exactly_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_while_a_page_of_a_full_pass_keeps_failing() {
    let stack = with_passes(400).start().await;
    stack.first_sync(json!({"interval": "10s"})).await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let faults = stack.simulator.faults();
    faults.push(no_pages());
    until_a_page_fails(&stack).await;
    for title in ["engineer", "director"] {
        portal
            .update("contacts", ids[0], &[("jobtitle", title)])
            .unwrap();
        arrives(&stack, ids[0], title).await;
    }
    faults.clear();
    full_passes(&stack, 1).await;
    stack.log().await.assert_exactly_once();
}
