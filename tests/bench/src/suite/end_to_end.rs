//! The first sync of a portal, from the command to the last row: no latency,
//! no limit, history kept.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Scale;
use crate::{
    result::{Goal, Reading},
    system::{Servers, System, SystemBuilder},
    usage::Usages,
};

/// How long it may take at worst.
const LIMIT: Duration = Duration::from_mins(10);

/// How long the system rests before its idle memory is read.
const REST: Duration = Duration::from_secs(5);

/// What a first sync took.
#[derive(Debug)]
pub(super) struct Load {
    /// From the command to the last row.
    pub(super) seconds: f64,
    /// Meanwhile, and the peaks.
    pub(super) used: Usages,
    /// Some seconds later.
    pub(super) idle: Usages,
}

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(1_000, 100_000, 100_000);
    let load = load(servers, System::of(contacts), contacts).await?;
    Ok(readings(contacts, &load))
}

/// First syncs that do not count. Kafka is compiled while it runs: in the first
/// it takes three times the CPU time of the fourth.
pub(super) async fn warm_up(servers: &Servers, scale: Scale) -> anyhow::Result<()> {
    let contacts: u32 = scale.of(500, 100_000, 100_000);
    for _ in 0..scale.of(1, 5, 5) {
        load(servers, System::of(contacts), contacts).await?;
    }
    Ok(())
}

/// The first sync of a portal of that many contacts.
pub(super) async fn load(
    servers: &Servers,
    builder: SystemBuilder,
    contacts: u32,
) -> anyhow::Result<Load> {
    let system = builder.start(servers).await?;
    system.forget_peaks()?;
    let before = system.usages()?;
    let began = Instant::now();
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    system.begin(settings).await?;
    system.visible("contacts", contacts, LIMIT).await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = system.usages()?.since(&before);
    system.kept("contacts", contacts).await?;

    tokio::time::sleep(REST).await;
    let idle = system.usages()?;
    system.end().await?;
    Ok(Load {
        seconds,
        used,
        idle,
    })
}

fn readings(contacts: u32, load: &Load) -> Vec<Reading> {
    let Load {
        seconds,
        used,
        idle,
    } = load;
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
