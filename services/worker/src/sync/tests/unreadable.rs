//! Objects that the portal cannot give, and pages that are too large for it.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{fake_portal::Faults, *};

/// A portal and what it fails on.
#[derive(Debug)]
struct Failing {
    seed: u64,
    count: usize,
    archived: usize,
    lanes: usize,
    opaque: bool,
    objects: Vec<Index>,
    lists_ids: bool,
    above: Option<usize>,
}

fn failing() -> impl Strategy<Value = Failing> {
    let portal = (
        any::<u64>(),
        2usize..300,
        0usize..30,
        2usize..9,
        any::<bool>(),
    );
    let faults = (
        vec(any::<Index>(), 0..9),
        any::<bool>(),
        prop::option::of(1usize..60),
    );
    (portal, faults).prop_map(
        |((seed, count, archived, lanes, opaque), (objects, lists_ids, above))| Failing {
            seed,
            count,
            archived,
            lanes,
            // Where the list names neither ids nor says that its cursors are, nothing can
            // be skipped.
            opaque: opaque && lists_ids,
            objects,
            lists_ids,
            above,
        },
    )
}

impl Failing {
    fn stream(&self) -> Stream {
        let mut portal = FakePortal::new(self.seed, self.count);
        portal.opaque = self.opaque;
        Stream::new(portal, self.lanes)
    }

    fn faults(&self, stream: &Stream) -> Faults {
        let truth = stream.portal.truth();
        let first_of = |archived| truth.values().find(|it| it.archived == archived);
        // Something has to be readable, and a list has no cursor before its first object.
        let keep: Vec<i64> = [false, true]
            .into_iter()
            .filter_map(first_of)
            .map(|it| it.id)
            .collect();
        let ids: Vec<i64> = truth
            .keys()
            .copied()
            .filter(|id| !keep.contains(id) || (self.lists_ids && Some(id) == keep.get(1)))
            .collect();
        let chosen = self.objects.iter().filter(|_| !ids.is_empty());
        let mut objects: BTreeSet<i64> = chosen.map(|index| *index.get(&ids)).collect();
        if !self.lists_ids {
            // The cursor behind a skipped object is not the id of the next one.
            for archived in [false, true] {
                let list = truth.values().filter(|it| it.archived == archived);
                let list: Vec<i64> = list.map(|it| it.id).collect();
                for pair in list.windows(2) {
                    if objects.contains(&pair[0]) {
                        objects.remove(&pair[1]);
                    }
                }
            }
        }
        Faults {
            objects,
            lists_ids: self.lists_ids,
            above: self.above,
            outage: false,
        }
    }
}

impl Stream {
    /// Makes the runs that are due, at most so often, and waits between them.
    async fn catch_up_slowly(&mut self, most: usize) {
        for _ in 0..most {
            self.step(None).await;
            self.portal.advance_time(20_000);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// A pass reads all that can be read, names the rest and deletes nothing; the next one
    /// reads the rest.
    #[test]
    fn a_pass_reads_everything_but_what_is_unreadable(failing in failing(), known in any::<bool>()) {
        block_on(async {
            let mut stream = failing.stream();
            if known {
                stream.catch_up().await;
                stream.portal.touch_all_at_once(0);
            }
            stream.portal.archive_some(failing.archived.min(failing.count - 1));
            stream.portal.advance_time(61_000);
            let faults = failing.faults(&stream);
            let unreadable = faults.objects.clone();
            stream.portal.fail(faults);
            stream.resync("failing").await;
            let run = stream.log.last_run(if known { "full" } else { "backfill" }).unwrap();
            let named: BTreeSet<i64> = run.unreadable_ids.iter().copied().collect();
            assert_eq!(named, unreadable);
            assert_eq!(run.unreadable, i64::try_from(unreadable.len()).unwrap());
            stream.portal.advance_time(61_000);
            stream.catch_up_slowly(8).await;
            stream.log.check_truth_but(&stream.portal, &unreadable);
            stream.portal.fail(Faults::default());
            stream.resync("mended").await;
            assert_eq!(stream.log.last_run("full").unwrap().unreadable, 0);
            stream.log.check_truth(&stream.portal);
            stream.log.check_nothing_twice();
        });
    }

    /// Runs over changes go on without what is unreadable, and it is not lost.
    #[test]
    fn changes_are_read_but_for_what_is_unreadable(failing in failing()) {
        block_on(async {
            let mut stream = failing.stream();
            stream.catch_up().await;
            stream.portal.advance_time(61_000);
            stream.portal.touch_all_at_once(0);
            stream.portal.advance_time(61_000);
            let faults = failing.faults(&stream);
            let unreadable = faults.objects.clone();
            stream.portal.fail(faults);
            let end = stream.step_alone().await;
            assert_eq!((end.reason, end.outcome), (Reason::Incremental, Outcome::Succeeded));
            let run = stream.log.last_run("incremental").unwrap();
            assert_eq!(run.unreadable_ids.into_iter().collect::<BTreeSet<_>>(), unreadable);
            stream.log.check_truth_but(&stream.portal, &unreadable);
            stream.portal.fail(Faults::default());
            stream.portal.advance_time(3_600_000);
            stream.catch_up().await;
            stream.log.check_truth(&stream.portal);
        });
    }
}

#[test]
fn an_outage_makes_nothing_unreadable() {
    block_on(async {
        let mut stream = Stream::new(FakePortal::new(5, 300), 4);
        stream.catch_up().await;
        stream.portal.touch_all_at_once(0);
        stream.portal.advance_time(25 * 3_600_000);
        stream.portal.fail(Faults {
            outage: true,
            ..Faults::default()
        });
        let ends = stream.step(None).await;
        let of_objects = ends.into_iter().filter(|end| end.reason != Reason::Late);
        let of_objects: Vec<_> = of_objects.collect();
        assert_eq!(of_objects.len(), 2, "{of_objects:?}");
        for end in of_objects {
            let Outcome::Failed(error) = end.outcome else {
                panic!("{end:?}");
            };
            assert_eq!(error.code, "hubspot_unavailable");
        }
        for run in [&stream.checkpoint.pass, &stream.checkpoint.increments] {
            assert_eq!(run.as_ref().unwrap().unreadable, 0);
        }
        stream.portal.fail(Faults::default());
        stream.catch_up().await;
        stream.log.check_truth(&stream.portal);
    });
}

#[test]
fn a_list_whose_failing_object_cannot_be_named_backs_off_and_says_so() {
    block_on(async {
        let mut portal = FakePortal::new(6, 300);
        portal.opaque = true;
        let mut stream = Stream::new(portal, 4);
        let id = *stream.portal.truth().keys().nth(150).unwrap();
        stream.portal.fail(Faults {
            objects: [id].into(),
            ..Faults::default()
        });
        let end = stream.step_alone().await;
        let Outcome::Failed(error) = end.outcome else {
            panic!("{end:?}");
        };
        assert_eq!(
            (error.code, error.advice),
            ("object_unreadable", Advice::EndRun)
        );
        assert!(stream.checkpoint.pass.as_ref().unwrap().retry_at.is_some());
    });
}
