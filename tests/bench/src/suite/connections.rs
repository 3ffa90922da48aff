//! Many small portals on one worker: memory of an idle connection, whether the
//! rate limit of one portal delays others, and how exact schedules are.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hubspot_sim::{Config, Limits, PortalConfig, Simulator};
use serde_json::json;

use super::Scale;
use crate::{
    result::{Goal, Reading, quantile},
    system::{Servers, System, SystemBuilder},
    usage,
};

/// Contacts of a small portal.
const SMALL: u32 = 5;

/// How long first syncs may take.
const LIMIT: Duration = Duration::from_mins(5);

/// The interval of a schedule, the shortest that is allowed, in ms.
const INTERVAL_MS: f64 = 10_000.0;

/// Requests of a run follow one another faster than this, in ms.
const PAUSE_MS: f64 = 4_000.0;

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let mut readings = idle(servers, scale).await?;
    readings.extend(punctual(servers, scale).await?);
    Ok(readings)
}

/// Portals. The first one is large and has a low rate limit.
async fn portals(count: u32, large: u32) -> anyhow::Result<Simulator> {
    let portals = (0..count).map(|number| {
        let first = number == 0 && large > 0;
        PortalConfig {
            portal_id: 5_000_000 + u64::from(number),
            tokens: vec![format!("pat-{number}")],
            contacts: if first { large } else { SMALL },
            companies: 0,
            limits: Limits {
                general: first.then_some(10),
                ..Limits::off()
            },
            ..PortalConfig::default()
        }
    });
    let config = Config {
        portals: portals.collect(),
        ..Config::default()
    };
    Ok(Simulator::start(config).await?)
}

/// With the tokens of that many portals.
pub(super) fn with_tokens(builder: SystemBuilder, count: u32) -> SystemBuilder {
    (0..count).fold(builder, |it, number| {
        it.worker(&format!("HUBSPOT_T{number}"), &format!("pat-{number}"))
    })
}

async fn system<'a>(
    servers: &'a Servers,
    simulator: &Simulator,
    count: u32,
) -> anyhow::Result<System<'a>> {
    let builder = System::of(0)
        .against(simulator.base_url())
        .worker("HUBSPOT_RATE_LIMIT", "auto");
    with_tokens(builder, count).start(servers).await
}

/// Starts the connection of a portal.
pub(super) async fn connect(
    system: &System<'_>,
    number: u32,
    interval: &str,
) -> anyhow::Result<()> {
    let settings = json!({"credential": format!("env:HUBSPOT_T{number}"),
                          "streams": ["contacts"], "interval": interval});
    system
        .start_connection(&format!("c{number}"), settings)
        .await
}

/// Memory of idle connections, and the time until all have been read.
async fn idle(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let steps: &[u32] = scale.of(&[2, 4], &[10, 100, 1_000], &[10, 100, 1_000]);
    let most = steps.last().copied().context("no steps")?;
    let simulator = portals(most, scale.of(1_200, 20_000, 20_000)).await?;
    let mut system = system(servers, &simulator, most).await?;
    let (mut readings, mut connected, mut memory) = (Vec::new(), 0, Vec::new());
    for &step in steps {
        let began = Instant::now();
        for number in connected..step {
            connect(&system, number, "1h").await?;
        }
        if step == most {
            // The worker is measured; creating a thousand databases would take
            // CPU time.
            system.stop_data_streams();
        }
        synced(&simulator, 1..step, began + LIMIT).await?;
        let seconds = began.elapsed().as_secs_f64();
        connected = step;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let resident = usage::of(system.worker_pid())?.resident_mib;
        readings.push(Reading::new(
            format!("{step} connections: memory of the worker"),
            resident,
            "MiB",
        ));
        readings.push(Reading::new(
            format!("{step} connections: until all but the limited one are read"),
            seconds,
            "s",
        ));
        memory.push((f64::from(step), resident));
    }
    if let (Some(first), Some(last)) = (memory.first(), memory.last()) {
        let each = (last.1 - first.1) * 1_024.0 / (last.0 - first.0);
        let reading = Reading::new("memory of an idle connection", each, "kB");
        readings.push(reading.goal(Goal::AtMost(50.0)));
    }
    system.end().await?;
    simulator.shutdown().await;
    Ok(readings)
}

/// Waits until the live contacts of each of these portals were requested.
async fn synced(
    simulator: &Simulator,
    numbers: std::ops::Range<u32>,
    until: Instant,
) -> anyhow::Result<()> {
    loop {
        let counts = simulator.requests().counts();
        let missing = numbers.clone().find(|number| {
            let id = 5_000_000 + u64::from(*number);
            // Account, definitions, search, archived list, live list.
            counts.by_portal.get(&id).is_none_or(|count| *count < 5)
        });
        let Some(missing) = missing else {
            return Ok(());
        };
        ensure!(Instant::now() < until, "portal {missing} has not been read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How far the starts of runs are from their schedule.
async fn punctual(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let count: u32 = scale.of(5, 500, 500);
    let simulator = portals(count, 0).await?;
    let mut system = system(servers, &simulator, count).await?;
    for number in 0..count {
        connect(&system, number, "10s").await?;
    }
    system.stop_data_streams();
    let began = Instant::now();
    synced(&simulator, 0..count, began + LIMIT).await?;
    // The first syncs are over; scheduled runs follow.
    tokio::time::sleep(Duration::from_secs(10)).await;
    simulator.requests().clear();
    let span = scale.of(
        Duration::from_secs(25),
        Duration::from_secs(45),
        Duration::from_mins(5),
    );
    tokio::time::sleep(span).await;
    let seen = simulator.requests().all();
    let times = seen.iter().map(|it| {
        #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
        let at = it.at_ms as f64;
        (it.portal_id, at)
    });
    let off = off_schedule(times);
    ensure!(!off.is_empty(), "no run was seen");
    system.end().await?;
    simulator.shutdown().await;
    let name = format!("{count} connections: starts off schedule, p99");
    Ok(vec![
        Reading::new(name, quantile(&off, 0.99), "ms").goal(Goal::AtMost(250.0)),
    ])
}

/// By how many ms each run of a portal began before or after its schedule.
/// Runs are scheduled every 10 s.
pub(super) fn off_schedule(requests: impl Iterator<Item = (u64, f64)>) -> Vec<f64> {
    let mut starts: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    let mut off = Vec::new();
    for (portal, at) in requests {
        match starts.get_mut(&portal) {
            None => {
                starts.insert(portal, (at, at));
            }
            Some((start, last)) => {
                if at - *last > PAUSE_MS {
                    off.push((at - *start - INTERVAL_MS).abs());
                    *start = at;
                }
                *last = at;
            }
        }
    }
    off
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_request_of_a_run_is_its_start() {
        let requests = [
            (1, 0.0),
            (1, 300.0),
            (2, 400.0),
            (1, 10_100.0),
            (1, 10_300.0),
            (1, 20_050.0),
        ];
        assert_eq!(off_schedule(requests.into_iter()), [100.0, 50.0]);
    }
}
