//! Lanes over lists whose cursors are ids, and over some whose cursors are not.

use proptest::prelude::*;

use super::*;
use crate::sync::Object;

fn object(id: i64) -> Object {
    Object {
        id,
        ..Object::default()
    }
}

/// A list whose cursor is the id of the next record.
fn page(ids: &[i64], after: Option<&str>, size: usize) -> ListPage {
    let from = after.map_or(0, |after| after.parse().unwrap());
    let rest: Vec<_> = ids.iter().copied().filter(|id| *id >= from).collect();
    ListPage {
        objects: rest.iter().take(size).map(|id| object(*id)).collect(),
        next: rest.get(size).map(i64::to_string),
    }
}

/// How a list is read.
#[derive(Debug, Clone)]
struct Way<'a> {
    page_size: usize,
    limit: usize,
    /// Which of the requests in flight is answered next.
    picks: &'a [usize],
    /// After so many answers the lanes start again from their checkpoint.
    crash: usize,
    extent: Extent,
}

/// Reads a list. Returns all ids and the number of requests.
fn read_all(ids: &[i64], way: &Way<'_>) -> (Vec<i64>, usize) {
    let Way { picks, limit, .. } = *way;
    let new = |lanes| Lanes::new(lanes, limit, way.extent.clone());
    let mut lanes = new(Vec::new());
    let mut requested: Vec<PageRequest> = Vec::new();
    let (mut out, mut count) = (Vec::new(), 0);
    while !lanes.is_done() {
        while let Some(request) = lanes.next_request() {
            requested.push(request);
        }
        assert!(requested.len() <= limit.max(1));
        let pick = picks.get(count % picks.len()).copied().unwrap_or(0);
        let request = requested.remove(pick % requested.len());
        count += 1;
        let mut page = page(ids, request.after.as_deref(), way.page_size);
        let taken = match request.probe {
            Some(at) => lanes.take_probe(at, &mut page).unwrap(),
            None => Some(lanes.take_page(request.key, &mut page).unwrap()),
        };
        if let Some(covered) = taken {
            let read: Vec<i64> = page.objects.iter().map(|object| object.id).collect();
            let in_range: Vec<i64> = ids
                .iter()
                .copied()
                .filter(|id| covered.contains(id))
                .collect();
            assert!(
                in_range.iter().all(|id| read.contains(id)),
                "{covered:?} {read:?}"
            );
            out.extend(read);
        }
        if count == way.crash {
            requested.clear();
            lanes = new(lanes.to_checkpoint());
        }
    }
    (out, count)
}

proptest! {
    #[test]
    fn every_id_is_returned_once_in_any_order_of_answers(
        ids in proptest::collection::btree_set(1i64..5_000, 0..400),
        scale in prop_oneof![Just(1i64), Just(977), Just(10_000_019)],
        page_size in 1usize..20,
        limit in 1usize..9,
        picks in proptest::collection::vec(0usize..9, 1..40),
        crash in 0usize..60,
        known in proptest::collection::btree_set(1i64..6_000, 0..40),
        highest in proptest::option::of(0i64..6_000),
        objects in proptest::option::of(0i64..9_000),
        is_in_order in any::<bool>(),
    ) {
        let ids: Vec<_> = ids.into_iter().map(|id| id * scale).collect();
        let extent = Extent {
            ids: known.into_iter().map(|id| id * scale).collect(),
            highest: highest.map(|id| id * scale),
            objects,
            is_in_order,
        };
        let way = Way { page_size, limit, picks: &picks, crash, extent };
        let (mut out, _) = read_all(&ids, &way);
        out.sort_unstable();
        prop_assert_eq!(out, ids);
    }
}

#[test]
fn lanes_cost_few_extra_requests() {
    let ids: Vec<i64> = (1..=20_000).map(|n| 51_000_000_000 + n * 7).collect();
    let (out, requests) = read_all(
        &ids,
        &Way {
            page_size: 100,
            limit: 12,
            picks: &[0],
            crash: 0,
            extent: Extent::default(),
        },
    );
    assert_eq!(out.len(), ids.len());
    assert!(requests < 260, "{requests} requests for 200 pages");
}

