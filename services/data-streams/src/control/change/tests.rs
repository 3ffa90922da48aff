//! Changes of a desired state, one after the other and crossed.

use proptest::prelude::*;

use super::{
    ConnectionChange::{Delete, Replace, Start, Stop},
    *,
};
use crate::control::{Condition, revision};

/// The state after a change, while no request is carried out.
fn after(change: &ConnectionChange, before: Option<&Command>) -> Command {
    change.apply("default", before, &|_| false)
}

fn command(
    id: &str,
    based_on: Option<&str>,
    change: &ConnectionChange,
    before: Option<&Command>,
) -> Command {
    let mut command = after(change, before);
    command.command_id = id.to_owned();
    command.based_on = based_on.map(ToOwned::to_owned);
    command
}

/// What crossed commands come to, without any condition.
fn crossed(log: &[Command], own: &str, change: &ConnectionChange) -> Command {
    let merged = merge("default", log, own, &change.clone().into(), &|_| false).unwrap();
    assert!(!merged.is_refused);
    merged.command
}

fn interval(ms: i64) -> ConnectionSettings {
    ConnectionSettings {
        interval_ms: Some(ms),
        ..ConnectionSettings::default()
    }
}

fn sync(id: &str, kind: RequestKind) -> ConnectionChange {
    ConnectionChange::Sync {
        streams: Some(vec!["contacts".to_owned()]),
        kind,
        request_id: id.to_owned(),
        at: 1,
    }
}

#[test]
fn a_new_connection_is_stopped_and_a_replaced_one_keeps_its_state() {
    let new = after(&Replace(ConnectionSettings::default()), None);
    assert_eq!(new.state, DesiredState::Stopped);
    let running = after(&Start(interval(60_000)), Some(&new));
    let replaced = after(&Replace(ConnectionSettings::default()), Some(&running));
    assert_eq!(replaced.state, DesiredState::Running);
    assert_eq!(replaced.interval_ms, 300_000);
}

#[test]
fn a_start_changes_only_the_given_settings() {
    let first = after(&Start(interval(60_000)), None);
    let again = after(&Start(ConnectionSettings::default()), Some(&first));
    assert_eq!(again.interval_ms, 60_000);
}

#[test]
fn a_connection_created_again_after_its_deletion_has_the_defaults() {
    let first = after(&Start(interval(60_000)), None);
    let deleted = after(&Delete, Some(&first));
    let back = after(&Start(ConnectionSettings::default()), Some(&deleted));
    assert_eq!(back.interval_ms, 300_000);
}

#[test]
fn a_request_is_ignored_while_an_earlier_one_is_unfinished() {
    let first = after(&sync("a", RequestKind::Sync), None);
    let second = after(&sync("b", RequestKind::Sync), Some(&first));
    assert_eq!(
        second.requests.first().map(|it| it.request_id.as_str()),
        Some("a")
    );
    let done = sync("b", RequestKind::Sync).apply("default", Some(&first), &|_| true);
    assert_eq!(
        done.requests.first().map(|it| it.request_id.as_str()),
        Some("b")
    );
}

#[test]
fn a_request_replaces_one_of_a_lower_rank_and_never_the_reverse() {
    let ranks = [
        RequestKind::Sync,
        RequestKind::Reconcile,
        RequestKind::Resync,
    ];
    for (low, first) in ranks.into_iter().enumerate() {
        for (high, second) in ranks.into_iter().enumerate() {
            let asked = after(&sync("a", first), None);
            let asked = after(&sync("b", second), Some(&asked));
            let expected = if high > low { "b" } else { "a" };
            let open = asked.requests.first().map(|it| it.request_id.as_str());
            assert_eq!(open, Some(expected), "{second:?} after {first:?}");
        }
    }
}

fn confirm(stream: &str, run_id: &str) -> ConnectionChange {
    ConnectionChange::Confirm {
        stream: stream.to_owned(),
        run_id: run_id.to_owned(),
    }
}

/// Stream and pass of each confirmation.
fn confirmed(command: &Command) -> Vec<(&str, &str)> {
    let confirmed = command.confirmed.iter();
    confirmed.map(|it| (&*it.stream, &*it.run_id)).collect()
}

#[test]
fn a_confirmation_replaces_the_one_of_its_stream_and_lasts_until_the_connection_is_deleted() {
    let first = after(&confirm("contacts", "1"), None);
    let second = after(&confirm("companies", "2"), Some(&first));
    let third = after(&confirm("contacts", "3"), Some(&second));
    let expected = [("companies", "2"), ("contacts", "3")];
    assert_eq!(confirmed(&third), expected);
    assert!(!same_content(&second, &third));
    let replaced = after(&Replace(ConnectionSettings::default()), Some(&third));
    assert_eq!(confirmed(&replaced), expected);
    let stopped = after(&Stop, Some(&replaced));
    assert_eq!(confirmed(&stopped), expected);
    assert!(after(&Delete, Some(&stopped)).confirmed.is_empty());
}

