//! Each check finds what breaks its rule.

use std::collections::BTreeMap;

use hubspot_sim::{Digest, TrueObject, Truth, object_hash};

use super::*;
use crate::{
    RecordLog,
    history::{FinishedRun, History},
    log::Record,
    replica,
};

fn record(offset: i64, id: i64, updated_at: i64) -> Record {
    Record {
        at: (0, offset),
        key: format!("7/contacts/{id}"),
        written_at: offset,
        portal_id: 7,
        run_id: "a".to_owned(),
        reason: "backfill".to_owned(),
        object_type: "contacts".to_owned(),
        object_id: id,
        updated_at,
        archived: false,
        deleted: false,
        version: schemas::version(updated_at, offset),
        fetch_sequence: offset,
        content_hash: 0,
        properties: BTreeMap::from([("email".to_owned(), "a@b".to_owned())]),
    }
}

fn log(records: Vec<Record>) -> RecordLog {
    RecordLog { records }
}

fn truth(objects: &[(u64, i64)]) -> Truth {
    let objects: Vec<_> = objects
        .iter()
        .map(|(id, updated_at_ms)| TrueObject {
            id: *id,
            created_at_ms: 0,
            updated_at_ms: *updated_at_ms,
            archived: false,
            properties: BTreeMap::from([("email".to_owned(), "a@b".to_owned())]),
        })
        .collect();
    let digest: Digest = objects
        .iter()
        .map(|it| object_hash(it.id, it.updated_at_ms, false, [("email", "a@b")]))
        .collect();
    Truth {
        count: objects.len() as u64,
        archived: 0,
        digest,
        now_ms: 0,
        objects,
    }
}

fn rules(violations: &[Violation]) -> Vec<(Rule, &str)> {
    violations
        .iter()
        .map(|it| (it.rule, it.object.as_str()))
        .collect()
}

#[test]
fn a_version_is_a_duplicate_within_one_run_only() {
    let mut twice = record(1, 5, 100);
    twice.run_id = "b".to_owned();
    assert_eq!(
        no_duplicates(&log(vec![record(0, 5, 100), twice.clone()])),
        []
    );
    twice.run_id = "a".to_owned();
    let found = no_duplicates(&log(vec![record(0, 5, 100), twice]));
    assert_eq!(rules(&found), [(Rule::NoDuplicate, "7/contacts/5")]);
    assert!(found[0].to_string().contains("7/contacts/5: duplicate"));
}

#[test]
fn a_version_older_than_the_one_before_it_is_found() {
    let forth = log(vec![record(0, 5, 100), record(1, 6, 50), record(2, 5, 101)]);
    assert_eq!(in_order(&forth), []);
    let back = in_order(&log(vec![record(0, 5, 100), record(1, 5, 99)]));
    assert_eq!(rules(&back), [(Rule::Order, "7/contacts/5")]);
    let mut same_sequence = record(1, 5, 100);
    same_sequence.version = record(0, 5, 100).version;
    let still = in_order(&log(vec![record(0, 5, 100), same_sequence]));
    assert_eq!(rules(&still), [(Rule::Order, "7/contacts/5")]);
}

#[test]
fn missing_unexpected_and_different_objects_are_found() {
    let log = log(vec![
        record(0, 1, 100),
        record(1, 2, 100),
        record(2, 3, 100),
    ]);
    let found = compacted(&log, 7, "contacts");
    let whole = truth(&[(1, 100), (2, 100), (3, 100)]);
    assert_eq!(same(&found, &whole, "contacts"), []);
    let other = truth(&[(1, 100), (2, 101), (4, 100)]);
    assert_eq!(
        rules(&same(&found, &other, "contacts")),
        [
            (Rule::Same, "contacts/2"),
            (Rule::Present, "contacts/4"),
            (Rule::Unexpected, "contacts/3")
        ]
    );
}

#[test]
fn a_different_value_is_named_by_its_property() {
    let mut changed = record(0, 1, 100);
    changed
        .properties
        .insert("email".to_owned(), "other".to_owned());
    changed.properties.insert("empty".to_owned(), String::new());
    let found = compacted(&log(vec![changed]), 7, "contacts");
    let violations = same(&found, &truth(&[(1, 100)]), "contacts");
    assert_eq!(rules(&violations), [(Rule::Same, "contacts/1")]);
    assert!(
        violations[0].detail.contains("{\"email\"}"),
        "{violations:?}"
    );
}