#[test]
fn a_cursor_that_is_not_an_id_means_one_lane() {
    let mut lanes = Lanes::new(Vec::new(), 8, Extent::default());
    let request = lanes.next_request().unwrap();
    let mut first = ListPage {
        objects: vec![object(1), object(2)],
        next: Some("b3BhcXVl".to_owned()),
    };
    lanes.take_page(request.key, &mut first).unwrap();
    assert!(lanes.is_single());
    assert_eq!(first.objects.len(), 2);
    let request = lanes.next_request().unwrap();
    assert_eq!(request.after.as_deref(), Some("b3BhcXVl"));
    assert_eq!(lanes.next_request(), None);
    let mut last = ListPage {
        objects: vec![object(1)],
        next: None,
    };
    lanes.take_page(request.key, &mut last).unwrap();
    assert!(lanes.is_done());
}

#[test]
fn a_numeric_cursor_that_is_not_an_id_ends_the_run_once_lanes_exist() {
    let lane = |after: &str, first| Lane {
        after: Some(after.to_owned()),
        first_id: Some(first),
        done: false,
    };
    let mut lanes = Lanes::new(vec![lane("10", 1), lane("500", 400)], 4, Extent::default());
    let request = lanes.next_request().unwrap();
    let mut page = ListPage {
        objects: vec![object(5)],
        next: Some("20".to_owned()),
    };
    assert_eq!(lanes.take_page(request.key, &mut page), Err(Mismatch));
}

#[test]
fn a_refused_probe_means_one_lane_if_there_is_only_one() {
    let ids: Vec<i64> = (1..=1_000).collect();
    let mut lanes = Lanes::new(Vec::new(), 4, Extent::default());
    let request = lanes.next_request().unwrap();
    lanes
        .take_page(request.key, &mut page(&ids, None, 100))
        .unwrap();
    assert!(lanes.next_request().unwrap().probe.is_none());
    let probe = lanes.next_request().unwrap().probe.unwrap();
    lanes.refuse_probe(probe).unwrap();
    assert!(lanes.is_single());
}

#[test]
fn all_ids_but_those_between_lanes_are_covered() {
    let ids: Vec<i64> = (1..=1_000).collect();
    let mut lanes = Lanes::new(Vec::new(), 1, Extent::default());
    let mut covered = Vec::new();
    while let Some(request) = lanes.next_request() {
        let mut page = page(&ids, request.after.as_deref(), 100);
        covered.push(lanes.take_page(request.key, &mut page).unwrap());
    }
    assert_eq!(covered.first().map(|it| *it.start()), Some(i64::MIN + 1));
    assert_eq!(covered.last().map(|it| *it.end()), Some(i64::MAX));
    for pair in covered.windows(2) {
        assert_eq!(*pair[0].end() + 1, *pair[1].start());
    }
}

#[test]
fn a_lane_that_ends_before_the_next_one_is_asked_again_and_then_leaves_a_hole() {
    let lane = |after: &str, first| Lane {
        after: Some(after.to_owned()),
        first_id: Some(first),
        done: false,
    };
    let mut lanes = Lanes::new(vec![lane("10", 1), lane("500", 400)], 4, Extent::default());
    let early = || ListPage {
        objects: vec![object(11)],
        next: None,
    };
    let request = lanes.next_request().unwrap();
    let mut page = early();
    let covered = lanes.take_page(request.key, &mut page).unwrap();
    assert!(covered.is_empty() && page.objects.is_empty());
    assert!(!lanes.has_hole());
    let again = lanes.next_request().unwrap();
    assert_eq!(again.after, request.after);
    let covered = lanes.take_page(again.key, &mut early()).unwrap();
    assert_eq!(covered, 11..=11, "nothing beyond it is judged");
    assert!(lanes.has_hole());
}

