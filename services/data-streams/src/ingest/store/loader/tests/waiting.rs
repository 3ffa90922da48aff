//! Targets whose tables fail while others work.

use super::*;
use crate::ingest::{PurgedEnd, StoreErrorKind};

/// Breaks the tables of a destination.
fn set_broken(store: &FakeStore, destination: &str, kind: StoreErrorKind) {
    let mut broken = store.broken.lock().unwrap();
    broken.insert(destination.to_owned(), kind);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_with_one_target_the_others_load_on() {
    for kind in [
        StoreErrorKind::Target,
        StoreErrorKind::NotOurs,
        StoreErrorKind::SchemaChanged,
    ] {
        let mut bench = LoaderBench::new();
        set_broken(&bench.store, "elsewhere", kind);
        bench
            .load(vec![
                batch(vec![
                    record(0, OWN),
                    record_of(1, OWN, "named", 0),
                    record(2, OWN),
                ]),
                batch(vec![record_of(3, OWN, "named", 0), record(4, OWN)]),
            ])
            .await;
        assert_eq!(bench.store.offsets(), [0, 2, 4], "{kind:?}");
        // Nothing from the first row on that waits.
        assert_eq!(bench.committed(), BTreeMap::from([(0, 1)]), "{kind:?}");
        assert!(bench.recorder.letters.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_works_again_is_read_from_its_first_row_that_waits() {
    let mut bench = LoaderBench::new();
    set_broken(&bench.store, "elsewhere", StoreErrorKind::Target);
    let store = Arc::clone(&bench.store);
    let mend = async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        store.broken.lock().unwrap().clear();
        tokio::time::sleep(Duration::from_mins(1)).await;
    };
    let rows = batch(vec![record(0, OWN), record_of(1, OWN, "named", 0)]);
    bench.load_during(vec![rows], mend).await;
    let again = PartitionHold {
        generation: 0,
        number: 1,
        partition: 0,
        offset: 1,
    };
    assert_eq!(bench.holds, [again]);
    assert_eq!(bench.committed(), BTreeMap::from([(0, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_works_again_later_takes_nothing_from_one_that_did_before() {
    let mut bench = LoaderBench::new();
    for destination in ["elsewhere", "hubspot_deleted"] {
        set_broken(&bench.store, destination, StoreErrorKind::Target);
    }
    let store = Arc::clone(&bench.store);
    let mend = async {
        for destination in ["elsewhere", "hubspot_deleted"] {
            tokio::time::sleep(Duration::from_mins(1)).await;
            store.broken.lock().unwrap().remove(destination);
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
    };
    let rows = batch(vec![
        record_of(0, OWN, "named", 0),
        record_of(1, OWN, "deleted", 0),
    ]);
    bench.load_during(vec![rows], mend).await;
    let offsets: Vec<i64> = bench.holds.iter().map(|it| it.offset).collect();
    assert_eq!(offsets, [0]);
}

#[tokio::test(start_paused = true)]
async fn rows_that_no_table_can_ever_take_are_dead_letters() {
    let mut bench = LoaderBench::new();
    set_broken(&bench.store, "elsewhere", StoreErrorKind::Poison);
    // Its destination is another account's, and nobody can give it another one.
    set_broken(&bench.store, "hubspot_deleted", StoreErrorKind::NotOurs);
    bench
        .load(vec![batch(vec![
            record(0, OWN),
            record_of(1, OWN, "named", 0),
            record_of(2, OWN, "deleted", 0),
        ])])
        .await;
    assert_eq!(bench.store.offsets(), [0]);
    let letters = bench.recorder.letters.lock().unwrap();
    let offsets: HashSet<i64> = letters.iter().map(|it| it.position.offset).collect();
    assert_eq!(offsets, HashSet::from([1, 2]));
    drop(letters);
    assert_eq!(bench.committed(), BTreeMap::from([(0, 3)]));
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_is_skipped() {
    let mut bench = LoaderBench::new();
    set_purged(&bench.store);
    let rows = (0..4).map(|offset| record(offset, OWN)).collect();
    bench.load(vec![batch(rows)]).await;
    assert_eq!(bench.store.offsets(), [2, 3]);
    assert_eq!(bench.committed(), BTreeMap::from([(0, 4)]));
}

/// The records of `default` before offset 2 were purged.
fn set_purged(store: &FakeStore) {
    let end = PurgedEnd { offset: 2, at: 0 };
    let ends = BTreeMap::from([(0, end)]);
    *store.purged.lock().unwrap() = [("default".to_owned(), ends)].into();
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_made_anew_after_a_purge_is_loaded() {
    let mut bench = LoaderBench::new();
    set_purged(&bench.store);
    let later = Message {
        timestamp: 2 * 3_600_000,
        ..record(0, OWN)
    };
    bench.load(vec![batch(vec![later])]).await;
    assert_eq!(bench.store.offsets(), [0]);
}
