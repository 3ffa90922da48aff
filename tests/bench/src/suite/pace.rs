//! A first sync when HubSpot's limit sets the pace: what it costs all processes, against
//! the same records as fast as they can be fetched, and how long it takes at a latency of
//! real accounts.

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
    readings.push(duration(servers, scale, contacts).await?);
    Ok(readings)
}

/// How long a first sync takes at 300 ms per request, from the first one until all is in
/// ClickHouse. Its thousand pages need more than five windows of 190, so that no worker can
/// take less than 50.5 s.
async fn duration(servers: &Servers, scale: Scale, contacts: u32) -> anyhow::Result<Reading> {
    let system = System::of(contacts)
        .simulator("HUBSPOT_SIM_LATENCY_MS", "300")
        .simulator("HUBSPOT_SIM_RATE_LIMIT", scale.of("19", "190", "190"))
        .worker("HUBSPOT_RATE_LIMIT", "auto")
        .start(servers)
        .await?;
    let settings = json!({"streams": ["contacts"], "interval": "5m"});
    system.start_default(settings).await?;
    while system.request_count().await? == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    until_stored(&system, contacts, Duration::from_millis(200)).await?;
    let seconds = began.elapsed().as_secs_f64();
    system.end().await?;
    let name = format!("{contacts} at 190 per 10 s, 300 ms: from the first request");
    Ok(Reading::new(name, seconds, "s").goal(Goal::AtMost(52.0)))
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
    // Runs over changes begin meanwhile, so the pages of lists are spread over the window.
    let settings = json!({"streams": ["contacts"], "interval": "20s"});
    system.start_default(settings).await?;
    until_stored(&system, contacts, LOOK).await?;
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

/// Waits until so many contacts are in ClickHouse, with so much time between two looks.
async fn until_stored(system: &System<'_>, contacts: u32, look: Duration) -> anyhow::Result<()> {
    let stored = "SELECT count() FROM hubspot_raw.contacts";
    let until = Instant::now() + LIMIT;
    loop {
        tokio::time::sleep(look).await;
        // Fails until the table exists.
        let found = system.sql.try_query(stored).await;
        if found.is_ok_and(|it| it.trim().parse::<u32>().is_ok_and(|it| it >= contacts)) {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "not all records were stored within {LIMIT:?}"
        );
    }
}
