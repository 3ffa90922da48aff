//! Kafka → ClickHouse into 50 tables of 50 accounts at once, against one table: every batch
//! has rows of all of them.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hubspot_sim::{Config, Limits, PortalConfig, Simulator};

use super::{Scale, connections};
use crate::{
    result::{Goal, Reading},
    system::{Servers, System},
};

/// When it is given up.
const LIMIT: Duration = Duration::from_mins(10);

/// The counter of rows that are stored, by table.
const STORED: &str = "data_streams_ingest_rows_total";

/// Rows of a record: its version and its change.
const ROWS_OF_RECORD: u32 = 2;

/// Objects that get one time of change.
const CHANGED_AT_ONCE: usize = 500;

fn portal_id(number: u32) -> u64 {
    6_000_000 + u64::from(number)
}

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let accounts: u32 = scale.of(3, 50, 50);
    let records: u32 = scale.of(1_500, 300_000, 300_000);
    let one = rate(servers, 1, records).await?;
    let many = rate(servers, accounts, records).await?;
    Ok(vec![
        Reading::new("Kafka → ClickHouse, one stream", one, "records/s"),
        Reading::new(
            format!("{accounts} streams of {accounts} connections, against one stream"),
            many,
            "records/s",
        )
        .against(one)
        .goal(Goal::RatioAtLeast(0.8)),
    ])
}

/// Records a second. What is measured is the second version of each record, as the tables
/// are there then, and from the first fifth on, as the start is not measured either.
async fn rate(servers: &Servers, accounts: u32, records: u32) -> anyhow::Result<f64> {
    let contacts = records / accounts;
    let portals = (0..accounts).map(|number| PortalConfig {
        portal_id: portal_id(number),
        tokens: vec![format!("pat-{number}")],
        contacts,
        companies: 0,
        archived_percent: 0.0,
        distinct: 1_000,
        limits: Limits::off(),
        ..PortalConfig::default()
    });
    let config = Config {
        portals: portals.collect(),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await?;
    let builder = System::of(0).against(simulator.base_url());
    let builder = connections::with_tokens(builder, accounts);
    let mut system = builder.start(servers).await?;
    for number in 0..accounts {
        connections::connect(&system, number, "10s").await?;
    }
    let records = contacts * accounts;
    until_stored(&system, f64::from(records * ROWS_OF_RECORD)).await?;
    system.stop_data_streams();
    for portal in (0..accounts).filter_map(|it| simulator.portal_by_id(portal_id(it))) {
        for ids in portal.ids("contacts").chunks(CHANGED_AT_ONCE) {
            portal.bulk("contacts", ids, &[("jobtitle", "second")])?;
        }
    }
    system.until_committed(records * 2, LIMIT).await?;
    let started = Instant::now();
    system.start_data_streams().await?;
    let rows = f64::from(records * ROWS_OF_RECORD);
    let (began, first) = until_stored(&system, rows / 5.0).await?;
    let (ended, last) = until_stored(&system, rows).await?;
    system.end().await?;
    simulator.shutdown().await;
    // Little data is stored at once.
    let (began, first) = if first < last {
        (began, first)
    } else {
        (started, 0.0)
    };
    let stored = (last - first) / f64::from(ROWS_OF_RECORD);
    Ok(stored / (ended - began).as_secs_f64())
}

/// Waits until that many rows are stored; when it saw them, and how many.
async fn until_stored(system: &System<'_>, rows: f64) -> anyhow::Result<(Instant, f64)> {
    let began = Instant::now();
    loop {
        let stored = system.data_streams_metric(STORED).await?;
        let seen_at = Instant::now();
        if stored >= rows {
            return Ok((seen_at, stored));
        }
        ensure!(
            began.elapsed() < LIMIT,
            "{stored} of {rows} rows are stored"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
