//! The process of data-streams; see `run.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    data_streams::main()
}
