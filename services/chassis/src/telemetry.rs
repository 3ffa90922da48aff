//! Logs and metrics of a process.
//!
//! It must not know what is logged or measured.

use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::Context;

/// How often measured times are folded into their histograms.
const TIDY: Duration = Duration::from_secs(5);

/// Form of the log lines.
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
        // The client repeats every event as an error, each end of a partition
        // among them; what matters comes by librdkafka's own log, too.
        .add_directive(
            "rdkafka::client=off"
                .parse()
                .context("a directive of our own")?,
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
        .context("histogram buckets are refused")?
        .add_global_label("service", name)
        .install_recorder()
        .context("a metrics recorder is installed already")?;
    Ok(metrics)
}

/// Folds measured times into their histograms until the process is to end.
/// Otherwise each of them is kept until somebody asks for the metrics, which
/// may be never.
pub(crate) async fn tidy(context: Context, metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(TIDY);
    while context.unless_draining(ticks.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}
