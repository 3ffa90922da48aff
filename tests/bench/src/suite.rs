//! The list of benchmarks, one module for each, and how one is run.

mod change_log;
mod connections;
mod end_to_end;
mod growth;
mod halves;
mod knobs;
mod limits;
mod million;
mod pace;
mod properties;
mod simulator;
mod targets;

use futures::{FutureExt as _, future::BoxFuture};

use crate::{
    Size,
    result::Reading,
    system::Servers,
    table::{Table, number, progress},
};

/// A benchmark.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// Its name, by which it is chosen.
    pub(crate) name: &'static str,
    /// Runs it once.
    run: Run,
    /// Whether one run takes its readings [`Scale::runs`] times, as the preparation
    /// takes long.
    repeats_itself: bool,
    /// Whether it runs only if it is named.
    pub(crate) on_request: bool,
}

type Run = for<'a> fn(&'a Servers, Scale) -> BoxFuture<'a, anyhow::Result<Vec<Reading>>>;

impl Benchmark {
    fn new(name: &'static str, run: Run) -> Self {
        Self {
            name,
            run,
            repeats_itself: false,
            on_request: false,
        }
    }
}

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How much data.
    pub(crate) size: Size,
    /// How often a reading is taken.
    pub(crate) runs: usize,
}

impl Scale {
    /// One of three values, by size.
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
        Benchmark::new("end_to_end", |servers, scale| {
            end_to_end::run(servers, scale).boxed()
        }),
        Benchmark::new("limits", |servers, scale| {
            limits::run(servers, scale).boxed()
        }),
        Benchmark::new("pace", |servers, scale| pace::run(servers, scale).boxed()),
        Benchmark::new("halves", |servers, scale| {
            halves::run(servers, scale).boxed()
        }),
        Benchmark::new("targets", |servers, scale| {
            targets::run(servers, scale).boxed()
        }),
        Benchmark::new("properties", |servers, scale| {
            properties::run(servers, scale).boxed()
        }),
        Benchmark {
            repeats_itself: true,
            ..Benchmark::new("million", |servers, scale| {
                million::run(servers, scale).boxed()
            })
        },
        Benchmark {
            repeats_itself: true,
            ..Benchmark::new("change_log", |servers, scale| {
                change_log::run(servers, scale).boxed()
            })
        },
        Benchmark::new("growth", |servers, scale| {
            growth::run(servers, scale).boxed()
        }),
        Benchmark {
            repeats_itself: true,
            ..Benchmark::new("connections", |servers, scale| {
                connections::run(servers, scale).boxed()
            })
        },
        Benchmark {
            on_request: true,
            ..Benchmark::new("knobs", |servers, scale| knobs::run(servers, scale).boxed())
        },
        Benchmark::new("simulator", |_, scale| simulator::run(scale).boxed()),
    ]
}

/// Warms up the servers before anything is measured.
pub(crate) async fn warm_up(servers: &Servers, scale: Scale) -> anyhow::Result<()> {
    progress("warming up Kafka with first syncs that are not measured");
    end_to_end::warm_up(servers, scale).await
}

/// Runs a benchmark as often as configured; `false` if a run failed.
pub(crate) async fn run(
    benchmark: &Benchmark,
    servers: &Servers,
    scale: Scale,
    table: &mut Table,
) -> bool {
    let mut complete = true;
    let runs = if benchmark.repeats_itself {
        1
    } else {
        scale.runs
    };
    for run in 1..=runs {
        // The harness fails by panicking; the other benchmarks still run.
        let guarded = std::panic::AssertUnwindSafe((benchmark.run)(servers, scale));
        match guarded.catch_unwind().await {
            Ok(Ok(readings)) => {
                for it in &readings {
                    progress(&format!(
                        "{} {run}/{}: {}: {} {}",
                        benchmark.name,
                        runs,
                        it.name,
                        number(it.value),
                        it.unit
                    ));
                }
                table.add(benchmark.name, readings);
            }
            Ok(Err(error)) => {
                progress(&format!("{} failed: {error:#}", benchmark.name));
                complete = false;
            }
            Err(_panic) => {
                progress(&format!("{} failed: see above", benchmark.name));
                complete = false;
            }
        }
    }
    complete
}
