//! The first sync of a portal, from the command to the last row: without latency
//! and limits, with history.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Scale;
use crate::{
    result::{Goal, Reading},
    system::{Servers, System, SystemBuilder},
    usage::Usages,
};

/// When a sync is given up.
const LIMIT: Duration = Duration::from_mins(10);

/// How long the system is idle before its memory is read.
const REST: Duration = Duration::from_secs(5);

/// The time and usage of a first sync.
#[derive(Debug)]
pub(super) struct FirstSync {
    /// From the command to the last row.
    pub(super) seconds: f64,
    /// Usage during the sync.
    pub(super) used: Usages,
    /// Usage once idle.
    pub(super) idle: Usages,
}

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(1_000, 100_000, 100_000);
    let sync = first_sync(servers, System::of(contacts), contacts).await?;
    Ok(readings(contacts, &sync))
}

/// First syncs that are not measured. Kafka is compiled while it runs: the first
/// sync takes three times the CPU time of the fourth.
pub(super) async fn warm_up(servers: &Servers, scale: Scale) -> anyhow::Result<()> {
    let contacts: u32 = scale.of(500, 100_000, 100_000);
    for _ in 0..scale.of(1, 5, 5) {
        first_sync(servers, System::of(contacts), contacts).await?;
    }
    Ok(())
}

/// Measures the first sync of a portal with that many contacts.
pub(super) async fn first_sync(
    servers: &Servers,
    builder: SystemBuilder,
    contacts: u32,
) -> anyhow::Result<FirstSync> {
    let system = builder.start(servers).await?;
    system.reset_peaks()?;
    let before = system.usages()?;
    let began = Instant::now();
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    system.start_default(settings).await?;
    system.until_visible("contacts", contacts, LIMIT).await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = system.usages()?.since(&before);
    system.until_in_history("contacts", contacts).await?;

    tokio::time::sleep(REST).await;
    let idle = system.usages()?;
    system.end().await?;
    Ok(FirstSync {
        seconds,
        used,
        idle,
    })
}

fn readings(contacts: u32, sync: &FirstSync) -> Vec<Reading> {
    let FirstSync {
        seconds,
        used,
        idle,
    } = sync;
    let hundred_thousands = f64::from(contacts) / 100_000.0;
    let mut readings = vec![
        Reading::new(
            "records visible in ClickHouse",
            f64::from(contacts) / seconds,
            "records/s",
        )
        .goal(Goal::AtLeast(40_000.0)),
        Reading::new(
            "CPU of worker and data-streams, for 100,000",
            used.services(|it| it.cpu_seconds) / hundred_thousands,
            "s",
        )
        .goal(Goal::AtMost(1.5)),
        Reading::new(
            "peak memory of worker and data-streams",
            used.services(|it| it.peak_mib),
            "MiB",
        )
        .goal(Goal::AtMost(100.0)),
        Reading::new(
            "idle memory of worker and data-streams",
            idle.services(|it| it.resident_mib),
            "MiB",
        )
        .goal(Goal::AtMost(40.0)),
    ];
    for (name, usage) in used.each() {
        readings.push(Reading::new(
            format!("CPU of {name}, for 100,000"),
            usage.cpu_seconds / hundred_thousands,
            "s",
        ));
        readings.push(Reading::new(
            format!("peak memory of {name}"),
            usage.peak_mib,
            "MiB",
        ));
    }
    readings
}
