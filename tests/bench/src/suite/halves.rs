//! Each half of the pipeline alone: HubSpot → Kafka, compared with reading pages
//! only and producing messages only; and Kafka → ClickHouse, compared with
//! ClickHouse's Kafka engine.

mod clickhouse_engine;
pub(super) mod produce;

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Scale, simulator};
use crate::{
    result::{Goal, Reading},
    system::{Servers, System},
};

/// When a half is given up.
const LIMIT: Duration = Duration::from_mins(10);

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(1_000, 300_000, 1_000_000);
    let mut system = System::of(contacts)
        .simulator("HUBSPOT_SIM_DISTINCT", "50000")
        .start(servers)
        .await?;
    let mut readings = fetch(&mut system, contacts, scale).await?;
    readings.extend(ingest(&mut system, contacts).await?);
    system.end().await?;
    Ok(readings)
}

/// HubSpot → Kafka, while data-streams is stopped.
async fn fetch(
    system: &mut System<'_>,
    contacts: u32,
    scale: Scale,
) -> anyhow::Result<Vec<Reading>> {
    let span = scale.of(
        Duration::from_millis(200),
        Duration::from_secs(4),
        Duration::from_secs(10),
    );
    let (pages, seconds) = simulator::read_pages(&system.simulator_url, span).await?;
    let read = f64::from(pages * 100) / seconds;

    let before = system.usages()?;
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    system.start_default(settings).await?;
    let began = Instant::now();
    system.stop_data_streams();
    let wanted = f64::from(contacts);
    system.until_committed(contacts, LIMIT).await?;
    let fetched = wanted / began.elapsed().as_secs_f64();
    let used = system.usages()?.since(&before);

    let most = scale.of(500, 100_000, 300_000);
    let produced = produce::measure(system.servers, &system.prefix, most).await?;
    let slower = read.min(produced.transactions);
    Ok(vec![
        Reading::new("pages alone, read and thrown away", read, "records/s"),
        Reading::new(
            "producer alone, in transactions of 10,000",
            produced.transactions,
            "records/s",
        ),
        Reading::new(
            "HubSpot → Kafka, against the slower of both",
            fetched,
            "records/s",
        )
        .against(slower)
        .goal(Goal::RatioAtLeast(0.8)),
        Reading::new(
            "HubSpot → Kafka: CPU of the worker, for 100,000",
            used.services(|it| it.cpu_seconds) / wanted * 100_000.0,
            "s",
        ),
        Reading::new(
            "producer with transactions, against without",
            produced.transactions,
            "records/s",
        )
        .against(produced.plain)
        .goal(Goal::RatioAtLeast(0.97)),
    ])
}

/// Kafka → ClickHouse, with history, without it, and by ClickHouse's engine.
async fn ingest(system: &mut System<'_>, contacts: u32) -> anyhow::Result<Vec<Reading>> {
    system.empty_warehouse().await?;
    let with = load(system, contacts).await?;
    system.empty_warehouse().await?;
    // The history is sent and dropped by ClickHouse.
    clickhouse_engine::drop_history(system).await?;
    let without = load(system, contacts).await?;
    system.stop_data_streams();
    let engine = clickhouse_engine::load(system, contacts, LIMIT).await?;
    let rate = |it: &Loaded| f64::from(contacts) / it.seconds;
    let cpu = |it: &Loaded| it.cpu_seconds / f64::from(contacts) * 100_000.0;
    Ok(vec![
        Reading::new("Kafka → ClickHouse, with history", rate(&with), "records/s")
            .goal(Goal::AtLeast(60_000.0)),
        Reading::new(
            "Kafka → ClickHouse: CPU of data-streams, for 100,000",
            cpu(&with),
            "s",
        ),
        Reading::new(
            "Kafka → ClickHouse, without history",
            rate(&without),
            "records/s",
        )
        .goal(Goal::AtLeast(80_000.0)),
        Reading::new("ClickHouse's own Kafka engine", rate(&engine), "records/s"),
        Reading::new(
            "Kafka → ClickHouse without history, against ClickHouse's own engine",
            rate(&without),
            "records/s",
        )
        .against(rate(&engine))
        .goal(Goal::RatioAtLeast(1.5)),
    ])
}

/// Wall-clock and CPU time of loading.
#[derive(Debug, Clone, Copy)]
struct Loaded {
    seconds: f64,
    cpu_seconds: f64,
}

async fn load(system: &mut System<'_>, contacts: u32) -> anyhow::Result<Loaded> {
    let began = Instant::now();
    system.start_data_streams().await?;
    system.until_visible("contacts", contacts, LIMIT).await?;
    Ok(Loaded {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: system.usages()?.data_streams(|it| it.cpu_seconds),
    })
}
