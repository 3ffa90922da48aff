//! The limits under load, on a paused clock.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use reqwest::header::HeaderValue;
use tokio::{sync::mpsc, task::JoinSet};

use super::*;

fn limits(general: u32) -> Arc<Limits> {
    let fixed = Limit::Fixed(NonZeroU32::new(general).unwrap());
    Arc::new(Limits::new(fixed, Limit::Auto, 10))
}

fn headers(max: u32, remaining: u32) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-hubspot-ratelimit-max", HeaderValue::from(max));
    headers.insert(
        "x-hubspot-ratelimit-remaining",
        HeaderValue::from(remaining),
    );
    headers.insert(
        "x-hubspot-ratelimit-interval-milliseconds",
        HeaderValue::from(10_000),
    );
    headers
}

/// Sends a request and gets an answer with these headers.
async fn request(limits: &Limits, bucket: Bucket, headers: &HeaderMap) {
    limits.acquire(bucket).await.answered(headers, false);
}

/// Sends without a break for `span`. Returns the times, in ms, at which the requests
/// arrived.
async fn saturate(
    limits: Arc<Limits>,
    bucket: Bucket,
    latency: impl Fn(u64) -> Duration + Clone + Send + 'static,
    span: Duration,
) -> Vec<u128> {
    let origin = Instant::now();
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..80 {
        let (limits, arrived, count) = (Arc::clone(&limits), arrived.clone(), Arc::clone(&count));
        let latency = latency.clone();
        workers.spawn(async move {
            while origin.elapsed() < span {
                let mut permit = limits.acquire(bucket).await;
                let way = latency(count.fetch_add(1, Ordering::Relaxed)) / 2;
                tokio::time::sleep(way).await;
                arrived.send(origin.elapsed().as_millis()).unwrap();
                tokio::time::sleep(way).await;
                permit.answered(&HeaderMap::new(), false);
            }
        });
    }
    workers.join_all().await;
    drop(arrived);
    let mut times = Vec::new();
    while let Some(time) = arrivals.recv().await {
        times.push(time);
    }
    times.sort_unstable();
    times
}