#[test]
fn a_confirmation_that_crossed_another_command_is_kept() {
    let x = command("x", None, &Start(ConnectionSettings::default()), None);
    let change = confirm("contacts", "1");
    let (stop, own) = (Stop, command("c", Some("x"), &change, Some(&x)));
    let other = command("p", Some("x"), &stop, Some(&x));
    let log = [x.clone(), own.clone(), other.clone()];
    let merged = crossed(&log, "p", &stop);
    assert_eq!(confirmed(&merged), [("contacts", "1")]);
    let log = [x, other, own];
    let merged = crossed(&log, "c", &change);
    assert_eq!(confirmed(&merged), [("contacts", "1")]);
    assert_eq!(merged.state, DesiredState::Stopped);
}

#[test]
fn a_stop_cancels_open_requests() {
    let asked = after(&sync("a", RequestKind::Sync), None);
    assert!(after(&Stop, Some(&asked)).requests.is_empty());
}

#[test]
fn two_changes_that_crossed_are_both_applied() {
    let x = command("x", None, &Start(ConnectionSettings::default()), None);
    let stop = command("p", Some("x"), &Stop, Some(&x));
    let change = Start(interval(60_000));
    let own = command("c", Some("x"), &change, Some(&x));
    let merged = crossed(&[x.clone(), stop, own], "c", &change);
    assert_eq!(
        (merged.state, merged.interval_ms),
        (DesiredState::Running, 60_000)
    );

    let faster = Replace(interval(60_000));
    let stop = command("p", Some("x"), &Stop, Some(&x));
    let own = command("c", Some("x"), &faster, Some(&x));
    let merged = crossed(&[x, stop, own], "c", &faster);
    assert_eq!(
        (merged.state, merged.interval_ms),
        (DesiredState::Stopped, 60_000)
    );
}

#[test]
fn a_crossed_change_whose_condition_does_not_hold_is_left_out() {
    let x = command("x", None, &Start(ConnectionSettings::default()), None);
    let stop = command("p", Some("x"), &Stop, Some(&x));
    let change = Start(interval(60_000));
    let own = command("c", Some("x"), &change, Some(&x));
    for (condition, is_refused) in [
        (Condition::Revision(vec![revision(&x)]), true),
        (Condition::Revision(vec![revision(&stop)]), false),
        (Condition::Exists, false),
    ] {
        let submission = Submission {
            change: change.clone(),
            condition,
            key: None,
        };
        let log = [x.clone(), stop.clone(), own.clone()];
        let merged = merge("default", &log, "c", &submission, &|_| false).unwrap();
        assert_eq!(merged.is_refused, is_refused, "{submission:?}");
        let expected = if is_refused { &stop } else { &own };
        assert_eq!(revision(&merged.command), revision(expected));
    }
}

#[test]
fn a_command_based_on_an_overwritten_one_adds_only_its_own_difference() {
    let x = command("x", None, &Start(ConnectionSettings::default()), None);
    let p = command("p", Some("x"), &sync("r", RequestKind::Sync), Some(&x));
    let own_change = Start(interval(60_000));
    let own = command("c", Some("x"), &own_change, Some(&x));
    let on_own = command("e", Some("c"), &Stop, Some(&own));
    let merged = crossed(&[x, p, own, on_own], "c", &own_change);
    assert_eq!(merged.state, DesiredState::Stopped);
    assert_eq!(merged.interval_ms, 60_000);
    assert_eq!(merged.requests.len(), 1);
}

proptest! {
    /// Two clients change different settings of the same state: both changes
    /// hold, in either order.
    #[test]
    fn two_crossed_changes_of_different_settings_both_hold(first_is_interval in any::<bool>(), ms in 10_000i64..1_000_000) {
        let x = command("x", None, &Start(ConnectionSettings::default()), None);
        let a = Start(interval(ms));
        let b = Start(ConnectionSettings {
            destination: Some("elsewhere".to_owned()),
            ..ConnectionSettings::default()
        });
        let (first, second) = if first_is_interval { (&a, &b) } else { (&b, &a) };
        let log = [
            x.clone(),
            command("1", Some("x"), first, Some(&x)),
            command("2", Some("x"), second, Some(&x)),
        ];
        let merged = crossed(&log, "2", second);
        prop_assert_eq!(merged.interval_ms, ms);
        prop_assert_eq!(merged.destination, "elsewhere");
    }
}
