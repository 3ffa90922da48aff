//! What a first sync costs all processes when HubSpot's limit sets the pace, against the
//! same records as fast as they can be fetched.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use super::Scale;
use crate::{
    result::{Goal, Reading},
    system::{Servers, System, SystemBuilder},
    usage::{SIMULATOR, Usages},
};

/// When a sync is given up.
const LIMIT: Duration = Duration::from_mins(5);

/// Time between two looks whether all is visible. A look costs ClickHouse 2 ms of CPU
/// time, so they are rare in a sync that takes a minute.
const LOOK: Duration = Duration::from_secs(1);

/// What a sync cost.
#[derive(Debug)]
struct Cost {
    /// CPU time until all records were visible.
    used: Usages,
    transactions: f64,
    inserts: f64,
}

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(1_000, 100_000, 100_000);
    let unlimited = sync(servers, System::of(contacts), contacts).await?;
    let limited = System::of(contacts)
        .simulator("HUBSPOT_SIM_LATENCY_MS", "50")
        .simulator("HUBSPOT_SIM_RATE_LIMIT", scale.of("19", "190", "190"))
        .worker("HUBSPOT_RATE_LIMIT", "auto");
    let limited = sync(servers, limited, contacts).await?;

    let name = "190 per 10 s, 50 ms";
    let row = |what: &str, unit, of: &dyn Fn(&Cost) -> f64| {
        Reading::new(format!("{name}: {what}"), of(&limited), unit).against(of(&unlimited))
    };
    let mut readings = vec![
        row("CPU of all processes", "s", &Cost::cpu).goal(Goal::RatioAtMost(2.0)),
        row("transactions", "", &|it| it.transactions),
        row("inserts", "", &|it| it.inserts),
    ];
    for (process, _) in limited.used.each() {
        let what = format!("CPU of {process}");
        readings.push(row(&what, "s", &|it| it.used.cpu_seconds(process)));
    }
    Ok(readings)
}

impl Cost {
    /// CPU seconds of all processes that a real system has.
    fn cpu(&self) -> f64 {
        let all: f64 = self.used.each().map(|(_, it)| it.cpu_seconds).sum();
        all - self.used.cpu_seconds(SIMULATOR)
    }
}

async fn sync(servers: &Servers, builder: SystemBuilder, contacts: u32) -> anyhow::Result<Cost> {
    let system = builder.start(servers).await?;
    let before = system.usages()?;
    let began = Instant::now();
    // Runs over changes begin meanwhile, so the pages of lists are spread over the window.
    let settings = json!({"streams": ["contacts"], "interval": "20s"});
    system.start_default(settings).await?;
    let visible = "SELECT count() FROM hubspot_raw.contacts";
    loop {
        tokio::time::sleep(LOOK).await;
        // Fails until the table exists.
        let found = system.sql.try_query(visible).await;
        if found.is_ok_and(|it| it.trim().parse::<u32>().is_ok_and(|it| it >= contacts)) {
            break;
        }
        ensure!(
            began.elapsed() < LIMIT,
            "not all records were visible within {LIMIT:?}"
        );
    }
    let used = system.usages()?.since(&before);
    let inserts = "SELECT sum(value) FROM system.events WHERE event = 'InsertQuery'";
    let cost = Cost {
        used,
        transactions: system.worker_metric("worker_transactions_total").await?,
        inserts: system.query(inserts).await?.trim().parse()?,
    };
    system.end().await?;
    Ok(cost)
}
