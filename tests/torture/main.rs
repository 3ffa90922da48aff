//! `make torture`: the whole system over real servers, while everything that
//! can fail does, at random, from one seed; then the checks.
//!
//! It must not know how the system works, only what it promises.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a run that fails ends by panicking, which prints seed and timeline"
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

/// Kills, stalls and lies to the system, then checks that nothing was lost and
/// nothing doubled.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Where every random choice comes from.
    #[arg(long, env = "SEED", default_value_t = 1)]
    seed: u64,
    /// Kills of workers, at least; half as many of the other servers.
    #[arg(long, env = "KILLS", default_value_t = 40)]
    kills: u64,
    /// How long the faults go on, at least.
    #[arg(long, env = "MINUTES", default_value_t = 8)]
    minutes: u64,
    /// Which faults there are: `workers`, `servers`, `network`, `hubspot`,
    /// `commands`.
    #[arg(
        long,
        env = "FAULTS",
        value_delimiter = ',',
        default_value = "workers,servers,network,hubspot,commands"
    )]
    faults: Vec<String>,
    /// Stops that race with requests, once the faults are over.
    #[arg(long, env = "RACES", default_value_t = 1_000)]
    races: u64,
    /// Contacts of the larger portal.
    #[arg(long, default_value_t = 2_000)]
    contacts: u32,
    /// Leaves data and logs behind.
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
    for place in 0..system.accounts.len() {
        actors.spawn(record_changes::run(Arc::clone(&system), place));
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
        for place in 0..system.accounts.len() {
            actors.spawn(commands::run(Arc::clone(&system), place));
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
            // Actors go on for ever; one that ends has failed.
            Some(ended) = actors.join_next() => ended.expect("an actor"),
        }
    }
    system.faults_over.cancel();
    while let Some(ended) = actors.join_next().await {
        ended.expect("an actor");
    }
    timeline.note("quiet");
    let system = Arc::into_inner(system).expect("the actors have ended");
    final_checks::run(system, args.races).await
}
