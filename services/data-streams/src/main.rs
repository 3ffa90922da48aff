//! The data-streams process: one expression, from arguments to exit code.

use std::process::ExitCode;

use clap::Parser as _;
use data_streams::config::Config;

fn main() -> ExitCode {
    let config = Config::parse();
    let process = config.process.clone();
    chassis::run("data-streams", &process, move |context| {
        data_streams::run(config, context)
    })
}
