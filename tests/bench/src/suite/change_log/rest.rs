//! A portal in which nothing changes: what a full pass writes, and how many requests
//! a day of runs takes.

use serde_json::{Value, json};

use super::{LIMIT, NEVER, schedule};
use crate::{
    result::{Goal, Reading, median},
    suite::Scale,
    system::System,
};

/// Runs of a day, by the defaults of a connection (`interval`, 5 min) and of the worker
/// (`services/worker/src/schedule.rs`). Intervals of passes grow with the size of a list,
/// but not yet for a million live contacts and 10,000 archived ones.
const DAY: [(&str, f64); 4] = [
    ("incremental", 288.0),
    ("late", 24.0),
    ("archived", 24.0),
    ("full", 1.0),
];

pub(super) async fn measure(
    system: &mut System<'_>,
    contacts: u32,
    scale: Scale,
) -> anyhow::Result<Vec<Reading>> {
    // The median of so many runs of each kind counts.
    let runs = scale.of(1, 3, 5);
    // The checks first: a full pass that is due comes before them.
    system.restart_worker(&schedule("10s", "10s", NEVER))?;
    system
        .start_default(json!({"streams": ["contacts"], "interval": "10s"}))
        .await?;
    for reason in ["incremental", "late", "archived"] {
        while system.succeeded(reason).await?.len() < runs {
            let known = system.succeeded(reason).await?;
            system.until_succeeded(reason, &known, LIMIT).await?;
        }
    }
    let [records, index] = ["records", "index"].map(|it| format!("{}{it}", system.prefix));
    let before = (
        system.servers.ends(&records).await?,
        system.servers.ends(&index).await?,
    );
    system.restart_worker(&schedule(NEVER, NEVER, "10s"))?;
    let pass = system.until_succeeded("full", &[], LIMIT).await?;
    let written = system.servers.written_since(&records, &before.0).await?;
    let indexed = system.servers.written_since(&index, &before.1).await?;

    let mut readings = vec![
        Reading::new(
            format!("a full pass over {contacts} at rest: records written"),
            written.messages,
            "",
        )
        .goal(Goal::AtMost(0.0)),
        Reading::new(
            format!("a full pass over {contacts} at rest: bytes of the index written"),
            indexed.bytes,
            "bytes",
        )
        .goal(Goal::AtMost(1_000_000.0)),
    ];
    let mut day = 0.0;
    for (reason, runs) in DAY {
        let seen = if reason == "full" {
            vec![pass.clone()]
        } else {
            system.succeeded(reason).await?
        };
        let requests: Vec<f64> = seen.iter().filter_map(requests).collect();
        let of_a_day = median(&requests) * runs;
        day += of_a_day;
        readings.push(Reading::new(
            format!("a quiet day of {contacts}: requests of {runs} {reason} runs"),
            of_a_day,
            "requests",
        ));
    }
    readings.push(
        Reading::new(
            format!("a quiet day of {contacts}: requests of all runs"),
            day,
            "requests",
        )
        .goal(Goal::AtMost(15_000.0)),
    );
    Ok(readings)
}

fn requests(run: &Value) -> Option<f64> {
    run.get("requests")?.as_f64()
}
