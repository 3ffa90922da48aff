//! The data-streams process: one expression, from arguments to exit code.

use std::process::ExitCode;

use clap::Parser as _;
use data_streams::config::Config;
use mimalloc::MiMalloc;

/// Gives memory back when a batch is done, and costs less than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let config = Config::parse();
    let process = config.process.clone();
    chassis::run("data-streams", &process, move |context| {
        data_streams::run(config, context)
    })
}
