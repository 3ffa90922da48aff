//! The worker's process.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let config = worker::Config::parse();
    let process = config.process.clone();
    chassis::run("worker", &process, move |context| {
        worker::run(config, context)
    })
}
