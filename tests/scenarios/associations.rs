//! Streams of associations: what objects are associated with arrives, with its labels, and
//! what is no longer associated goes.

use std::collections::BTreeSet;

use harness::{HANG_LIMIT, Stack, eventually};
use hubspot_sim::{Change, Fault, FaultBody, Kind, Rule};
use serde_json::{Value, json};

use crate::reconciliations;

const STREAM: &str = "contacts>companies";

/// Two associated ids.
type Ends = (u64, u64);

/// What the simulator's live contacts are associated with.
fn truth(stack: &Stack) -> BTreeSet<Ends> {
    let portal = stack.simulator.portal();
    let of = |contact: u64| {
        let companies = portal.associated("contacts", contact, "companies");
        companies.into_iter().map(move |company| (contact, company))
    };
    portal.ids("contacts").into_iter().flat_map(of).collect()
}

/// Waits until the tables and the view of associations show the truth.
async fn matches_truth(stack: &Stack) {
    stack.matches_truth(STREAM).await;
    let reader = stack.sql_as_reader();
    let sql = "SELECT DISTINCT from_id, to_id FROM hubspot.associations WHERE from_type = \
               'contacts' AND to_type = 'companies' FORMAT JSONCompactEachRow";
    let truth = truth(stack);
    eventually("the view shows the truth", HANG_LIMIT, async || {
        let rows = reader.try_query(sql).await.ok()?;
        let ends = |row: &str| {
            let [from, to]: [Value; 2] = serde_json::from_str(row).ok()?;
            let id = |it: Value| it.as_str().map_or(it.as_u64(), |text| text.parse().ok());
            Some((id(from)?, id(to)?))
        };
        let found: Option<BTreeSet<Ends>> = rows.lines().map(ends).collect();
        (found? == truth).then_some(())
    })
    .await;
}

/// A full pass over the stream, after which ClickHouse has what HubSpot has.
async fn reconcile(stack: &Stack) {
    let compared = reconciliations::reconcile(stack, STREAM).await;
    assert_eq!(compared["still_different"], 0, "{compared}");
    assert_eq!(
        compared["in_hubspot"], compared["in_warehouse"],
        "{compared}"
    );
}

fn change(stack: &Stack, is_new: bool, (contact, company): Ends, label: Option<&str>) {
    let (from_type, to_type) = ("contacts".to_owned(), "companies".to_owned());
    let change = if is_new {
        Change::Associate {
            from_type,
            from: contact,
            to_type,
            to: company,
            label: label.map(str::to_owned),
        }
    } else {
        Change::Dissociate {
            from_type,
            from: contact,
            to_type,
            to: company,
        }
    };
    stack.simulator.portal().apply(&change).unwrap();
}

/// How many records of the stream the log has.
async fn written(stack: &Stack) -> usize {
    let log = stack.log().await;
    let records = log.records.iter();
    records.filter(|it| it.object_type == STREAM).count()
}

/// The path of what a contact is associated with.
fn companies_of(contact: u64) -> String {
    format!("/v1/connections/default/records/contacts/{contact}/associations/companies")
}

/// A stack that has made a first sync.
async fn synced() -> Stack {
    let stack = Stack::with(300, 30).start().await;
    let streams = ["contacts", "companies", STREAM];
    stack
        .first_sync(json!({"streams": streams, "interval": "1h"}))
        .await;
    matches_truth(&stack).await;
    stack
}

/// The contacts that are associated with no company.
fn lonely(stack: &Stack) -> Vec<u64> {
    let portal = stack.simulator.portal();
    let mut people = portal.ids("contacts");
    people.retain(|it| portal.associated("contacts", *it, "companies").is_empty());
    people
}

#[tokio::test(flavor = "multi_thread")]
async fn associations_arrive_once_with_their_labels() {
    let stack = synced().await;
    let portal = stack.simulator.portal();
    let people = portal.ids("contacts");
    assert_eq!(written(&stack).await, people.len());

    // Nothing has changed, so nothing is written.
    reconcile(&stack).await;
    stack.sync().await;
    assert_eq!(written(&stack).await, people.len());

    // With a change of its contact an association arrives at once.
    let (contact, company) = (lonely(&stack)[0], portal.ids("companies")[0]);
    change(&stack, true, (contact, company), Some("Billing contact"));
    let values = [("firstname", "Ada")];
    portal.update("contacts", contact, &values).unwrap();
    stack.sync().await;
    matches_truth(&stack).await;
    let shown = stack.api().get(&companies_of(contact)).await;
    let expected = |category: &str, type_id: i64, label: Option<&str>| json!({"id": company.to_string(), "category": category, "type_id": type_id, "label": label});
    assert_eq!(
        shown["results"],
        json!([
            expected("HUBSPOT_DEFINED", 279, None),
            expected("USER_DEFINED", 1, Some("Billing contact")),
        ])
    );
    let labels = "SELECT label, from_id FROM hubspot.associations WHERE label IS NOT NULL";
    let labels = stack.sql_as_reader().query(labels).await;
    assert_eq!(labels.trim(), format!("Billing contact\t{contact}"));

    let other = companies_of(contact).replace("companies", "deals");
    let answer = stack.api().send("GET", &other, None).await;
    let code = json!("stream_not_found");
    assert_eq!((answer.status, &answer.body["code"]), (404, &code));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pass_finds_what_came_and_went_without_a_change_of_its_object() {
    let stack = synced().await;
    let portal = stack.simulator.portal();
    let gone = truth(&stack).into_iter().next().unwrap();
    change(&stack, false, gone, None);
    let came = (lonely(&stack)[1], portal.ids("companies")[1]);
    change(&stack, true, came, None);
    let before = written(&stack).await;
    reconcile(&stack).await;
    matches_truth(&stack).await;
    assert_eq!(written(&stack).await, before + 2);
    let api = stack.api();
    let shown = api.get(&companies_of(gone.0)).await;
    assert_eq!(shown["results"], json!([]));
    let of_stream = "/v1/connections/default/records/contacts%3Ecompanies";
    let history = format!("{of_stream}/{}/history", gone.0);
    let versions = api.get(&history).await;
    assert_eq!(
        versions["results"].as_array().unwrap().len(),
        2,
        "{versions}"
    );

    // An archived contact has no associations any more.
    portal.archive("contacts", came.0).unwrap();
    reconcile(&stack).await;
    matches_truth(&stack).await;
    let answer = api.send("GET", &companies_of(came.0), None).await;
    let code = json!("record_not_found");
    assert_eq!((answer.status, &answer.body["code"]), (404, &code));

    // All of it comes from the log again.
    api.rebuild().await;
    matches_truth(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_associations_are_refused_is_named_and_all_others_arrive() {
    let stack = Stack::with(120, 12).start().await;
    let contact = stack.simulator.portal().ids("contacts")[50];
    let refused = Fault::FailingObjects {
        ids: vec![contact],
        code: 400,
        body: FaultBody::Json,
    };
    let faults = stack.simulator.faults();
    faults.push(Rule::next(Kind::Associations, refused).always());
    let settings = json!({"streams": [STREAM], "interval": "1h"});
    stack.first_sync(settings).await;
    let others = stack.simulator.portal().ids("contacts").len() - 1;
    assert_eq!(written(&stack).await, others);
    let runs = stack.api().get("/v1/connections/default/runs").await;
    let first = runs["results"].as_array().unwrap().last().unwrap();
    assert_eq!(first["unreadable_ids"], json!([contact.to_string()]));

    faults.clear();
    reconcile(&stack).await;
    matches_truth(&stack).await;
}
