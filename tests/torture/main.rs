//! `make torture`: runs the whole system over real servers under random faults
//! of every kind, from one seed, and then checks its promises.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed run panics, which prints seed and timeline"
)]

mod commands;
mod counters;
mod final_checks;
mod hubspot_faults;
mod network_faults;
mod record_changes;
mod server_faults;
mod stop_races;
mod system;
mod worker_faults;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use harness::Timeline;
use tokio::task::JoinSet;

use system::System;

/// Causes random faults of every kind, then checks that nothing was lost or
/// duplicated.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Seed of all random choices.
    #[arg(long, env = "SEED", default_value_t = 1)]
    seed: u64,
    /// Minimum number of kills of workers; half as many of the other servers.
    #[arg(long, env = "KILLS", default_value_t = 40)]
    kills: u64,
    /// Minimum duration of the faults.
    #[arg(long, env = "MINUTES", default_value_t = 8)]
    minutes: u64,
    /// Kinds of faults: `workers`, `servers`, `network`, `hubspot`, `commands`.
    #[arg(
        long,
        env = "FAULTS",
        value_delimiter = ',',
        default_value = "workers,servers,network,hubspot,commands"
    )]
    faults: Vec<String>,
    /// Stops that race with requests, after the faults.
    #[arg(long, env = "RACES", default_value_t = 1_000)]
    races: u64,
    /// Contacts of the larger portal.
    #[arg(long, default_value_t = 2_000)]
    contacts: u32,
    /// Keeps data and logs.
    #[arg(long, env = "KEEP")]
    keep: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(args))
}

async fn run(args: Args) -> ExitCode {
    let timeline = Timeline::new(args.seed).printed();
    let _printed = timeline.guard();
    timeline.note(format!(
        "{} worker kills, {} minutes, faults {:?}",
        args.kills, args.minutes, args.faults
    ));
    let system = Arc::new(System::start(timeline.clone(), args.contacts).await);
    if args.keep {
        let kept = system.stack.lock().await.keep();
        timeline.note(format!("data and logs stay in {kept:?}"));
    }
    let has = |name: &str| args.faults.iter().any(|it| it == name);
    let mut actors = JoinSet::new();
    for index in 0..system.accounts.len() {
        actors.spawn(record_changes::run(Arc::clone(&system), index));
    }
    if has("workers") {
        actors.spawn(worker_faults::run(Arc::clone(&system)));
        actors.spawn(worker_faults::join_and_leave(Arc::clone(&system)));
    }
    if has("servers") {
        actors.spawn(server_faults::run(Arc::clone(&system)));
    }
    if has("network") {
        actors.spawn(network_faults::run(Arc::clone(&system)));
    }
    if has("hubspot") {
        actors.spawn(hubspot_faults::run(Arc::clone(&system)));
    }
    if has("commands") {
        for index in 0..system.accounts.len() {
            actors.spawn(commands::run(Arc::clone(&system), index));
        }
    }
    let least = Duration::from_secs(args.minutes * 60);
    let others = if has("servers") { args.kills / 2 } else { 0 };
    let workers = if has("workers") { args.kills } else { 0 };
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let began = Instant::now();
    while began.elapsed() < least
        || system.counters.worker_kills() < workers
        || system.counters.other_kills() < others
    {
        tokio::select! {
            _ = ticks.tick() => {}
            // Actors run until the faults are over; one that ends has failed.
            Some(ended) = actors.join_next() => ended.expect("an actor"),
        }
    }
    system.faults_over.cancel();
    while let Some(ended) = actors.join_next().await {
        ended.expect("an actor");
    }
    timeline.note("the faults are over");
    let system = Arc::into_inner(system).expect("the actors have ended");
    final_checks::run(system, args.races).await
}
