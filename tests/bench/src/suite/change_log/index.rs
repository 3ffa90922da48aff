//! What the index takes: bytes in the log, memory of the worker, time to read it at a
//! start of the worker. It is in memory only, so each start reads all of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{LIMIT, NEVER, schedule};
use crate::{
    result::{Goal, Reading},
    system::{Ends, System},
    usage,
};

/// How long the worker is idle before its memory is read.
const REST: Duration = Duration::from_secs(5);

/// How long merges are waited for.
const MERGES: Duration = Duration::from_mins(1);

const MIB: f64 = 1_048_576.0;

/// A worker that was started again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restarted {
    /// From its start to its first request to HubSpot.
    seconds: f64,
    /// Of which it read the index.
    index_seconds: f64,
    /// Its memory once idle, in MiB.
    resident: f64,
    /// Its highest memory until then.
    peak: f64,
}

/// Starts the worker again.
pub(super) async fn restarted(system: &mut System<'_>) -> anyhow::Result<Restarted> {
    let before = system.request_count().await?;
    let began = system.restart_worker(&schedule(NEVER, NEVER, NEVER))?;
    while system.request_count().await? == before {
        ensure!(began.elapsed() < LIMIT, "the worker sends no request");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let index_seconds = read_seconds(&system.worker_log(), &format!("{}index", system.prefix))
        .context("the worker has not logged how long it read the index")?;
    tokio::time::sleep(REST).await;
    let used = usage::of(system.worker_pid())?;
    Ok(Restarted {
        seconds,
        index_seconds,
        resident: used.resident_mib,
        peak: used.peak_mib,
    })
}

/// Waits until `ClickHouse` has merged what the first sync wrote, or for [`MERGES`]: it takes
/// the cores from the worker meanwhile.
async fn until_merged(system: &System<'_>) {
    let merging = "SELECT count() FROM system.merges";
    let until = Instant::now() + MERGES;
    while system.query(merging).await.is_ok_and(|it| it.trim() != "0") && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How long the worker last read a topic to its end, by its log.
fn read_seconds(log: &str, topic: &str) -> Option<f64> {
    let topic = format!("topic=\"{topic}\"");
    let is_read = |line: &&str| line.contains("read to its end") && line.contains(&topic);
    let line = log.lines().rev().find(is_read)?;
    let (_, rest) = line.split_once("read_ms=")?;
    let ms: f64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(ms / 1_000.0)
}

/// Measures the index of a portal of that many contacts against a worker that has next
/// to none.
pub(super) async fn measure(
    system: &mut System<'_>,
    contacts: u32,
    without: &Restarted,
) -> anyhow::Result<Vec<Reading>> {
    let topic = format!("{}index", system.prefix);
    let began = Instant::now();
    let written = system
        .servers
        .written_since(&topic, &Ends::default())
        .await?;
    let alone = began.elapsed().as_secs_f64();
    let on_disk = system.servers.bytes_on_disk(&topic)?;
    until_merged(system).await;
    let with = restarted(system).await?;
    let name = |what: &str| format!("index of {contacts}: {what}");
    Ok(vec![
        Reading::new(name("bytes on Kafka's disk"), on_disk / MIB, "MiB").goal(Goal::AtMost(50.0)),
        Reading::new(
            name("keys and values, uncompressed"),
            written.bytes / MIB,
            "MiB",
        ),
        Reading::new(name("messages"), written.messages, ""),
        Reading::new(
            name("memory of the worker, more than with an index of 1,000"),
            with.resident - without.resident,
            "MiB",
        )
        .goal(Goal::AtMost(20.0)),
        Reading::new(name("memory of the worker"), with.resident, "MiB"),
        Reading::new(
            name("peak memory of the worker in its start"),
            with.peak,
            "MiB",
        ),
        Reading::new(
            name("read at a start of the worker"),
            with.index_seconds,
            "s",
        )
        .goal(Goal::AtMost(0.5)),
        Reading::new(
            name("from the start of the worker to its first request"),
            with.seconds,
            "s",
        )
        .goal(Goal::AtMost(5.0)),
        Reading::new(
            "index of 1,000: from the start of the worker to its first request",
            without.seconds,
            "s",
        ),
        Reading::new(
            "index of 1,000: read at a start of the worker",
            without.index_seconds,
            "s",
        ),
        Reading::new(name("read by a plain client"), alone, "s"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_read_of_the_topic_counts() {
        let line = |topic: &str, ms: u32| {
            format!(
                "2026-11-28T18:00:00Z TRACE worker::ownership::restore: read to its end \
                 topic=\"{topic}\" read_ms={ms}\n"
            )
        };
        let log = line("b.index", 10) + &line("b.index", 250) + &line("b.status", 3);
        assert_eq!(read_seconds(&log, "b.index"), Some(0.25));
        assert_eq!(read_seconds(&log, "c.index"), None);
    }
}
