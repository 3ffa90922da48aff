//! Runs against a portal that changes between answers and a log that fails after any
//! page.

mod fake_log;
mod fake_portal;
mod scenarios;
mod unreadable;

use std::sync::Arc;

use proptest::prelude::*;
use schemas::{Checkpoint, Definitions, ReconcileIntervals, Request, RequestKind};

use self::{fake_log::FakeLog, fake_portal::FakePortal, scenarios::Scenario};
use super::*;
use crate::schedule::{Due, Settings, Size, Slot, StreamDemand, due};

/// One stream, from run to run.
struct Stream {
    portal: FakePortal,
    log: FakeLog,
    context: StreamContext,
    checkpoint: Checkpoint,
}

impl Stream {
    fn new(portal: FakePortal, lanes: usize) -> Self {
        let context = StreamContext {
            object_type: "contacts".to_owned(),
            definitions: Arc::new(Definitions {
                portal_id: 7,
                object_type: "contacts".to_owned(),
                version: 0,
                fetched_at: 0,
                properties: Vec::new(),
            }),
            settings: Settings {
                lanes,
                ..Settings::default()
            },
            deletions_confirmed: false,
            properties: None,
        };
        Self {
            portal,
            log: FakeLog::default(),
            context,
            checkpoint: Checkpoint::default(),
        }
    }

    /// The stream of a scenario when nothing changes any more.
    async fn after(scenario: Scenario) -> Self {
        let mut stream = Self::new(scenario.portal, scenario.lanes);
        stream.log.crash_after(scenario.crashes);
        for _ in 0..scenario.rounds {
            stream.catch_up().await;
            stream.portal.advance_time(61_000);
        }
        stream.portal.stop_churn();
        stream
    }

    fn wanted(request: Option<&Request>) -> StreamDemand<'_> {
        StreamDemand {
            running: true,
            interval: 60_000,
            passes: Settings::default().passes(ReconcileIntervals::default()),
            request,
            rechecks_from: None,
            size: Size::default(),
        }
    }

    /// Makes the runs that are due, side by side; none if none is.
    async fn step(&mut self, request: Option<&Request>) -> Vec<RunEnd> {
        let plans = Slot::ALL.map(|slot| {
            due(
                slot,
                &self.checkpoint,
                &Self::wanted(request),
                &self.context.settings,
                self.portal.now(),
            )
        });
        let progress = watch::Sender::new(Progress::default());
        let context = RunContext {
            source: &self.portal,
            sink: &self.log,
            stream: &self.context,
            progress: &progress,
        };
        let runs = plans.into_iter().filter_map(|due| match due {
            Due::Now(plan) => Some(super::run(&context, &self.checkpoint, plan)),
            Due::At(_) | Due::Never => None,
        });
        let ends = futures::future::join_all(runs).await;
        // The state after a restart. After runs that ended normally it is their own.
        if ends.iter().any(|end| end.outcome == Outcome::Closed) {
            self.log.reopen();
        }
        let (checkpoint, definitions) = self.log.position();
        self.checkpoint = checkpoint.unwrap_or_default();
        if let Some(definitions) = definitions {
            self.context.definitions = Arc::new(definitions);
        }
        ends
    }

    /// Makes the one run that is due.
    async fn step_alone(&mut self) -> RunEnd {
        let mut ends = self.step(None).await;
        assert_eq!(ends.len(), 1, "{ends:?}");
        ends.remove(0)
    }

    /// Makes runs until none is due.
    async fn catch_up(&mut self) {
        for _ in 0..400 {
            if self.step(None).await.is_empty() {
                return;
            }
        }
        panic!(
            "400 runs and still another one is due: {:?}",
            self.checkpoint
        );
    }

    /// Makes the full pass of a resync, while nothing changes.
    async fn resync(&mut self, id: &str) {
        let request = Request {
            stream: "contacts".to_owned(),
            request_id: id.to_owned(),
            kind: RequestKind::Resync,
            requested_at: 0,
        };
        for _ in 0..400 {
            if self.checkpoint.request_done.as_deref() == Some(id) {
                return;
            }
            if self.step(Some(&request)).await.is_empty() {
                // What seems to be gone is read again later.
                self.portal.advance_time(61_000);
            }
        }
        panic!("the pass does not end: {:?}", self.checkpoint);
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// The main promise: whatever changes meanwhile, and whenever the log fails, its
    /// last records match the portal, and no run writes a version twice.
    #[test]
    fn the_last_records_match_the_portal_after_any_changes_and_crashes(scenario in scenarios::scenarios(true)) {
        block_on(async {
            let mut stream = Stream::after(scenario).await;
            stream.log.crash_after(Vec::new());
            stream.portal.advance_time(61_000);
            stream.catch_up().await;
            stream.resync("quiet").await;
            stream.log.check_nothing_twice();
            stream.log.check_nothing_repeated();
            stream.log.check_hashes();
            stream.log.check_verdicts();
            assert_ne!(stream.log.verdicts(), [], "a pass is decided");
            stream.log.check_truth(&stream.portal);
            let records = stream.log.records();
            stream.portal.advance_time(25 * 3_600_000);
            stream.catch_up().await;
            assert_eq!(stream.log.records(), records, "nothing has changed");
        });
    }

    /// Searches alone find every creation and change, and no run restarts for ever.
    #[test]
    fn searches_find_all_changes_without_a_full_pass(scenario in scenarios::scenarios(false)) {
        block_on(async {
            let mut stream = Stream::after(scenario).await;
            stream.portal.advance_time(61_000);
            stream.catch_up().await;
            // The values of a second new property wait for the next pass.
            if stream.checkpoint.full_wanted {
                stream.portal.advance_time(6 * 3_600_000);
                stream.catch_up().await;
            }
            stream.log.check_nothing_twice();
            stream.log.check_truth(&stream.portal);
        });
    }
}

