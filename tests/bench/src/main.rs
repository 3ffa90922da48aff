//! Runs benchmarks and prints a table.

mod result;
mod suite;
mod system;
mod table;
mod usage;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use crate::{
    suite::{Benchmark, Scale},
    system::Servers,
    table::{Table, progress},
};

/// Measures the system over real servers and prints a table.
#[derive(Debug, Parser)]
struct Args {
    /// Runs only the benchmarks whose name contains one of these words,
    /// separated by commas.
    #[arg(long, env, default_value = "")]
    only: String,

    /// Leaves out the benchmarks whose name contains one of these words, separated by
    /// commas.
    #[arg(long, default_value = "")]
    skip: String,

    /// Runs of each benchmark; the table shows the median and the spread.
    #[arg(long, env, default_value_t = 3)]
    runs: usize,

    /// How much data: `tiny` shows that a benchmark works, `default` is that of
    /// the README, `full` is more.
    #[arg(long, env, value_enum, default_value_t = Size::Default)]
    size: Size,

    /// Lists the benchmarks and runs none.
    #[arg(long)]
    list: bool,
}

/// How much data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// Shows that the benchmark works.
    Tiny,
    /// As in the README.
    Default,
    /// More records and longer runs than in the README.
    Full,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(args)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn words(list: &str) -> Vec<&str> {
    list.split(',').filter(|it| !it.is_empty()).collect()
}

/// Runs the benchmarks; `false` if one failed. A missed goal is not a failure.
async fn run(args: Args) -> anyhow::Result<bool> {
    let (only, skipped) = (words(&args.only), words(&args.skip));
    let chosen: Vec<Benchmark> = suite::all()
        .into_iter()
        .filter(|it| {
            let is_in = |words: &[&str]| words.iter().any(|word| it.name.contains(word));
            let is_chosen = is_in(&only) || (only.is_empty() && (args.list || !it.on_request));
            is_chosen && !is_in(&skipped)
        })
        .collect();
    if args.list {
        for it in &chosen {
            progress(it.name);
        }
        return Ok(true);
    }
    anyhow::ensure!(
        !chosen.is_empty(),
        "no benchmark is left with one of {only:?} and none of {skipped:?} in its name"
    );
    let servers = Servers::start().await?;
    let mut table = Table::default();
    let scale = Scale {
        size: args.size,
        runs: args.runs.max(1),
    };
    suite::warm_up(&servers, scale).await?;
    let mut complete = true;
    for benchmark in chosen {
        complete &= suite::run(&benchmark, &servers, scale, &mut table).await;
    }
    table.print();
    Ok(complete)
}
