//! A portal with a million contacts: pages, exports and the change log by the API, and
//! 1,000 changes per minute.

pub(super) mod changes;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Scale;
use crate::{
    result::{Goal, Reading, quantile},
    system::{Servers, System, get},
};

/// When the first sync is given up.
const LIMIT: Duration = Duration::from_mins(10);

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_mins(2);

const ROUTE: &str = "/v1/connections/default/records/contacts";

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(2_000, 1_000_000, 1_000_000);
    let system = System::of(contacts)
        .simulator("HUBSPOT_SIM_DISTINCT", "50000")
        .simulator("HUBSPOT_SIM_KEEP_REQUESTS", "true")
        .start(servers)
        .await?;
    let interval = scale.of("10s", "30s", "1m");
    system
        .start_default(json!({"streams": ["contacts"], "interval": interval}))
        .await?;
    system.until_visible("contacts", contacts, LIMIT).await?;

    let mut readings = changes::measure(&system, scale).await?;
    system
        .api
        .send("POST", "/v1/connections/default/stop", None)
        .await;
    let ids = ids(&system).await?;
    for _ in 0..scale.runs {
        let span = scale.of(
            Duration::from_millis(300),
            Duration::from_secs(5),
            Duration::from_secs(20),
        );
        readings.extend(pages(&system, &ids, 4, span).await?);
        readings.extend(pages(&system, &ids, 32, span).await?);
        for whole in [EXPORT, LOG] {
            readings.extend(lines(&system, &whole, contacts).await?);
        }
    }
    system.end().await?;
    Ok(readings)
}

/// The ids of all live objects, in order.
async fn ids(system: &System<'_>) -> anyhow::Result<Vec<u64>> {
    let url = format!("{}/__sim/ids/contacts", system.simulator_url);
    let answer: Value = get(&url).await?.json().await?;
    let live = answer.get("live").and_then(Value::as_array);
    let ids: Vec<u64> = live
        .context("the simulator returns no ids")?
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    ensure!(!ids.is_empty(), "the simulator returns no ids");
    Ok(ids)
}

/// Reads pages of 100 records; each client starts at another record.
async fn pages(
    system: &System<'_>,
    ids: &[u64],
    clients: usize,
    span: Duration,
) -> anyhow::Result<Vec<Reading>> {
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .gzip(false)
        .build()?;
    let url = format!("{}{ROUTE}?limit=100", system.api.url());
    let until = Instant::now() + span;
    let mut reading = JoinSet::new();
    for client in 0..clients {
        // Clients that read the same pages would find them cached.
        let start = ids.get(ids.len() / clients * client).copied();
        let start = format!("k1{:016x}", start.unwrap_or(0));
        reading.spawn(read_pages(http.clone(), url.clone(), start, until));
    }
    let mut taken = Vec::new();
    while let Some(client) = reading.join_next().await {
        taken.extend(client??);
    }
    let name = format!("{clients} clients");
    let p99 = quantile(&taken, 0.99) * 1_000.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of pages")]
    let rate = taken.len() as f64 / span.as_secs_f64();
    let most = if clients > 4 { 400.0 } else { 50.0 };
    let mut rate = Reading::new(format!("pages of 100, {name}"), rate, "pages/s");
    if clients <= 4 {
        rate = rate.goal(Goal::AtLeast(200.0));
    }
    Ok(vec![
        rate,
        Reading::new(format!("pages of 100, {name}: p99"), p99, "ms").goal(Goal::AtMost(most)),
    ])
}

/// Reads pages in order; the seconds that each took. A status other than 200 is
/// an error.
async fn read_pages(
    http: reqwest::Client,
    url: String,
    start: String,
    until: Instant,
) -> anyhow::Result<Vec<f64>> {
    let (mut after, mut taken) = (Some(start.clone()), Vec::new());
    while Instant::now() < until {
        let cursor = after.as_deref().unwrap_or(&start);
        let began = Instant::now();
        let answer = http.get(format!("{url}&after={cursor}")).send().await?;
        let page = answer.error_for_status()?.bytes().await?;
        taken.push(began.elapsed().as_secs_f64());
        let page: Page = serde_json::from_slice(&page)?;
        after = page.paging.and_then(|it| it.next).map(|it| it.after);
    }
    Ok(taken)
}

#[derive(Debug, serde::Deserialize)]
struct Page {
    paging: Option<Paging>,
}

#[derive(Debug, serde::Deserialize)]
struct Paging {
    next: Option<Next>,
}

#[derive(Debug, serde::Deserialize)]
struct Next {
    after: String,
}

/// What is read as a whole.
struct Whole {
    name: &'static str,
    path: &'static str,
    /// Records a second.
    goal: f64,
}

/// All records.
const EXPORT: Whole = Whole {
    name: "export",
    path: "/v1/connections/default/records/contacts?archived=any",
    goal: 200_000.0,
};

/// All versions that the log has.
const LOG: Whole = Whole {
    name: "change log",
    path: "/v1/connections/default/changes",
    goal: 50_000.0,
};

/// Reads all of it as NDJSON.
async fn lines(system: &System<'_>, whole: &Whole, contacts: u32) -> anyhow::Result<Vec<Reading>> {
    let Whole { name, path, goal } = whole;
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .gzip(false)
        .build()?;
    let request = http.get(format!("{}{path}", system.api.url()));
    let request = request.header("accept", "application/x-ndjson");
    system.reset_peaks()?;
    let before = system.usages()?;
    let began = Instant::now();
    let mut body = request.send().await?.error_for_status()?.bytes_stream();
    let (mut lines, mut first_peak) = (0_usize, None);
    while let Some(part) = body.next().await {
        let part = part?;
        lines += part.split(|byte| *byte == b'\n').count() - 1;
        if first_peak.is_none() && lines > contacts as usize / 10 {
            first_peak = Some(system.usages()?.data_streams(|it| it.peak_mib));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    ensure!(lines >= contacts as usize, "{lines} lines of {contacts}");
    let used = system.usages()?.since(&before);
    let peak = used.data_streams(|it| it.peak_mib);
    #[expect(clippy::cast_precision_loss, reason = "a count of lines")]
    let lines = lines as f64;
    Ok(vec![
        Reading::new(format!("{name} as NDJSON"), lines / seconds, "records/s")
            .goal(Goal::AtLeast(*goal)),
        Reading::new(
            format!("{name}: peak memory of data-streams, against after a tenth"),
            peak,
            "MiB",
        )
        .against(first_peak.unwrap_or(peak))
        .goal(Goal::RatioAtMost(1.1)),
        Reading::new(
            format!("{name}: CPU of data-streams, for 1,000,000"),
            used.data_streams(|it| it.cpu_seconds) / lines * 1e6,
            "s",
        ),
    ])
}
