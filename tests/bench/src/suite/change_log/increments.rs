//! Whether increments start on their schedule, and how soon changes are visible, while
//! a full pass reads at HubSpot's limit.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use super::{LIMIT, NEVER, schedule};
use crate::{
    result::{Goal, Reading, quantile},
    suite::{Scale, connections::off_schedule, million::changes},
    system::System,
};

/// HubSpot's limit for general requests in any 10 s.
const LIMIT_PER_WINDOW: u32 = 190;
/// That window, in seconds.
const WINDOW: f64 = 10.0;
/// A window of requests at once, which the pass begins with, in pages.
const FIRST_BURST: usize = 200;

pub(super) async fn measure(system: &mut System<'_>, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    // Fewer for little data, so that the pass lasts.
    let limit: u32 = scale.of(5, LIMIT_PER_WINDOW, LIMIT_PER_WINDOW);
    let limits = json!({"general": limit, "search": 5, "daily": null, "associations": null});
    system.control_simulator("limits", limits).await?;
    system
        .control_simulator("requests/clear", Value::Null)
        .await?;
    let mut settings = schedule(NEVER, NEVER, "10s").to_vec();
    settings.extend([
        ("HUBSPOT_RATE_LIMIT", "auto"),
        ("HUBSPOT_SEARCH_LIMIT", "auto"),
    ]);
    let began = system.restart_worker(&settings)?;
    // Until the limit has been reached.
    let burst = scale.of(2, FIRST_BURST, FIRST_BURST);
    while pages(&system.requests().await?) < burst {
        ensure!(began.elapsed() < LIMIT, "the pass does not begin");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    system
        .control_simulator("requests/clear", Value::Null)
        .await?;
    let span = scale.of(
        Duration::from_secs(25),
        Duration::from_mins(2),
        Duration::from_mins(6),
    );
    let began = Instant::now();
    let delays = changes::delays(system, span).await?;
    let requests = system.requests().await?;
    let seconds = began.elapsed().as_secs_f64();
    readings(&requests, &delays, f64::from(limit) * seconds / WINDOW)
}

fn readings(requests: &[Value], delays: &[f64], possible: f64) -> anyhow::Result<Vec<Reading>> {
    let others = requests.iter().filter(|it| !is_page(it));
    let times = others.filter_map(|it| Some((0, it["at_ms"].as_f64()?)));
    let off = off_schedule(times);
    ensure!(
        !off.is_empty(),
        "fewer than two runs over changes were seen"
    );
    let refused = requests.iter().filter(|it| it["status"] == 429).count();
    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    let (refused, general) = (
        refused as f64,
        requests.iter().filter(|it| it["kind"] != "search").count() as f64,
    );
    let name = |what: &str| format!("a full pass at the limit: {what}");
    Ok(vec![
        Reading::new(name("share of the limit used"), general / possible, ""),
        Reading::new(name("answers 429"), refused, ""),
        Reading::new(
            name("starts of increments off schedule, p99"),
            quantile(&off, 0.99),
            "ms",
        )
        .goal(Goal::AtMost(1_000.0)),
        Reading::new(
            name("starts of increments off schedule, median"),
            quantile(&off, 0.5),
            "ms",
        ),
        Reading::new(
            name("from the read to the view, p99"),
            quantile(delays, 0.99),
            "ms",
        )
        .goal(Goal::AtMost(1_000.0)),
    ])
}

fn is_page(request: &Value) -> bool {
    ["list", "list_archived"]
        .iter()
        .any(|it| request["kind"] == *it)
}

fn pages(requests: &[Value]) -> usize {
    requests.iter().filter(|it| is_page(it)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_pass_are_no_starts() {
        let request = |kind: &str, at_ms: u32| json!({"kind": kind, "at_ms": at_ms, "status": 200});
        let mut requests: Vec<Value> = (0..300).map(|it| request("list", it * 100)).collect();
        let starts = [0, 10_020, 20_020].map(|at| request("properties", at));
        requests.extend(starts);
        let readings = readings(&requests, &[5.0], 303.0).unwrap();
        let value = |name: &str| {
            readings
                .iter()
                .find(|it| it.name.contains(name))
                .unwrap()
                .value
        };
        assert!((value("share") - 1.0).abs() < 1e-9);
        assert!((value("p99") - 20.0).abs() < 1e-9);
    }
}
