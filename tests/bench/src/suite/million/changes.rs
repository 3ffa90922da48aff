//! Continuous changes: how soon they are visible, and how many requests they
//! cost.

use std::{
    collections::HashSet,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Scale, TIMEOUT, ids};
use crate::{
    result::{Goal, Reading, quantile},
    system::System,
};

/// Time between two changes: 1,000 per minute.
const PERIOD: Duration = Duration::from_millis(60);

/// How often ClickHouse is queried for new rows.
const POLL: Duration = Duration::from_millis(50);

/// A pause between two requests that separates two runs, in ms.
const PAUSE_MS: f64 = 3_000.0;

pub(super) async fn measure(system: &System<'_>, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let span = scale.of(
        Duration::from_secs(30),
        Duration::from_secs(75),
        Duration::from_mins(6),
    );
    let since = now_ms();
    let delays = delays(system, span).await?;
    let requests = system.requests().await?;
    let (calls, ideal) = calls(&requests, since).context("no window was read")?;
    Ok(vec![
        Reading::new(
            "1,000 changes a minute: p99 from the read to the view",
            quantile(&delays, 0.99),
            "ms",
        )
        .goal(Goal::AtMost(1_000.0)),
        Reading::new(
            "1,000 changes a minute: median from the read to the view",
            quantile(&delays, 0.5),
            "ms",
        ),
        Reading::new(
            "1,000 changes a minute: calls, against the ideal",
            calls,
            "calls",
        )
        .against(ideal)
        .goal(Goal::RatioAtMost(1.05)),
    ])
}

/// Changes 1,000 objects a minute for that time; milliseconds from the read of each
/// to its row.
pub(in crate::suite) async fn delays(
    system: &System<'_>,
    span: Duration,
) -> anyhow::Result<Vec<f64>> {
    let ids = ids(system).await?;
    let (since, until) = (now_ms(), Instant::now() + span);
    let (changed, delays) = tokio::join!(change(system, &ids, until), watch(system, since, until));
    changed?;
    delays
}

/// Changes objects all over the portal, one after the other.
async fn change(system: &System<'_>, ids: &[u64], until: Instant) -> anyhow::Result<()> {
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .gzip(false)
        .build()?;
    let url = format!("{}/__sim/changes", system.simulator_url);
    let mut ticks = tokio::time::interval(PERIOD);
    let mut number = 0_usize;
    while Instant::now() < until {
        ticks.tick().await;
        number += 1;
        // A prime stride, so that consecutive changes are of distant ids.
        let id = ids.get(number * 7_919 % ids.len()).copied();
        let change = json!({"op": "update", "object_type": "contacts", "id": id,
                            "properties": {"jobtitle": format!("Chief of {number}")}});
        let answer = http.post(&url).json(&change).send().await?;
        answer.error_for_status()?;
    }
    Ok(())
}

/// Milliseconds from the read of a record to its row, for each new row.
async fn watch(system: &System<'_>, since: f64, until: Instant) -> anyhow::Result<Vec<f64>> {
    let (mut seen, mut delays) = (HashSet::new(), Vec::new());
    let mut from = since;
    let mut ticks = tokio::time::interval(POLL);
    while Instant::now() < until {
        ticks.tick().await;
        let sql = format!(
            "SELECT _object_id, _fetch_sequence, toUnixTimestamp64Milli(_synced_at) AS at \
             FROM hubspot_raw.contacts WHERE _synced_at > fromUnixTimestamp64Milli({from:.0}) \
             FORMAT TSV"
        );
        let rows = system.query(&sql).await?;
        let now = now_ms();
        for row in rows.lines() {
            let at: f64 = row.rsplit('\t').next().unwrap_or("").parse()?;
            if seen.insert(row.to_owned()) {
                delays.push(now - at);
                // Rows of other partitions may arrive up to 10 s later.
                from = from.max(at - 10_000.0);
            }
        }
    }
    Ok(delays)
}

/// Requests of all windows, and the minimum for the records found.
fn calls(requests: &[Value], since: f64) -> Option<(f64, f64)> {
    let (mut calls, mut ideal, mut found) = (0.0, 0.0, 0_usize);
    let mut last = f64::MIN;
    let best = |found: usize| {
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let best = (found.div_ceil(200) + found.div_ceil(100)) as f64;
        best
    };
    for request in requests {
        let kind = request.get("kind").and_then(Value::as_str);
        let at = request.get("at_ms").and_then(Value::as_f64)?;
        if at < since || !matches!(kind, Some("search" | "batch_read")) {
            continue;
        }
        if at - last > PAUSE_MS {
            ideal += best(found);
            found = 0;
        }
        last = at;
        calls += 1.0;
        if kind == Some("batch_read") {
            let body = request.get("body").and_then(Value::as_str).unwrap_or("");
            let body: Value = serde_json::from_str(body).ok()?;
            found += body.get("inputs").and_then(Value::as_array)?.len();
        }
    }
    ideal += best(found);
    (ideal > 0.0).then_some((calls, ideal))
}

/// Now, in ms since 1970: the clock of the simulator too.
fn now_ms() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_is_compared_with_its_own_minimum() {
        let read = |at: u32, ids: usize| {
            let inputs: Vec<Value> = (0..ids).map(|id| json!({"id": id.to_string()})).collect();
            let body = json!({"inputs": inputs}).to_string();
            json!({"kind": "batch_read", "at_ms": at, "body": body})
        };
        let search = |at: u32| json!({"kind": "search", "at_ms": at, "body": ""});
        let requests = [
            search(10),
            read(20, 100),
            read(30, 1),
            search(20_000),
            search(20_010),
            read(20_020, 1),
        ];
        assert_eq!(calls(&requests, 0.0), Some((6.0, 5.0)));
    }
}