#[test]
fn more_records_in_one_millisecond_than_a_search_returns_are_all_read() {
    block_on(async {
        let mut stream = Stream::new(FakePortal::new(1, 50), 4);
        stream.catch_up().await;
        stream.portal.advance_time(120_000);
        stream.portal.touch_all_at_once(12_000);
        stream.portal.advance_time(120_000);
        let end = stream.step_alone().await;
        assert_eq!(
            (end.reason, end.outcome),
            (Reason::Incremental, Outcome::Succeeded)
        );
        stream.log.check_nothing_twice();
        stream.log.check_truth(&stream.portal);
    });
}

#[test]
fn a_new_property_restarts_the_search_and_makes_a_full_pass_due() {
    block_on(async {
        let mut stream = Stream::new(FakePortal::new(2, 250), 4);
        stream.catch_up().await;
        stream.portal.advance_time(120_000);
        stream.portal.touch_all_at_once(300);
        stream.portal.advance_time(120_000);
        stream.portal.add_property_after_calls(3);
        let first = stream.step_alone().await;
        assert_eq!(first.outcome, Outcome::Restarted);
        let reasons = [Reason::Incremental, Reason::Full];
        let ends = stream.step(None).await;
        assert_eq!(
            ends.iter().map(|end| end.reason).collect::<Vec<_>>(),
            reasons
        );
        assert!(ends.iter().all(|end| end.outcome == Outcome::Succeeded));
        assert_ne!(first.run_id, ends[0].run_id);
        assert_eq!(stream.step(None).await, []);
    });
}

#[test]
fn a_pass_whose_share_of_the_day_is_spent_waits_and_continues_where_it_was() {
    block_on(async {
        let mut stream = Stream::new(FakePortal::new(4, 3_000), 4);
        stream.catch_up().await;
        stream.portal.advance_time(25 * 3_600_000);
        stream.portal.spend_share_after_calls(12);
        let ends = stream.step(None).await;
        let full = ends.iter().find(|end| end.reason == Reason::Full).unwrap();
        let Outcome::Failed(error) = &full.outcome else {
            panic!("{full:?}");
        };
        let Advice::WaitUntil(until) = error.advice else {
            panic!("{error:?}");
        };
        let pass = stream.checkpoint.pass.clone().unwrap();
        assert!(pass.list.is_some_and(|list| !list.lanes.is_empty()));
        // Changes are read meanwhile.
        let increments = ends.iter().find(|end| end.reason == Reason::Incremental);
        assert_eq!(increments.unwrap().outcome, Outcome::Succeeded);
        stream.portal.advance_time(until - stream.portal.now());
        let ends = stream.step(None).await;
        let continued = ends.iter().find(|end| end.reason == Reason::Full).unwrap();
        assert_eq!(
            (&continued.run_id, &continued.outcome),
            (&full.run_id, &Outcome::Succeeded)
        );
    });
}

#[test]
fn a_large_list_is_read_in_lanes_and_an_opaque_one_is_not() {
    block_on(async {
        for opaque in [false, true] {
            let mut portal = FakePortal::new(3, 5_000);
            portal.opaque = opaque;
            let mut stream = Stream::new(portal, 8);
            let end = stream.step_alone().await;
            assert_eq!(
                (end.outcome, end.expected_total),
                (Outcome::Succeeded, Some(5_000))
            );
            assert_eq!(stream.checkpoint.single_lane, opaque);
            assert_eq!(stream.portal.most_at_once() > 4, !opaque);
            stream.log.check_nothing_twice();
            stream.log.check_truth(&stream.portal);
        }
    });
}
