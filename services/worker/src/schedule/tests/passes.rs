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
