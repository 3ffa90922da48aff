//! How a backfill uses the rate limit from its first second to its last, in paused
//! time over a portal with latency.

use std::time::Duration;

use super::{
    fake_portal::{FakePortal, Pace},
    *,
};

const LATENCY: Duration = Duration::from_millis(300);
/// Requests in 10 s.
const LIMIT: usize = 190;

/// The ids of a portal: old short ones 50 apart, then long ones at random
/// distances; every hundredth is archived.
fn old_and_new(count: i64) -> impl Iterator<Item = (i64, bool)> {
    let mut random = 12_345_u64;
    let mut id = 50;
    (0..count).map(move |number| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        id += match number.cmp(&(count / 20)) {
            std::cmp::Ordering::Less => 50,
            std::cmp::Ordering::Equal => 20_000_000_000,
            std::cmp::Ordering::Greater => 1 + i64::try_from(random >> 33).unwrap() % 2_000,
        };
        (id, (random >> 40).is_multiple_of(100))
    })
}

/// Ids in bursts, as imports make them: 2,000 side by side, then a gap.
fn imports(count: i64) -> impl Iterator<Item = (i64, bool)> {
    (0..count).map(|number| (1_000_000_000 + number + number / 2_000 * 90_000_000, false))
}

/// What a backfill took.
#[derive(Debug)]
struct Measured {
    /// From the first request to the last answer of a list.
    seconds: f64,
    /// Requests that count against the limit.
    requests: usize,
    /// From the first request to the time at which ten were in flight at once.
    busy_after: Duration,
}

async fn backfill(ids: impl Iterator<Item = (i64, bool)>, lanes: usize) -> Measured {
    let mut portal = FakePortal::with_ids(ids);
    portal.pace = Some(Pace::new(LATENCY, LIMIT));
    let mut stream = Stream::new(portal, lanes);
    let end = stream.step(None).await.unwrap();
    assert_eq!(
        (end.reason, end.outcome),
        (Reason::Backfill, Outcome::Succeeded)
    );
    stream.log.check_nothing_twice();
    stream.log.check_truth(&stream.portal, None);
    let all = stream.portal.pace.as_ref().unwrap().requests();
    let began = all.iter().map(|it| it.at).min().unwrap();
    let mut listed: Vec<_> = all.iter().filter(|it| !it.is_search).collect();
    // The definitions are read again at the end.
    listed.sort_by_key(|it| it.at);
    let requests = listed.len();
    listed.pop();
    let last = listed.iter().map(|it| it.answered).max().unwrap();
    let in_flight = |at| {
        all.iter()
            .filter(|it| it.at <= at && at < it.answered)
            .count()
    };
    let busy = all.iter().map(|it| it.at).find(|at| in_flight(*at) >= 10);
    Measured {
        seconds: last.duration_since(began).as_secs_f64(),
        requests,
        busy_after: busy.unwrap_or(last).duration_since(began),
    }
}

fn paused<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// 100,000 records are 1,000 pages: five windows of 190, and 50 pages of a sixth, whose
/// requests can start when those of the first window did.
#[test]
fn a_backfill_of_100_000_uses_the_limit_from_its_first_second_to_its_last() {
    let measured = paused(backfill(old_and_new(100_000), 48));
    assert!(measured.seconds <= 52.2, "{measured:?}");
    assert!(measured.requests <= 1_055, "{measured:?}");
    // Definitions, the first page of the archived list, the rest of it in two rounds.
    assert!(measured.busy_after <= LATENCY * 4, "{measured:?}");
}

#[test]
fn ids_of_imports_cost_few_extra_requests() {
    let measured = paused(backfill(imports(50_000), 48));
    assert!(measured.seconds <= 31.0, "{measured:?}");
    assert!(measured.requests <= 585, "{measured:?}");
}
