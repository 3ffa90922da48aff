//! How soon after the end of a full pass its verdict is compared with ClickHouse, and
//! what that takes of data-streams' memory.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{LIMIT, NEVER, schedule};
use crate::{
    result::{Goal, Reading},
    system::System,
};

const CONNECTION: &str = "/v1/connections/default";

pub(super) async fn measure(
    system: &mut System<'_>,
    contacts: u32,
) -> anyhow::Result<Vec<Reading>> {
    // No other pass than the requested one.
    system.restart_worker(&schedule(NEVER, NEVER, NEVER))?;
    let path = format!("{CONNECTION}/reconcile");
    let body = json!({"streams": ["contacts"]});
    let answer = system.api.try_send("POST", &path, Some(body)).await?;
    let id = answer.body.get("request_id").cloned();
    let id = id.with_context(|| format!("reconcile: {} {}", answer.status, answer.body))?;

    let has_ended = |run: &Value| run["request_id"] == id && run["outcome"] == "succeeded";
    until(system, "runs", has_ended).await?;
    let ended = Instant::now();
    let before = system.usages()?.data_streams(|it| it.resident_mib);
    system.reset_peaks()?;
    let is_compared = |it: &Value| it["request_id"] == id && !it["still_different"].is_null();
    let verdict = until(system, "reconciliations", is_compared).await?;
    let seconds = ended.elapsed().as_secs_f64();
    let peak = system.usages()?.data_streams(|it| it.peak_mib);
    let differ = verdict.get("still_different");
    ensure!(differ == Some(&json!(0)), "{verdict}");

    let name = |what: &str| format!("the verdict of a full pass over {contacts}: {what}");
    Ok(vec![
        Reading::new(name("from its end to the comparison"), seconds, "s").goal(Goal::AtMost(10.0)),
        Reading::new(name("data-streams' memory meanwhile"), peak - before, "MiB")
            .goal(Goal::AtMost(16.0)),
    ])
}

/// Waits until a list of the connection has such an entry.
async fn until(
    system: &System<'_>,
    list: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let path = format!("{CONNECTION}/{list}");
    let until = Instant::now() + LIMIT;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        let answer = system.api.try_send("GET", &path, None).await?;
        let results = answer.body.get("results").and_then(Value::as_array);
        let mut results = results.context("no list of results")?.iter();
        if let Some(found) = results.find(|it| is_wanted(it)) {
            return Ok(found.clone());
        }
        ensure!(Instant::now() < until, "{path}: {}", answer.body);
    }
}
