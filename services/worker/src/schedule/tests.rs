//! Which run is due, and when the next one is.

use proptest::{option, prelude::*};
use schemas::Run;

use super::*;

const NOW: Millis = 1_800_000_000_000;
const INTERVAL: Millis = 5 * MINUTE;

fn running() -> StreamDemand<'static> {
    StreamDemand {
        running: true,
        interval: INTERVAL,
        request: None,
        rechecks_from: None,
    }
}

fn idle() -> Checkpoint {
    Checkpoint {
        cursor: Some(NOW - 20_000),
        last_started_at: Some(NOW - MINUTE),
        last_late_at: Some(NOW - 2 * MINUTE),
        last_archived_at: Some(NOW - 2 * MINUTE),
        last_full_at: Some(NOW - HOUR),
        ..Checkpoint::default()
    }
}

fn request(kind: RequestKind) -> Request {
    Request {
        stream: "contacts".to_owned(),
        request_id: "r2".to_owned(),
        kind,
        requested_at: NOW,
    }
}

#[track_caller]
fn check(checkpoint: &Checkpoint, demand: &StreamDemand<'_>, expected: Reason) -> RunPlan {
    match due(checkpoint, demand, &Settings::default(), NOW) {
        Due::Now(plan) => {
            assert_eq!(plan.reason, expected);
            plan
        }
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

fn at(checkpoint: &Checkpoint) -> Due {
    due(checkpoint, &running(), &Settings::default(), NOW)
}

#[test]
fn the_interval_counts_from_the_last_start() {
    assert_eq!(at(&idle()), Due::At(NOW - MINUTE + INTERVAL));
}

#[test]
fn a_missed_run_happens_once() {
    let mut checkpoint = idle();
    checkpoint.last_started_at = Some(NOW - 3 * INTERVAL);
    check(&checkpoint, &running(), Reason::Incremental);
    checkpoint.last_started_at = Some(NOW);
    assert_eq!(at(&checkpoint), Due::At(NOW + INTERVAL));
}

#[test]
fn a_start_in_the_future_counts_as_due() {
    let checkpoint = Checkpoint {
        last_started_at: Some(NOW + HOUR),
        ..idle()
    };
    check(&checkpoint, &running(), Reason::Incremental);
}

#[test]
fn runs_beside_the_interval_come_first_in_their_order() {
    let mut checkpoint = Checkpoint {
        last_started_at: Some(NOW - HOUR),
        last_late_at: None,
        last_archived_at: None,
        last_full_at: None,
        ..idle()
    };
    check(&checkpoint, &running(), Reason::Full);
    let spent = StreamDemand {
        rechecks_from: Some(NOW + HOUR),
        ..running()
    };
    check(&checkpoint, &spent, Reason::Incremental);
    checkpoint.last_full_at = Some(NOW - 2 * HOUR);
    check(&checkpoint, &running(), Reason::Archived);
    checkpoint.last_archived_at = Some(NOW);
    check(&checkpoint, &running(), Reason::Late);
    checkpoint.last_late_at = Some(NOW);
    check(&checkpoint, &running(), Reason::Incremental);
}

#[test]
fn a_new_property_makes_a_full_pass_due() {
    check(
        &Checkpoint {
            full_wanted: true,
            ..idle()
        },
        &running(),
        Reason::Full,
    );
}

#[test]
fn an_unfinished_run_comes_first_and_a_stop_gives_it_another_id() {
    let run = Run {
        run_id: "a".to_owned(),
        reason: "late".to_owned(),
        ..Run::default()
    };
    let mut checkpoint = Checkpoint {
        run: Some(run),
        full_wanted: true,
        ..idle()
    };
    assert_eq!(
        check(&checkpoint, &running(), Reason::Late).start,
        Start::Resume
    );
    assert!(end_by_stop(&mut checkpoint, "b".to_owned()));
    assert_eq!(
        check(&checkpoint, &running(), Reason::Late).start,
        Start::Resume
    );
    assert_eq!(checkpoint.run.map(|run| run.run_id).as_deref(), Some("b"));
}

#[test]
fn a_start_after_a_stop_is_due_at_once() {
    let mut checkpoint = idle();
    assert!(end_by_stop(&mut checkpoint, "b".to_owned()));
    check(&checkpoint, &running(), Reason::Incremental);
    // A second stop has nothing to write.
    assert!(!end_by_stop(&mut checkpoint, "c".to_owned()));

    // The run under way may read nothing of what changed after the stop, so another
    // follows it.
    let mut checkpoint = Checkpoint {
        run: Some(Run {
            reason: "archived".to_owned(),
            ..Run::default()
        }),
        ..idle()
    };
    assert!(end_by_stop(&mut checkpoint, "b".to_owned()));
    check(&checkpoint, &running(), Reason::Archived);
    checkpoint.run = None;
    check(&checkpoint, &running(), Reason::Incremental);
}

#[test]
fn what_seems_to_be_gone_is_read_again_before_a_request_that_waits_for_it_is_done() {
    let mut checkpoint = Checkpoint {
        confirm_at: Some(NOW),
        confirm_request: Some("r1".to_owned()),
        ..idle()
    };
    let stopped = || StreamDemand {
        running: false,
        ..running()
    };
    let resync = Request {
        request_id: "r1".to_owned(),
        ..request(RequestKind::Resync)
    };
    let demands = [running(), stopped()].map(|demand| StreamDemand {
        request: Some(&resync),
        ..demand
    });
    for demand in &demands {
        let plan = check(&checkpoint, demand, Reason::Confirm);
        assert_eq!(plan.request_id.as_deref(), Some("r1"));
    }
    checkpoint.confirm_at = Some(NOW + 30_000);
    let later = |demand| due(&checkpoint, demand, &Settings::default(), NOW);
    for demand in &demands {
        assert!(matches!(later(demand), Due::At(at) if at <= NOW + 30_000));
    }
    // A stopped connection reads nothing for itself.
    assert_eq!(later(&stopped()), Due::Never);
}

#[test]
fn a_request_runs_once_even_on_a_stopped_connection() {
    let stopped = StreamDemand {
        running: false,
        ..running()
    };
    for (kind, reason) in [
        (RequestKind::Sync, Reason::Requested),
        (RequestKind::Resync, Reason::Full),
    ] {
        let request = request(kind);
        let demand = StreamDemand {
            request: Some(&request),
            ..stopped
        };
        let plan = check(&idle(), &demand, reason);
        assert_eq!(plan.request_id.as_deref(), Some("r2"));
        check(
            &Checkpoint {
                cursor: None,
                ..idle()
            },
            &demand,
            Reason::Backfill,
        );
        let done = Checkpoint {
            request_done: Some("r2".to_owned()),
            ..idle()
        };
        assert_eq!(due(&done, &demand, &Settings::default(), NOW), Due::Never);
    }
    assert_eq!(
        due(&idle(), &stopped, &Settings::default(), NOW),
        Due::Never
    );
}

#[test]
fn on_a_stopped_connection_a_suspended_run_becomes_the_requests_run_or_is_dropped() {
    let sync = request(RequestKind::Sync);
    let demand = StreamDemand {
        running: false,
        request: Some(&sync),
        ..running()
    };
    for (reason, expected, start) in [
        ("incremental", Reason::Incremental, Start::Resume),
        ("full", Reason::Requested, Start::New),
        ("late", Reason::Requested, Start::New),
    ] {
        let run = Run {
            reason: reason.to_owned(),
            ..Run::default()
        };
        let plan = check(
            &Checkpoint {
                run: Some(run),
                ..idle()
            },
            &demand,
            expected,
        );
        assert_eq!(
            (plan.start, plan.request_id.as_deref()),
            (start, Some("r2"))
        );
    }
}

#[test]
fn nothing_starts_before_the_end_of_a_hold() {
    let checkpoint = Checkpoint {
        hold_until: Some(NOW + 1),
        ..Checkpoint::default()
    };
    assert_eq!(at(&checkpoint), Due::At(NOW + 1));
}

fn time() -> impl Strategy<Value = Option<Millis>> {
    option::of(NOW - 48 * HOUR..NOW + HOUR)
}

proptest! {
    /// A run that is not due now is due exactly at the time named, and not before.
    #[test]
    fn the_time_named_is_the_first_at_which_a_run_is_due(
        cursor in time(),
        started in time(),
        late in time(),
        archived in time(),
        full in time(),
        hold in time(),
        rechecks_from in time(),
        interval in 10_000..31 * 24 * HOUR,
    ) {
        let checkpoint = Checkpoint {
            cursor,
            last_started_at: started,
            last_late_at: late,
            last_archived_at: archived,
            last_full_at: full,
            hold_until: hold,
            ..Checkpoint::default()
        };
        let demand = StreamDemand { interval, rechecks_from, ..running() };
        let settings = Settings::default();
        match due(&checkpoint, &demand, &settings, NOW) {
            Due::Now(plan) => prop_assert_eq!(plan.start, Start::New),
            Due::At(at) => {
                prop_assert!(at > NOW);
                prop_assert!(matches!(due(&checkpoint, &demand, &settings, at - 1), Due::At(_)));
                prop_assert!(!matches!(due(&checkpoint, &demand, &settings, at), Due::Never));
            }
            Due::Never => prop_assert!(false, "a running stream always has a next run"),
        }
    }
}
