//! What of a page is written, and what it says of objects that it lacks.

use super::*;

/// What the log has: object 1 live, 2 archived, 3 deleted, 4 suspected, 5 not found once.
fn index() -> StreamIndex {
    let entry = |id| Entry {
        id,
        updated_at: 100,
        content_hash: 7,
        sequence: 1_000,
        ..Entry::default()
    };
    let mut index = StreamIndex::default();
    index.put(vec![
        entry(1),
        Entry {
            archived: true,
            ..entry(2)
        },
        Entry {
            deleted: true,
            ..entry(3)
        },
        Entry {
            absence: Absence::Suspected,
            ..entry(4)
        },
        Entry {
            absence: Absence::Confirmed,
            ..entry(5)
        },
    ]);
    index
}

fn record(id: i64, updated_at: Millis, content_hash: u64) -> Record {
    Record {
        object: Object {
            id,
            updated_at,
            ..Object::default()
        },
        deleted: false,
        merged_into: None,
        fetched_at: 2_000,
        fetch_sequence: 2_000,
        content_hash,
    }
}

fn page(records: Vec<Record>) -> Page {
    Page {
        records,
        findings: Findings {
            fetched_at: 2_000,
            sequence: 2_000,
            confirm_interval: 1_000,
            ..Findings::default()
        },
        ..Page::default()
    }
}

fn ids(entries: &[Entry]) -> Vec<i64> {
    entries.iter().map(|it| it.id).collect()
}

fn suspected(mut page: Page) -> Vec<i64> {
    let entries = admit(&index(), &mut page);
    let suspected = entries.iter().filter(|it| it.absence == Absence::Suspected);
    suspected.map(|it| it.id).collect()
}

#[test]
fn content_that_the_log_has_is_dropped_and_other_content_is_not() {
    let mut page = page(vec![
        record(1, 100, 7),
        record(1, 200, 7),
        record(1, 200, 8),
        record(1, 200, 8),
        record(9, 100, 7),
    ]);
    let entries = admit(&index(), &mut page);
    assert_eq!(page.records, [record(1, 200, 8), record(9, 100, 7)]);
    assert_eq!(ids(&entries), [1, 9]);
}

#[test]
fn what_somebody_asked_for_is_written_though_the_log_has_it() {
    let mut page = Page {
        rewrites_below: Some(1_001),
        ..page(vec![record(1, 100, 7)])
    };
    admit(&index(), &mut page);
    assert_eq!(page.records.len(), 1);
    // What was written since is not repeated.
    page.rewrites_below = Some(1_000);
    admit(&index(), &mut page);
    assert_eq!(page.records, []);
}

#[test]
fn other_content_of_a_read_that_overlapped_the_known_one_is_read_again() {
    let early = |id| Record {
        fetched_at: 1_000,
        ..record(id, 100, 9)
    };
    // A deleted object, and one that is read again anyway, stay as they are.
    let mut page = page(vec![early(1), early(3), early(4)]);
    let entries = admit(&index(), &mut page);
    assert_eq!(page.records, []);
    assert_eq!(ids(&entries), [1]);
    assert_eq!(entries[0].absence, Absence::Suspected);
}

#[test]
fn an_older_version_than_the_log_has_is_dropped() {
    for rewrites_below in [None, Some(9_000)] {
        let mut page = Page {
            rewrites_below,
            ..page(vec![record(1, 99, 8)])
        };
        assert_eq!(admit(&index(), &mut page), []);
        assert_eq!(page.records, []);
    }
}

#[test]
fn an_object_that_is_met_is_no_suspect_any_more() {
    let mut page = page(vec![record(4, 100, 7), record(5, 100, 8)]);
    let entries = admit(&index(), &mut page);
    assert_eq!(page.records, [record(5, 100, 8)]);
    assert!(entries.iter().all(|it| it.absence == Absence::None));
    assert_eq!(ids(&entries), [4, 5]);
}

#[test]
fn a_deleted_object_that_comes_back_is_written() {
    let mut page = page(vec![record(3, 100, 7)]);
    admit(&index(), &mut page);
    assert_eq!(page.records.len(), 1);
}

#[test]
fn what_its_list_lacks_in_the_part_that_was_read_is_a_suspect() {
    let covered = |archived, ids, judged_before| {
        let mut page = page(Vec::new());
        page.findings.covered = Some(Covered {
            archived,
            ids,
            present: None,
        });
        page.findings.judged_before = judged_before;
        suspected(page)
    };
    assert_eq!(covered(false, 0..=10, None), [1]);
    assert_eq!(covered(true, 0..=10, None), [2]);
    assert!(covered(false, 2..=10, None).is_empty());
    // It was written after the pass began.
    assert!(covered(false, 0..=10, Some(1_000)).is_empty());
}

#[test]
fn an_object_of_the_page_is_no_suspect() {
    let mut page = page(vec![record(1, 100, 7)]);
    page.findings.covered = Some(Covered {
        archived: false,
        ids: i64::MIN..=i64::MAX,
        present: None,
    });
    assert!(suspected(page).is_empty());
}

#[test]
fn only_objects_that_the_log_has_undeleted_become_suspects() {
    let mut page = page(Vec::new());
    page.findings.suspects = vec![1, 2, 3, 4, 9];
    assert_eq!(suspected(page), [1, 2]);
}

#[test]
fn a_suspect_is_deleted_when_a_second_read_does_not_find_it() {
    let mut page = page(Vec::new());
    let not_found = |id| NotFound {
        id,
        merged_into: (id == 5).then_some(8),
    };
    page.findings.not_found = [1, 3, 4, 5, 9].map(not_found).to_vec();
    let entries = admit(&index(), &mut page);
    let [deleted] = &page.records[..] else {
        panic!("{:?}", page.records);
    };
    assert!(deleted.deleted);
    assert_eq!((deleted.object.id, deleted.merged_into), (5, Some(8)));
    assert_eq!(deleted.object.updated_at, 100, "never the time of the read");
    let once = entries.iter().filter(|it| it.absence == Absence::Confirmed);
    assert_eq!(once.map(|it| it.id).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn a_second_read_that_comes_too_early_proves_nothing() {
    let mut page = page(Vec::new());
    page.findings.sequence = 1_999;
    page.findings.not_found = vec![NotFound {
        id: 5,
        merged_into: None,
    }];
    assert_eq!(admit(&index(), &mut page), []);
    assert_eq!(page.records, []);
}

#[test]
fn a_suspect_that_cannot_be_read_is_none_any_more_and_not_deleted() {
    let mut page = page(Vec::new());
    page.findings.unreadable = vec![3, 4, 5, 6];
    let entries = admit(&index(), &mut page);
    assert_eq!(ids(&entries), [4, 5]);
    assert!(entries.iter().all(|it| it.absence == Absence::None));
    assert_eq!(page.records, []);
}
