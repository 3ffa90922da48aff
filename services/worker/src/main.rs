//! The process of worker; see `run.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    worker::main()
}
