//! Logs and metrics of a process.

use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::Context;

/// How often measured times are added to their histograms.
const UPKEEP: Duration = Duration::from_secs(5);

/// Format of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error and recording metrics. `RUST_LOG` sets the
/// level, `info` by default.
pub(crate) fn install(name: &'static str, format: LogFormat) -> anyhow::Result<PrometheusHandle> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env()
        .context("RUST_LOG is not a filter such as info or worker=debug")?
        // The client logs every event as an error, even the end of a partition.
        // librdkafka's own log contains the errors that matter.
        .add_directive(
            "rdkafka::client=off"
                .parse()
                .context("invalid log directive")?,
        );
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .context("a log subscriber is installed already")?;
    let metrics = PrometheusBuilder::new()
        .set_buckets(&[
            0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
        ])
        .context("invalid histogram buckets")?
        .add_global_label("service", name)
        .install_recorder()
        .context("a metrics recorder is installed already")?;
    Ok(metrics)
}

/// Adds measured times to their histograms until the process drains. Otherwise
/// each of them stays in memory until the metrics are read, which may be never.
pub(crate) async fn upkeep(context: Context, metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    while context.unless_draining(ticks.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}
