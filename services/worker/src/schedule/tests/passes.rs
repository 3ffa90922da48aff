//! When a pass over both lists is due, and whether it writes every object.

use super::*;

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
fn new_properties_make_one_full_pass_in_six_hours() {
    let mut checkpoint = Checkpoint {
        full_wanted: true,
        last_growth_at: Some(NOW - 5 * HOUR),
        ..idle()
    };
    assert_eq!(
        in_slot(Slot::Pass, &checkpoint, &running()),
        Due::At(NOW - 2 * MINUTE + HOUR)
    );
    checkpoint.last_growth_at = Some(NOW - 6 * HOUR);
    check(&checkpoint, &running(), Reason::Full);
}

#[test]
fn another_destination_makes_a_pass_due_that_writes_every_object() {
    let checkpoint = Checkpoint {
        rewrite_wanted: true,
        ..idle()
    };
    assert!(check(&checkpoint, &running(), Reason::Full).rewrites);
}

#[test]
fn only_a_resync_writes_every_object() {
    for (kind, rewrites) in [(RequestKind::Resync, true), (RequestKind::Reconcile, false)] {
        let asked = request(kind);
        let demand = StreamDemand {
            request: Some(&asked),
            ..running()
        };
        assert_eq!(check(&idle(), &demand, Reason::Full).rewrites, rewrites);
    }
}

#[test]
fn intervals_of_passes_grow_with_the_number_of_objects() {
    let demand = |live, archived| StreamDemand {
        size: Size { live, archived },
        ..running()
    };
    let checkpoint = Checkpoint {
        last_archived_at: Some(NOW - 50 * HOUR),
        last_full_at: Some(NOW - 50 * HOUR),
        ..idle()
    };
    check(&checkpoint, &demand(1_000_000, 0), Reason::Full);
    // 100,000 pages, and 21,600 a day.
    check(&checkpoint, &demand(10_000_000, 0), Reason::Archived);
    // 10,000 pages, and 100 an hour.
    let archived = demand(10_000_000, 1_000_000);
    assert_eq!(
        in_slot(Slot::Pass, &checkpoint, &archived),
        Due::At(NOW + 50 * HOUR)
    );
}

#[test]
fn passes_are_made_as_the_connection_sets_them_unless_the_worker_overrides_it() {
    let set = ReconcileIntervals {
        late_ms: 5 * MINUTE,
        archived_ms: 0,
        full_ms: 2 * HOUR,
    };
    let demand = StreamDemand {
        passes: Settings::default().passes(set),
        ..running()
    };
    let next = |slot| in_slot(slot, &idle(), &demand);
    // Of the full pass: an hour after the last one, which reads the archived list as well.
    assert_eq!(next(Slot::Pass), Due::At(NOW + HOUR));
    assert_eq!(next(Slot::Check), Due::At(NOW + 3 * MINUTE));
    let overriding = Settings {
        late_interval: Some(4 * MINUTE),
        ..Settings::default()
    };
    assert_eq!(overriding.passes(set).late, Some(4 * MINUTE));
}

#[test]
fn without_scheduled_passes_only_what_the_data_need_is_made() {
    let off = ReconcileIntervals {
        late_ms: 0,
        archived_ms: 0,
        full_ms: 0,
    };
    let demand = StreamDemand {
        passes: Settings::default().passes(off),
        ..running()
    };
    for slot in [Slot::Pass, Slot::Check] {
        assert_eq!(in_slot(slot, &idle(), &demand), Due::Never, "{slot:?}");
    }
    check(&Checkpoint::default(), &demand, Reason::Backfill);
    let mut grown = Checkpoint {
        full_wanted: true,
        ..idle()
    };
    check(&grown, &demand, Reason::Full);
    grown.last_growth_at = Some(NOW - 5 * HOUR);
    assert_eq!(in_slot(Slot::Pass, &grown, &demand), Due::At(NOW + HOUR));
}