#[test]
fn nothing_is_known_to_lack_beside_an_object_that_is_skipped() {
    let ids: Vec<i64> = (1..=1_000).map(|id| id * 10).collect();
    let mut lanes = Lanes::new(Vec::new(), 2, Extent::default());
    let mut request = lanes.next_request().unwrap();
    // Pages halve down to one object.
    for limit in [100, 50, 25, 12, 6, 3] {
        assert_eq!(request.limit, limit);
        lanes.fail(&request);
        request = lanes.next_request().unwrap();
    }
    assert_eq!((request.limit, lanes.next_id(request.key)), (1, None));
    let first = lanes.take_page(request.key, &mut page(&ids, None, 1));
    assert_eq!(first, Ok(i64::MIN + 1..=10));
    assert_eq!(lanes.answered(), Some(ReadPage { after: None }));
    let request = lanes.next_request().unwrap();
    assert_eq!(lanes.next_id(request.key), Some(20));
    let mut skipped = page(&ids, Some("20"), 1);
    let (id, covered) = lanes.skip(request.key, &mut skipped).unwrap();
    assert_eq!(id, Some(20));
    assert!(covered.is_empty() && skipped.objects.is_empty());
    // The next page is larger again, and begins behind the object.
    let request = std::iter::from_fn(|| lanes.next_request()).find(|it| it.probe.is_none());
    let request = request.unwrap();
    assert!(request.limit > 1);
    let covered = lanes.take_page(request.key, &mut page(&ids, Some("30"), 2));
    assert_eq!(covered, Ok(21..=40));
}

/// Ids as a portal has them: old, short ones close together, and new, long ones.
fn old_and_new_ids(count: i64) -> Vec<i64> {
    let old = (1..=count / 20).map(|n| 50 * n);
    let new = (1..=count - count / 20).map(|n| 20_000_000_000 + n * 1_000 + n % 7 * 100);
    old.chain(new).collect()
}

/// Reads a list whose answers all take the same time. Returns the number of requests, and
/// how many had been sent after each such time.
fn in_rounds(ids: &[i64], limit: usize, extent: Extent) -> (usize, Vec<usize>) {
    let mut lanes = Lanes::new(Vec::new(), limit, extent);
    let (mut read, mut sent) = (0, Vec::new());
    while !lanes.is_done() {
        let requests: Vec<_> = std::iter::from_fn(|| lanes.next_request()).collect();
        sent.push(sent.last().unwrap_or(&0) + requests.len());
        for request in requests {
            let mut page = page(ids, request.after.as_deref(), 100);
            match request.probe {
                Some(at) => drop(lanes.take_probe(at, &mut page).unwrap()),
                None => drop(lanes.take_page(request.key, &mut page).unwrap()),
            }
            read += 1;
        }
    }
    (read, sent)
}

#[test]
fn lanes_are_found_in_few_rounds_and_cost_few_requests() {
    let live = old_and_new_ids(100_000);
    let archived: Vec<i64> = live.iter().copied().step_by(100).collect();
    let highest = live.last().copied();
    let by_search = Extent {
        highest,
        ..Extent::default()
    };
    // How many requests in all, and after which round 100 were sent.
    let (requests, sent) = in_rounds(&live, 24, Extent::default());
    assert!(requests < 1_100 && sent[7] > 100, "{requests} {sent:?}");
    let (requests, sent) = in_rounds(&live, 24, by_search.clone());
    assert!(requests < 1_050 && sent[6] > 100, "{requests} {sent:?}");
    let like_archived = Extent {
        ids: archived.clone(),
        objects: Some(100_000),
        is_in_order: true,
        ..Extent::default()
    };
    let (requests, sent) = in_rounds(&live, 24, like_archived);
    assert!(requests < 1_040 && sent[4] > 100, "{requests} {sent:?}");
    let (requests, sent) = in_rounds(&archived, 24, by_search);
    assert!(requests < 30 && sent.len() < 6, "{requests} {sent:?}");
}

#[test]
fn a_list_that_is_known_to_be_short_is_not_split() {
    let ids: Vec<i64> = (1..=250).collect();
    let extent = Extent {
        ids: ids.clone(),
        objects: Some(250),
        ..Extent::default()
    };
    let (requests, sent) = in_rounds(&ids, 24, extent);
    assert!(requests <= 4, "{requests} {sent:?}");
}

#[test]
fn what_is_known_wrongly_leaves_no_part_unsplit() {
    let ids = old_and_new_ids(20_000);
    for (highest, objects) in [(0, None), (60, Some(500)), (20_000_000_500, Some(90_000))] {
        let extent = Extent {
            highest: Some(highest),
            objects,
            ..Extent::default()
        };
        let (requests, sent) = in_rounds(&ids, 12, extent);
        assert!(
            requests < 260 && sent.len() < 40,
            "{highest}: {requests} {sent:?}"
        );
    }
}
