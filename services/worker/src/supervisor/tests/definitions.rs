//! The numbers of a portal's definitions only grow, whoever writes them.

use schemas::{
    CrmRecord, Definitions,
    DesiredState::{Deleted, Running, Stopped},
    Property, unframe,
};

use super::harness::{Harness, IDS, command, is_idle};
use crate::{
    messages::{self, Messages},
    ownership::Event,
};

/// The account of every credential in these tests.
const PORTAL: i64 = 7;
/// Key of its contacts' definitions.
const KEY: &str = "7/contacts";

/// A worker whose connection `a` has written definitions twice.
async fn with_two_numbers() -> Harness {
    let mut harness = Harness::with_partition();
    for credential in ["env:a", "env:b"] {
        harness.sources.set_account(credential, Ok(PORTAL));
    }
    harness.command(&command("c1", "a", Running));
    harness.until_stream("a/contacts", is_idle).await;
    harness.until_stream("a/companies", is_idle).await;
    harness.sources.define_property("second");
    until_number(&harness, 2).await;
    harness
}

/// Lets runs be made until the definitions have this number.
async fn until_number(harness: &Harness, number: i64) {
    let find = || {
        let last = harness.log.definitions(KEY).pop()?;
        (last.version >= number).then_some(())
    };
    harness
        .changes
        .until_as_minutes_pass("the definitions", find)
        .await;
}

fn numbers(harness: &Harness) -> Vec<i64> {
    let all = harness.log.definitions(KEY);
    all.iter().map(|it| it.version).collect()
}

/// The numbers that the last records name.
fn named_by_records(harness: &Harness, count: usize) -> Vec<i64> {
    let committed = harness.log.committed();
    let records = committed
        .iter()
        .rev()
        .filter(|it| it.topic == harness.log.topics.records && it.key.starts_with(KEY));
    records
        .take(count)
        .map(|it| {
            let payload = it.payload.as_ref().unwrap();
            let datum = unframe(payload).unwrap().datum;
            CrmRecord::decode(datum).unwrap().definitions_version
        })
        .collect()
}

async fn run_again(harness: &mut Harness, id: &str, connection: &str) {
    let before = harness.log.records().len();
    harness.command(&command(id, connection, Running));
    harness.until_connection(connection, "running", id).await;
    // The clock may move to a further run before this is looked at.
    let find = || (harness.log.records().len() >= before + 6).then_some(());
    harness.changes.until("both streams are read", find).await;
    let key = format!("{connection}/contacts");
    harness.until_stream(&key, is_idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_deleted_and_made_again_continues_the_numbers() {
    let mut harness = with_two_numbers().await;
    harness.command(&command("c2", "a", Deleted));
    harness.until_connection("a", "deleted", "c2").await;
    run_again(&mut harness, "c3", "a").await;
    assert_eq!(numbers(&harness), [1, 2], "nothing has changed");
    assert_eq!(named_by_records(&harness, 3), [2, 2, 2]);

    harness.sources.define_property("third");
    until_number(&harness, 3).await;
    assert_eq!(numbers(&harness), [1, 2, 3]);
    let last = harness.log.definitions(KEY).pop().unwrap();
    let names: Vec<_> = last.properties.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["email", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_gets_the_portal_of_another_continues_the_numbers() {
    let mut harness = with_two_numbers().await;
    harness.command(&command("c2", "a", Deleted));
    harness.until_connection("a", "deleted", "c2").await;
    harness.sources.define_property("third");
    run_again(&mut harness, "c3", "b").await;
    assert_eq!(numbers(&harness), [1, 2, 3]);
    assert_eq!(named_by_records(&harness, 3), [3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_portal_that_came_from_another_worker_continues_the_numbers() {
    let mut harness = Harness::with_partition();
    // The other worker writes after this one took its partition over.
    while !harness.context.health().failures().is_empty() {
        tokio::task::yield_now().await;
    }
    let messages = Messages::new(harness.log.topics.clone(), IDS, messages::OWN).unwrap();
    let written = Definitions {
        portal_id: PORTAL,
        object_type: "contacts".to_owned(),
        version: 9,
        fetched_at: 0,
        properties: vec![Property {
            name: "withdrawn".to_owned(),
            ..Property::default()
        }],
    };
    harness
        .log
        .write_by_another(messages.definitions(&written).unwrap());
    harness.sources.set_account("env:b", Ok(PORTAL));
    run_again(&mut harness, "c1", "b").await;
    assert_eq!(numbers(&harness), [9, 10]);
    let last = harness.log.definitions(KEY).pop().unwrap();
    let gone: Vec<_> = last.properties.iter().map(|it| it.gone).collect();
    assert_eq!(gone, [true, false], "nothing is lost: {last:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_continues_the_numbers() {
    let mut harness = with_two_numbers().await;
    harness.revoke().await;
    harness.assign();
    harness.sources.define_property("third");
    harness.command(&command("c2", "a", Running));
    harness.send(Event::End(0));
    harness.until_connection("a", "running", "c2").await;
    until_number(&harness, 3).await;
    assert_eq!(numbers(&harness), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_stopped_before_its_first_page_gets_its_portals_definitions() {
    let mut harness = Harness::with_partition();
    harness.sources.set_account("env:a", Ok(PORTAL));
    harness.sources.hold("contacts");
    harness.command(&command("c1", "a", Running));
    harness.until_stream("a/companies", is_idle).await;
    harness.until_requested("contacts").await;
    // The status of contacts is in the log, but no checkpoint.
    harness.command(&command("c2", "a", Stopped));
    harness.until_connection("a", "stopped", "c2").await;
    assert_eq!(harness.log.checkpoint("a/contacts"), None);
    assert!(harness.log.stream("a/contacts").is_some());
    harness.revoke().await;
    harness.sources.release();
    harness.assign();
    harness.command(&command("c3", "a", Stopped));
    harness.send(Event::End(0));
    harness.until_connection("a", "stopped", "c3").await;
    harness.command(&command("c4", "a", Running));
    harness.until_stream("a/contacts", is_idle).await;
    assert_eq!(numbers(&harness), [1]);
    assert_eq!(named_by_records(&harness, 3), [1, 1, 1]);
}
