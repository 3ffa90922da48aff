//! Which run is due, and when the next one is.

mod passes;

use proptest::{option, prelude::*};
use schemas::{ClosedPass, ReconcileIntervals, Run};

use super::*;

const NOW: Millis = 1_800_000_000_000;
const INTERVAL: Millis = 5 * MINUTE;

fn running() -> StreamDemand<'static> {
    StreamDemand {
        running: true,
        interval: INTERVAL,
        passes: Settings::default().passes(ReconcileIntervals::default()),
        request: None,
        rechecks_from: None,
        size: Size::default(),
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
    match due(
        expected.slot(),
        checkpoint,
        demand,
        &Settings::default(),
        NOW,
    ) {
        Due::Now(plan) => {
            assert_eq!(plan.reason, expected);
            plan
        }
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

fn increments(checkpoint: &Checkpoint) -> Due {
    in_slot(Slot::Increments, checkpoint, &running())
}

fn in_slot(slot: Slot, checkpoint: &Checkpoint, demand: &StreamDemand<'_>) -> Due {
    due(slot, checkpoint, demand, &Settings::default(), NOW)
}

#[test]
fn the_interval_counts_from_the_last_start() {
    assert_eq!(increments(&idle()), Due::At(NOW - MINUTE + INTERVAL));
}

#[test]
fn a_missed_run_happens_once() {
    let mut checkpoint = idle();
    checkpoint.last_started_at = Some(NOW - 3 * INTERVAL);
    check(&checkpoint, &running(), Reason::Incremental);
    checkpoint.last_started_at = Some(NOW);
    assert_eq!(increments(&checkpoint), Due::At(NOW + INTERVAL));
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
fn increments_passes_and_checks_are_due_side_by_side() {
    let mut checkpoint = Checkpoint {
        last_started_at: Some(NOW - HOUR),
        last_late_at: None,
        last_archived_at: None,
        last_full_at: Some(NOW - 25 * HOUR),
        ..idle()
    };
    check(&checkpoint, &running(), Reason::Incremental);
    check(&checkpoint, &running(), Reason::Full);
    check(&checkpoint, &running(), Reason::Late);
    let spent = StreamDemand {
        rechecks_from: Some(NOW + HOUR),
        ..running()
    };
    check(&checkpoint, &spent, Reason::Incremental);
    for slot in [Slot::Pass, Slot::Check] {
        assert_eq!(in_slot(slot, &checkpoint, &spent), Due::At(NOW + HOUR));
    }
    checkpoint.last_full_at = Some(NOW - 2 * HOUR);
    check(&checkpoint, &running(), Reason::Archived);
    // A full pass reads what a late run would.
    checkpoint.last_full_at = Some(NOW - MINUTE);
    let later = Due::At(NOW - MINUTE + HOUR);
    assert_eq!(in_slot(Slot::Check, &checkpoint, &running()), later);
}

#[test]
fn increments_begin_with_the_first_page_of_the_backfill() {
    let new = Checkpoint::default();
    check(&new, &running(), Reason::Backfill);
    for slot in [Slot::Increments, Slot::Check] {
        assert_eq!(in_slot(slot, &new, &running()), Due::Never);
    }
    let begun = Checkpoint {
        cursor: Some(NOW - 9 * MINUTE),
        last_started_at: Some(NOW - 9 * MINUTE),
        pass: Some(run("backfill")),
        ..new
    };
    assert_eq!(
        check(&begun, &running(), Reason::Backfill).start,
        Start::Resume
    );
    check(&begun, &running(), Reason::Incremental);
    assert_eq!(in_slot(Slot::Check, &begun, &running()), Due::Never);
}

#[test]
fn a_run_that_failed_waits_longer_each_time_and_holds_up_no_other_slot() {
    assert_eq!(
        [1, 2, 3, 99].map(backoff),
        [MINUTE, 2 * MINUTE, 4 * MINUTE, 6 * HOUR]
    );
    let checkpoint = Checkpoint {
        pass: Some(Run {
            retry_at: Some(NOW + 1),
            ..run("full")
        }),
        last_started_at: Some(NOW - HOUR),
        ..idle()
    };
    assert_eq!(
        in_slot(Slot::Pass, &checkpoint, &running()),
        Due::At(NOW + 1)
    );
    check(&checkpoint, &running(), Reason::Incremental);
}

#[test]
fn a_run_of_a_former_version_gets_its_slot() {
    for reason in [Reason::Late, Reason::Full, Reason::Requested] {
        let mut checkpoint = Checkpoint {
            pass: Some(run(reason.as_str())),
            ..idle()
        };
        into_slots(&mut checkpoint);
        assert_eq!(check(&checkpoint, &running(), reason).start, Start::Resume);
        let runs = Slot::ALL.map(|slot| slot.of(&checkpoint).is_some());
        assert_eq!(runs.into_iter().filter(|it| *it).count(), 1);
    }
}

fn run(reason: &str) -> Run {
    Run {
        run_id: "a".to_owned(),
        reason: reason.to_owned(),
        ..Run::default()
    }
}

#[test]
fn an_unfinished_run_comes_first_and_a_stop_gives_it_another_id() {
    let mut checkpoint = Checkpoint {
        check: Some(run("late")),
        pass: Some(run("archived")),
        full_wanted: true,
        ..idle()
    };
    let resumes = |checkpoint: &Checkpoint| {
        for reason in [Reason::Late, Reason::Archived] {
            assert_eq!(check(checkpoint, &running(), reason).start, Start::Resume);
        }
    };
    resumes(&checkpoint);
    assert!(end_by_stop(&mut checkpoint, || "b".to_owned()));
    resumes(&checkpoint);
    for run in [checkpoint.check, checkpoint.pass] {
        assert_eq!(run.map(|run| run.run_id).as_deref(), Some("b"));
    }
}

#[test]
fn a_start_after_a_stop_is_due_at_once() {
    let new_id = || "b".to_owned();
    let mut checkpoint = idle();
    assert!(end_by_stop(&mut checkpoint, new_id));
    check(&checkpoint, &running(), Reason::Incremental);
    // A second stop has nothing to write.
    assert!(!end_by_stop(&mut checkpoint, new_id));

    // The run under way may read nothing of what changed after the stop, so another
    // follows it.
    let mut checkpoint = Checkpoint {
        increments: Some(run("incremental")),
        ..idle()
    };
    assert!(end_by_stop(&mut checkpoint, new_id));
    assert_eq!(
        check(&checkpoint, &running(), Reason::Incremental).start,
        Start::Resume
    );
    checkpoint.increments = None;
    check(&checkpoint, &running(), Reason::Incremental);
}

#[test]
fn what_seems_to_be_gone_is_read_again_before_a_request_that_waits_for_it_is_done() {
    let mut checkpoint = Checkpoint {
        confirm_at: Some(NOW),
        closed_pass: Some(ClosedPass {
            run_id: "p".to_owned(),
            request_id: Some("r1".to_owned()),
            ..ClosedPass::default()
        }),
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
    let later = |demand| in_slot(Slot::Check, &checkpoint, demand);
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
                last_full_at: None,
                ..idle()
            },
            &demand,
            Reason::Backfill,
        );
        let done = Checkpoint {
            request_done: Some("r2".to_owned()),
            ..idle()
        };
        for slot in Slot::ALL {
            assert_eq!(in_slot(slot, &done, &demand), Due::Never);
            assert_eq!(in_slot(slot, &idle(), &stopped), Due::Never);
        }
    }
}

#[test]
fn on_a_stopped_connection_a_suspended_run_becomes_the_requests_run_or_waits() {
    let sync = request(RequestKind::Sync);
    let demand = StreamDemand {
        running: false,
        request: Some(&sync),
        ..running()
    };
    let mut checkpoint = Checkpoint {
        pass: Some(run("full")),
        check: Some(run("late")),
        ..idle()
    };
    for (reason, start) in [
        (Reason::Requested, Start::New),
        (Reason::Incremental, Start::Resume),
    ] {
        let plan = check(&checkpoint, &demand, reason);
        assert_eq!(
            (plan.start, plan.request_id.as_deref()),
            (start, Some("r2"))
        );
        for slot in [Slot::Pass, Slot::Check] {
            assert_eq!(in_slot(slot, &checkpoint, &demand), Due::Never);
        }
        checkpoint.increments = Some(run("incremental"));
    }
}

fn time() -> impl Strategy<Value = Option<Millis>> {
    option::of(NOW - 48 * HOUR..NOW + HOUR)
}

proptest! {
    /// A run that is not due now is due exactly at the time named, and not before.
    #[test]
    fn the_time_named_is_the_first_at_which_a_run_is_due(
        slot in proptest::sample::select(&Slot::ALL[..]),
        cursor in time(),
        started in time(),
        late in time(),
        archived in time(),
        full in time(),
        retry in time(),
        has_run in any::<bool>(),
        rechecks_from in time(),
        interval in 10_000..31 * 24 * HOUR,
    ) {
        let mut checkpoint = Checkpoint {
            cursor,
            last_started_at: started,
            last_late_at: late,
            last_archived_at: archived,
            last_full_at: full,
            ..Checkpoint::default()
        };
        let reason = match slot {
            Slot::Increments => Reason::Incremental,
            Slot::Pass => Reason::Archived,
            Slot::Check => Reason::Late,
        };
        *slot.of_mut(&mut checkpoint) = has_run.then(|| Run {
            retry_at: retry,
            ..run(reason.as_str())
        });
        let demand = StreamDemand { interval, rechecks_from, ..running() };
        let settings = Settings::default();
        match due(slot, &checkpoint, &demand, &settings, NOW) {
            Due::Now(plan) => prop_assert_eq!(plan.start == Start::Resume, has_run),
            Due::At(at) => {
                prop_assert!(at > NOW);
                let then = |now| due(slot, &checkpoint, &demand, &settings, now);
                prop_assert!(matches!(then(at - 1), Due::At(_)));
                prop_assert!(!matches!(then(at), Due::Never));
            }
            Due::Never => prop_assert!(!has_run && (cursor.is_none() || full.is_none())),
        }
    }
}
