//! Logs and metrics of a process.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    Args, Context,
    redact::Lines,
    traces::{self, Exporting},
};

/// Gauge: 1, with the version as a label.
const BUILD_INFO: &str = "service_build_info";

/// How often measured times are added to their histograms.
const UPKEEP: Duration = Duration::from_secs(5);

/// Format of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads a filter of log lines, `info` where it is empty.
pub(crate) fn parse_filter(text: &str) -> Result<Targets, String> {
    match text.trim() {
        "" => Ok(Targets::new().with_default(tracing::Level::INFO)),
        text => text
            .parse()
            .map_err(|error| format!("{error}; a level such as info, or worker=debug,info")),
    }
}

/// What was started.
pub(crate) struct Telemetry {
    pub(crate) metrics: PrometheusHandle,
    pub(crate) traces: Option<Exporting>,
}

/// Starts logging to standard error, recording metrics and, where an endpoint is set,
/// sending traces, on this runtime.
pub(crate) fn install(
    name: &'static str,
    args: &Args,
    runtime: &Handle,
) -> anyhow::Result<Telemetry> {
    // The client logs every event as an error, even each end of a partition;
    // librdkafka's own log has the important ones, too.
    let filter = args
        .log_filter
        .clone()
        .with_target("rdkafka::client", LevelFilter::OFF)
        .with_target(traces::TARGET, LevelFilter::OFF);
    let (sent, traces) = traces::layer(name, &args.traces, runtime)?.unzip();
    let registry = tracing_subscriber::registry().with(sent);
    let lines = tracing_subscriber::fmt::layer().with_writer(Lines(stderr));
    let json = match args.log_format {
        LogFormat::Auto => !stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if json {
        let lines = lines.json().flatten_event(true);
        registry.with(lines.with_filter(filter)).try_init()
    } else {
        let lines = lines.with_ansi(false);
        registry.with(lines.with_filter(filter)).try_init()
    }
    .context("a log subscriber is installed already")?;
    let exported = PrometheusBuilder::new()
        .set_buckets(&[
            0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
            300.0, 1_800.0, 7_200.0, 21_600.0,
        ])
        .context("invalid histogram buckets")?
        .add_global_label("service", name)
        .install_recorder()
        .context("a metrics recorder is installed already")?;
    metrics::describe_gauge!(BUILD_INFO, "1, with the version of the service.");
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(Telemetry {
        metrics: exported,
        traces,
    })
}

/// Adds measured times to their histograms until the process drains. Otherwise
/// each of them stays in memory until the metrics are read, which may be never.
pub(crate) async fn upkeep(context: Context, metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    while context.unless_draining(ticks.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module_and_info_where_it_is_empty() {
        let empty = parse_filter(" ").unwrap();
        assert!(empty.would_enable("worker", &Level::INFO));
        assert!(!empty.would_enable("worker", &Level::DEBUG));
        let by_module = parse_filter("warn,worker::sync=debug").unwrap();
        assert!(by_module.would_enable("worker::sync", &Level::DEBUG));
        assert!(!by_module.would_enable("worker::commit", &Level::INFO));
        assert!(
            parse_filter("worker=loud")
                .unwrap_err()
                .contains("worker=debug,info")
        );
    }
}
