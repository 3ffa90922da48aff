//! The benchmarks, one module a subject, and how one is run.
//!
//! It must not know how readings are shown.

mod end_to_end;
mod limits;
mod properties;
mod simulator;

use futures::{FutureExt as _, future::BoxFuture};

use crate::{
    Size,
    result::Reading,
    system::Servers,
    table::{Table, number, say},
};

/// A benchmark.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// What it is chosen by.
    pub(crate) name: &'static str,
    /// One run of it.
    run: for<'a> fn(&'a Servers, Scale) -> BoxFuture<'a, anyhow::Result<Vec<Reading>>>,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How much data.
    pub(crate) size: Size,
    /// How often it is run.
    pub(crate) runs: usize,
}

impl Scale {
    /// One of three numbers, by size.
    pub(crate) fn of<T>(self, tiny: T, default: T, full: T) -> T {
        match self.size {
            Size::Tiny => tiny,
            Size::Default => default,
            Size::Full => full,
        }
    }
}

/// All benchmarks, in the order of the table.
pub(crate) fn all() -> Vec<Benchmark> {
    vec![
        Benchmark {
            name: "end_to_end",
            run: |servers, scale| end_to_end::run(servers, scale).boxed(),
        },
        Benchmark {
            name: "limits",
            run: |servers, scale| limits::run(servers, scale).boxed(),
        },
        Benchmark {
            name: "properties",
            run: |servers, scale| properties::run(servers, scale).boxed(),
        },
        Benchmark {
            name: "simulator",
            run: |_, scale| simulator::run(scale).boxed(),
        },
    ]
}

/// Runs a benchmark as often as asked; false when a run failed.
pub(crate) async fn run(
    benchmark: &Benchmark,
    servers: &Servers,
    scale: Scale,
    table: &mut Table,
) -> bool {
    let mut complete = true;
    for run in 1..=scale.runs {
        // The harness fails by panicking; the other benchmarks still run.
        let guarded = std::panic::AssertUnwindSafe((benchmark.run)(servers, scale));
        match guarded.catch_unwind().await {
            Ok(Ok(readings)) => {
                for it in &readings {
                    say(&format!(
                        "{} {run}/{}: {}: {} {}",
                        benchmark.name,
                        scale.runs,
                        it.name,
                        number(it.value),
                        it.unit
                    ));
                }
                table.add(benchmark.name, readings);
            }
            Ok(Err(error)) => {
                say(&format!("{} failed: {error:#}", benchmark.name));
                complete = false;
            }
            Err(_panic) => {
                say(&format!("{} failed: see above", benchmark.name));
                complete = false;
            }
        }
    }
    complete
}
