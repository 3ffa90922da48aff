//! The share of HubSpot's rate limit that the worker uses, at latencies of real
//! accounts.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Scale;
use crate::{
    result::{Goal, Reading, median},
    system::{Servers, System},
};

/// HubSpot's window for the rate limit, in ms.
const WINDOW_MS: f64 = 10_000.0;

/// Records per page, and so per request.
const PAGE: f64 = 100.0;

#[derive(Debug, Clone, Copy)]
struct Case {
    latency_ms: u32,
    /// Requests in a window.
    limit: u32,
    lanes: u32,
}

/// The cases of the table. One lane cannot reach the limit where a request takes
/// longer than its share of the window; it is shown for comparison.
const CASES: [Case; 7] = [
    case(50, 190, 12),
    case(300, 190, 12),
    case(50, 190, 1),
    case(300, 190, 1),
    case(300, 250, 12),
    case(300, 100, 12),
    case(300, 50, 12),
];

const fn case(latency_ms: u32, limit: u32, lanes: u32) -> Case {
    Case {
        latency_ms,
        limit,
        lanes,
    }
}

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for case in CASES.iter().take(scale.of(1, CASES.len(), CASES.len())) {
        readings.extend(case.measure(servers, scale).await?);
    }
    Ok(readings)
}

impl Case {
    async fn measure(self, servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
        // The first window is one burst; the rate shows after it.
        let contacts = if self.lanes == 1 {
            scale.of(1_000, 6_000, 20_000)
        } else {
            scale.of(1_000, self.limit * 215, self.limit * 615)
        };
        let limit = if scale.of(true, false, false) {
            // Low enough to exceed one window with little data.
            5
        } else {
            self.limit
        };
        let system = System::of(contacts)
            .simulator("HUBSPOT_SIM_LATENCY_MS", &self.latency_ms.to_string())
            .simulator("HUBSPOT_SIM_RATE_LIMIT", &limit.to_string())
            .simulator("HUBSPOT_SIM_SEARCH_LIMIT", "5")
            .simulator("HUBSPOT_SIM_KEEP_REQUESTS", "true")
            .worker("HUBSPOT_RATE_LIMIT", "auto")
            .worker("HUBSPOT_SEARCH_LIMIT", "auto")
            .worker("LANES", &self.lanes.to_string())
            .start(servers)
            .await?;
        system
            .start_default(json!({"streams": ["contacts"], "interval": "1h"}))
            .await?;
        system
            .until_visible("contacts", contacts, Duration::from_mins(10))
            .await?;
        let requests = system.requests().await?;
        system.end().await?;
        self.readings(&requests, limit)
    }

    fn readings(self, requests: &[Value], limit: u32) -> anyhow::Result<Vec<Reading>> {
        let refused = requests.iter().filter(|it| it["status"] == 429).count();
        let times: Vec<f64> = requests
            .iter()
            .filter(|it| it["kind"] != "search")
            .filter_map(|it| it["at_ms"].as_f64())
            .collect();
        let name = format!(
            "{} ms, {} per 10 s, {}",
            self.latency_ms,
            self.limit,
            if self.lanes == 1 { "one lane" } else { "lanes" },
        );
        let best = f64::from(limit) * PAGE * 1_000.0 / WINDOW_MS;
        let rate = rate(&times, limit as usize).context("too few requests")?;
        let mut reading = Reading::new(format!("{name}: share of the limit"), rate / best, "");
        if self.lanes > 1 {
            reading = reading.goal(Goal::AtLeast(0.97));
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let refused = refused as f64;
        Ok(vec![
            Reading::new(format!("{name}: records"), rate, "records/s"),
            reading,
            Reading::new(format!("{name}: answers 429"), refused, "").goal(Goal::AtMost(0.0)),
        ])
    }
}

/// Records per second after the first burst, from the time between each request
/// and the one a window earlier that it had to wait for. Where the limit was never
/// reached: all requests divided by their time.
fn rate(times: &[f64], limit: usize) -> Option<f64> {
    let waited: Vec<f64> = times
        .iter()
        .zip(times.iter().skip(limit))
        .map(|(first, last)| last - first)
        .collect();
    if waited.is_empty() {
        let span = times.last()? - times.first()?;
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        return Some(times.len() as f64 * PAGE * 1_000.0 / span);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let limit = limit as f64;
    Some(limit * PAGE * 1_000.0 / median(&waited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_burst_is_ignored() {
        // Two at once, then two after 1.1 windows.
        let times = [0.0, 1.0, 11_000.0, 11_001.0];
        let rate = rate(&times, 2).unwrap();
        assert!((rate - 200_000.0 / 11_000.0).abs() < 1e-6, "{rate}");
    }
}