fn most_in_a_window(times: &[u128], window_ms: u128) -> usize {
    let within = |(index, start): (usize, &u128)| {
        times[index..]
            .iter()
            .take_while(|time| **time < start + window_ms)
            .count()
    };
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_saturated_window_is_used_fully_and_never_exceeded_at_any_latency() {
    for latency_ms in [0, 50, 300] {
        let latency = move |_| Duration::from_millis(latency_ms);
        let span = Duration::from_secs(100);
        let times = saturate(limits(190), Bucket::General, latency, span).await;
        assert!(
            most_in_a_window(&times, 10_000) <= 190,
            "latency {latency_ms} ms"
        );
        // By then the latency is known.
        let steady = 20_000..90_000;
        let used = times.iter().filter(|time| steady.contains(*time)).count();
        assert!(
            used * 100 >= 1_330 * 99,
            "latency {latency_ms} ms: {used} of 1,330"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn lists_use_the_limit_and_other_requests_soon_find_a_place() {
    let limits = limits(190);
    limits.spread_lists();
    let latency = |_| Duration::from_millis(300);
    let span = Duration::from_secs(100);
    let lists = saturate(Arc::clone(&limits), Bucket::Lists, latency, span);
    let others = async {
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(2_717)).await;
            let began = Instant::now();
            request(&limits, Bucket::General, &HeaderMap::new()).await;
            longest = longest.max(began.elapsed());
        }
        longest
    };
    let (times, longest) = tokio::join!(lists, others);
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    let used = times.iter().filter(|time| (20_000..90_000).contains(*time));
    let used = used.count() + 70_000 / 2_717;
    assert!(used * 100 >= 1_330 * 97, "{used} of 1,330");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_sent_before_the_pages_of_lists() {
    let limits = limits(10);
    for _ in 0..10 {
        request(&limits, Bucket::Lists, &HeaderMap::new()).await;
    }
    let began = Instant::now();
    let list = async {
        request(&limits, Bucket::Lists, &HeaderMap::new()).await;
        began.elapsed()
    };
    let other = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(limits.acquire(Bucket::General).await);
        drop(limits.acquire(Bucket::General).await);
        began.elapsed()
    };
    let (list, other) = tokio::join!(list, other);
    assert!(
        other <= list && other < Duration::from_secs(11),
        "{other:?} {list:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn searches_stay_within_five_a_second() {
    let latency = |_| Duration::from_millis(80);
    let times = saturate(
        limits(190),
        Bucket::Search,
        latency,
        Duration::from_secs(20),
    )
    .await;
    assert!(most_in_a_window(&times, 1_000) <= 5);
    assert!(times.iter().filter(|time| **time < 20_000).count() >= 95);
}

#[tokio::test(start_paused = true)]
async fn associations_have_a_window_of_their_own_which_no_answer_changes() {
    let limits = limits(190);
    request(&limits, Bucket::Associations, &headers(190, 189)).await;
    let latency = |_| Duration::from_millis(80);
    let span = Duration::from_secs(25);
    let times = saturate(Arc::clone(&limits), Bucket::Associations, latency, span).await;
    assert!(most_in_a_window(&times, 10_000) <= 100);
    assert!(times.len() > 200, "{}", times.len());
    let began = Instant::now();
    for _ in 0..190 {
        request(&limits, Bucket::General, &HeaderMap::new()).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn requests_of_other_apps_count_against_the_window() {
    let limits = Arc::new(Limits::new(Limit::Auto, Limit::Auto, 10));
    request(&limits, Bucket::General, &headers(110, 10)).await;
    let began = Instant::now();
    for _ in 0..10 {
        request(&limits, Bucket::General, &HeaderMap::new()).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    request(&limits, Bucket::General, &HeaderMap::new()).await;
    assert!(began.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_higher_limit_in_an_answer_is_used_at_once() {
    let limits = Arc::new(Limits::new(Limit::Auto, Limit::Auto, 10));
    request(&limits, Bucket::General, &headers(190, 189)).await;
    let began = Instant::now();
    for _ in 0..189 {
        request(&limits, Bucket::General, &HeaderMap::new()).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_pauses_its_bucket_only() {
    let limits = limits(190);
    limits.refused(Bucket::Search, Some(Duration::from_secs(7)));
    let began = Instant::now();
    drop(limits.acquire(Bucket::General).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(limits.acquire(Bucket::Search).await);
    assert!(began.elapsed() >= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_refused_window_counts_as_full_until_it_has_passed() {
    let limits = limits(190);
    limits.refused(Bucket::General, None);
    let began = Instant::now();
    drop(limits.acquire(Bucket::General).await);
    assert!(began.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_sent_does_not_count() {
    let limits = limits(1);
    limits.acquire(Bucket::General).await.unused();
    let began = Instant::now();
    drop(limits.acquire(Bucket::General).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(limits.acquire(Bucket::General).await);
    assert!(
        began.elapsed() >= Duration::from_secs(10),
        "a dropped request may have been sent"
    );
}

#[tokio::test(start_paused = true)]
async fn without_limits_no_request_waits() {
    let limits = Limits::new(Limit::Off, Limit::Off, 10);
    let began = Instant::now();
    for _ in 0..5_000 {
        request(&limits, Bucket::General, &headers(100, 0)).await;
        request(&limits, Bucket::Search, &HeaderMap::new()).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn latencies_below_400_ms_never_exceed_the_limit(
        general in 1_u32..60,
        latencies in prop::collection::vec(1_u64..400, 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        let latency = move |index: u64| {
            let index = usize::try_from(index).unwrap() % latencies.len();
            Duration::from_millis(latencies[index])
        };
        let span = Duration::from_secs(40);
        let times =
            runtime.block_on(saturate(limits(general), Bucket::General, latency, span));
        prop_assert!(most_in_a_window(&times, 10_000) <= general as usize);
    }
}
