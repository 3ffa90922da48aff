//! The effect of settings for batches and parallelism: the first sync with one of
//! them changed at a time.

use super::{
    Scale,
    end_to_end::{FirstSync, first_sync},
};
use crate::{
    result::Reading,
    system::{Servers, System, SystemBuilder},
};

#[derive(Debug, Clone, Copy)]
enum Knob {
    Worker(&'static str),
    DataStreams(&'static str),
}

/// Settings with values around their defaults.
const KNOBS: &[(Knob, &[&str])] = &[
    (
        Knob::DataStreams("BATCH_ROWS"),
        &["2500", "5000", "20000", "40000"],
    ),
    (Knob::DataStreams("BATCH_BYTES"), &["16777216", "268435456"]),
    (
        Knob::Worker("TRANSACTION_RECORDS"),
        &["1000", "3000", "30000"],
    ),
    (Knob::Worker("TRANSACTION_BYTES"), &["2097152", "33554432"]),
    (
        Knob::Worker("KAFKA_PRODUCER_SETTINGS"),
        &[
            "compression.type=none",
            "compression.type=zstd",
            "linger.ms=0",
            "linger.ms=25",
        ],
    ),
    (
        Knob::DataStreams("KAFKA_CONSUMER_SETTINGS"),
        &[
            "fetch.message.max.bytes=262144,fetch.max.bytes=1048576",
            "fetch.message.max.bytes=1048576,fetch.max.bytes=4194304",
        ],
    ),
    (Knob::Worker("LANES"), &["1", "4", "32"]),
];

/// The speed of a machine drifts, so each value is measured between two syncs with
/// the defaults, and compared with their mean.
pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(500, 100_000, 300_000);
    let mut before = measure(servers, System::of(contacts), contacts).await?;
    let mut readings = rows("defaults, at first", &before, None);
    for (knob, values) in KNOBS.iter().take(scale.of(1, KNOBS.len(), KNOBS.len())) {
        for value in values.iter().take(scale.of(1, values.len(), values.len())) {
            let builder = System::of(contacts);
            let (name, builder) = match knob {
                Knob::Worker(name) => (name, builder.worker(name, value)),
                Knob::DataStreams(name) => (name, builder.data_streams(name, value)),
            };
            let found = measure(servers, builder, contacts).await?;
            let after = measure(servers, System::of(contacts), contacts).await?;
            let usual = before.mean(&after);
            readings.extend(rows(&format!("{name}={value}"), &found, Some(&usual)));
            before = after;
        }
    }
    Ok(readings)
}

#[derive(Debug)]
struct Found {
    rate: f64,
    cpu: f64,
    memory: f64,
}

impl Found {
    fn mean(&self, other: &Self) -> Self {
        Self {
            rate: f64::midpoint(self.rate, other.rate),
            cpu: f64::midpoint(self.cpu, other.cpu),
            memory: f64::midpoint(self.memory, other.memory),
        }
    }
}

async fn measure(
    servers: &Servers,
    builder: SystemBuilder,
    contacts: u32,
) -> anyhow::Result<Found> {
    let FirstSync { seconds, used, .. } = first_sync(servers, builder, contacts).await?;
    Ok(Found {
        rate: f64::from(contacts) / seconds,
        cpu: used.each().map(|(_, it)| it.cpu_seconds).sum::<f64>() / f64::from(contacts) * 1e5,
        memory: used.services(|it| it.peak_mib),
    })
}

fn rows(name: &str, found: &Found, usual: Option<&Found>) -> Vec<Reading> {
    let rows = [
        ("records", found.rate, "records/s", usual.map(|it| it.rate)),
        (
            "CPU of all processes, for 100,000",
            found.cpu,
            "s",
            usual.map(|it| it.cpu),
        ),
        (
            "peak memory of worker and data-streams",
            found.memory,
            "MiB",
            usual.map(|it| it.memory),
        ),
    ];
    rows.into_iter()
        .map(|(what, value, unit, baseline)| Reading {
            baseline,
            ..Reading::new(format!("{name}: {what}"), value, unit)
        })
        .collect()
}