#[test]
fn a_deleted_object_is_not_what_a_compacted_reader_ends_with() {
    let mut deletion = record(1, 1, 200);
    deletion.deleted = true;
    let log = log(vec![record(0, 1, 100), deletion]);
    assert_eq!(compacted(&log, 7, "contacts"), BTreeMap::new());
    assert_eq!(compacted(&log, 8, "contacts"), BTreeMap::new());
}

#[test]
fn a_compacted_reader_ends_with_the_last_record_whatever_its_time() {
    let log = log(vec![record(0, 1, 100), record(1, 1, 90)]);
    assert_eq!(compacted(&log, 7, "contacts")[&1].updated_at, 90);
}

#[test]
fn what_was_written_at_rest_and_deletions_of_living_objects_are_found() {
    let mut deletion = record(2, 1, 100);
    deletion.deleted = true;
    let before = log(vec![record(0, 1, 100), record(1, 2, 100)]);
    let after = log([before.records.clone(), vec![deletion]].concat());
    assert_eq!(replica::written_at_rest(&before, &before), []);
    let written = replica::written_at_rest(&before, &after);
    assert_eq!(rules(&written), [(Rule::Rest, "7/contacts/1")]);
    let of = (7, "contacts");
    let alive = |truth: Truth| replica::deleted_alive(&after, of, &truth, |_| false);
    assert_eq!(alive(truth(&[(2, 100)])), []);
    let found = alive(truth(&[(1, 100), (2, 100)]));
    assert_eq!(rules(&found), [(Rule::Alive, "7/contacts/1")]);
}

#[test]
fn a_different_digest_is_found() {
    let found = compacted(&log(vec![record(0, 1, 100)]), 7, "contacts");
    let mut wrong = truth(&[(1, 100)]);
    wrong.digest = Digest(3);
    let violations = same(&found, &wrong, "contacts");
    assert_eq!(rules(&violations), [(Rule::Same, "contacts/0")]);
}

#[test]
fn a_version_that_a_run_must_have_read_and_that_is_not_in_the_log_is_found() {
    let mut history = History::default();
    history.version_began("contacts", 1, 100);
    history.version_ended("contacts", 1, 50_000);
    history.version_began("contacts", 1, 50_000);
    let run = |cursor, ended_at, written_at| FinishedRun {
        portal_id: 7,
        stream: "contacts".to_owned(),
        cursor,
        ended_at,
        written_at,
    };
    let there = log(vec![record(0, 1, 100)]);
    assert_eq!(history.lost(7, &there, &[run(1_000, 2_000, 5)]), []);
    // The run had not read so far, or the version was replaced before it ended.
    let empty = log(vec![]);
    assert_eq!(history.lost(7, &empty, &[run(100, 2_000, 5)]), []);
    assert_eq!(history.lost(7, &empty, &[run(1_000, 49_000, 5)]), []);
    // The run belongs to another portal.
    assert_eq!(history.lost(8, &empty, &[run(1_000, 2_000, 5)]), []);
    let lost = history.lost(7, &empty, &[run(1_000, 2_000, 5)]);
    assert_eq!(rules(&lost), [(Rule::Version, "contacts/1")]);
    let late = log(vec![record(60_000, 1, 100)]);
    let lost = history.lost(7, &late, &[run(1_000, 2_000, 5)]);
    assert_eq!(rules(&lost), [(Rule::Version, "contacts/1")]);
}

#[test]
fn a_version_is_not_compared_if_hubspot_answered_wrongly_while_it_was_read() {
    let mut history = History::default();
    history.version_began("contacts", 1, 10_000);
    let run = FinishedRun {
        portal_id: 7,
        stream: "contacts".to_owned(),
        cursor: 20_000,
        ended_at: 21_000,
        written_at: 5,
    };
    history.answers_were_wrong(1_000, 5_000);
    history.answers_were_wrong(30_000, 40_000);
    assert_eq!(
        history
            .lost(7, &log(vec![]), std::slice::from_ref(&run))
            .len(),
        1
    );
    history.answers_were_wrong(15_000, 16_000);
    assert_eq!(history.lost(7, &log(vec![]), &[run]), []);
}
