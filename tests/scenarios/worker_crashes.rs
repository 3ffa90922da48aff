//! The worker is killed at every crash point and continues at the right page.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use harness::{HANG_LIMIT, RecordLog, Stack, Timeline, truth};
use hubspot_sim::{Kind, Seen};
use serde_json::json;

/// Every crash point of the worker, and at which occurrence it is killed.
const POINTS: [&str; 8] = [
    "token-refresh:1",
    "after-fetch:12",
    "before-begin:6",
    "after-begin:7",
    "mid-produce:8",
    "before-commit:6",
    "after-commit:7",
    "take-over:1",
];

/// The backfill's pages of contacts, each by the id at which it begins.
#[derive(Debug, Default)]
struct Pages {
    /// Requested pages.
    asked: BTreeSet<u64>,
    /// Pages whose records are in the log.
    committed: BTreeSet<u64>,
    /// Ends of requested pages, at which the next page begins. A request that
    /// begins elsewhere is a guess where to split a lane, not a page of one.
    cursors: BTreeSet<u64>,
}

impl Pages {
    /// The ids at which requests for live contacts begin.
    fn of(seen: &[Seen]) -> BTreeSet<u64> {
        let contacts = seen
            .iter()
            .filter(|seen| seen.kind == Kind::List && seen.object_type == "contacts");
        contacts
            .map(|seen| {
                let after = seen
                    .query
                    .split('&')
                    .find_map(|it| it.strip_prefix("after="));
                after.map_or(0, |after| after.parse().unwrap_or(u64::MAX))
            })
            .collect()
    }

    /// Requested pages that are in the log already.
    fn fetched_again(&self, requests: &BTreeSet<u64>) -> Vec<u64> {
        let is_page = |after: &&u64| **after == 0 || self.cursors.contains(after);
        let again = requests.intersection(&self.committed).filter(is_page);
        again.copied().collect()
    }

    /// Adds requested pages, and pages that are in the log by now.
    fn add(&mut self, requests: BTreeSet<u64>, ids: &BTreeSet<u64>, log: &RecordLog) {
        let live = log.records.iter().filter(|it| !it.archived);
        let written: HashSet<_> = live
            .filter(|it| it.object_type == "contacts")
            .map(|it| it.object_id.unsigned_abs())
            .collect();
        self.asked.extend(requests);
        let page = |after: &u64| ids.range(*after..);
        self.cursors
            .extend(self.asked.iter().filter_map(|it| page(it).nth(100)));
        // The page of a guess overlaps a page of the lane that it splits: a
        // record on both does not tell which of them was committed.
        let guessed: HashSet<_> = self
            .asked
            .iter()
            .filter(|it| **it != 0 && !self.cursors.contains(it))
            .flat_map(|it| page(it).take(100))
            .collect();
        let committed = self.asked.iter().filter(|after| {
            let first = page(after).next();
            first.is_some_and(|it| written.contains(it) && !guessed.contains(it))
        });
        self.committed.extend(committed);
    }
}

/// A system without a worker, whose portal is accessed by OAuth.
async fn stack_without_a_worker() -> Stack {
    let credential = json!({
        "client_id": "app", "client_secret": "app-secret", "refresh_token": "refresh-1",
    });
    let mut stack = Stack::with(20_000, 50)
        .portal(|portal| {
            portal.tokens.clear();
            portal.oauth = Some(hubspot_sim::OAuthConfig {
                client_id: "app".to_owned(),
                client_secret: "app-secret".to_owned(),
                refresh_token: "refresh-1".to_owned(),
                rotate: false,
                expires_in_s: 1_800,
            });
        })
        .credential("oauth.json", &credential.to_string())
        .worker("LANES", "2")
        .start()
        .await;
    stack.first_worker().kill();
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_crash_point_fetches_no_committed_page_again() {
    let mut stack = stack_without_a_worker().await;
    let timeline = Timeline::new(0);
    let _printed = timeline.guard();
    stack.simulator.set_latency(Duration::from_millis(300));
    let settings = json!({"credential": "file:oauth.json"});
    stack.api().start("default", settings.clone()).await;

    let ids: BTreeSet<_> = stack
        .simulator
        .portal()
        .ids("contacts")
        .into_iter()
        .collect();
    let mut pages = Pages::default();
    let mut requests = 0;
    for point in POINTS {
        stack.restart_worker(0, &[("WORKER_CRASH_AT", point)]);
        let why = format!("it should be killed at {point}; was it built with fault-injection?");
        stack.first_worker().until_ended(HANG_LIMIT, &why).await;
        // No more requests follow, as there is no other worker.
        let seen = stack.simulator.requests().all().split_off(requests);
        requests += seen.len();
        let new = Pages::of(&seen);
        let fetched_again = pages.fetched_again(&new);
        assert!(
            fetched_again.is_empty(),
            "after {point}, committed before: {fetched_again:?}"
        );
        let repeated = new.intersection(&pages.asked).count();
        pages.add(new, &ids, &stack.log().await);
        timeline.note(format!(
            "killed at {point}: {repeated} requested again; {} of {} pages are in the log",
            pages.committed.len(),
            pages.asked.len(),
        ));
    }
    let (some, all) = (pages.committed.len(), ids.len() / 100);
    assert!((3..all).contains(&some), "{some} of {all} pages in between");
    stack.simulator.set_latency(Duration::ZERO);
    stack.restart_worker(0, &[]);
    stack.first_sync(settings).await;
    let log = stack.log().await;
    log.assert_exactly_once();
    let backfill = log.records.iter().filter(|it| it.reason == "backfill");
    let runs: HashSet<_> = backfill.map(|it| (&it.object_type, &it.run_id)).collect();
    assert_eq!(runs.len(), 2, "a crash keeps the run: {runs:?}");
    for object_type in ["contacts", "companies"] {
        truth::log_matches(&stack, &log, object_type);
        stack.matches_truth(object_type).await;
    }
}
