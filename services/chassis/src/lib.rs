//! What every process of the system needs: start, shutdown, logs, metrics,
//! health, and clients of Kafka and the schema registry.
//!
//! It must not know what the process does.

mod allocator;
mod causes;
mod clock;
pub mod crash;
pub mod duration;
pub mod health;
pub mod http;
pub mod kafka;
pub mod redact;
pub mod registry;
pub mod schema_lookup;
pub mod secret;
pub mod settings;
mod shutdown;
pub mod startup;
mod telemetry;
pub mod tls;
pub mod traces;
pub mod values;

use std::{future::Future, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::runtime;

pub use causes::with_causes;
pub use clock::Clock;
pub use health::Health;
pub use shutdown::Context;
pub use telemetry::LogFormat;
use telemetry::Telemetry;

/// How long tasks that did not drain in time may still take, and then the same
/// for threads that block. With the default drain limit and [`LAST_SPANS`], this leaves
/// half a second of the ten that a process has between SIGTERM and SIGKILL.
const CUT_OFF: Duration = Duration::from_millis(500);

/// How long the last spans may take to be sent.
const LAST_SPANS: Duration = Duration::from_millis(500);

/// Settings of every process.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address of the admin server: health and metrics.
    #[arg(long, env, value_name = "ADDRESS")]
    pub admin_address: Option<SocketAddr>,

    /// Which lines are logged: a level, or levels by module (worker=debug,info).
    #[arg(long, env = "RUST_LOG", default_value = "info", value_parser = telemetry::parse_filter)]
    pub log_filter: tracing_subscriber::filter::Targets,

    /// Format of the log lines: `auto` is text on a terminal and JSON elsewhere.
    #[arg(long, env, default_value = "auto", value_enum)]
    pub log_format: LogFormat,

    /// How long a shutdown may take before it is cut off.
    #[arg(long, env, default_value = "8s", value_name = "DURATION", value_parser = duration::or_seconds)]
    pub drain_limit: Duration,

    /// Traces.
    #[command(flatten)]
    pub traces: traces::TraceArgs,
}

/// Runs a process from its parsed arguments to its exit code: telemetry,
/// runtime, admin server, signals, the service, and the drain.
pub fn run<F, Fut>(name: &'static str, args: &Args, service: F) -> ExitCode
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let started = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| {
            let telemetry = telemetry::install(name, args, runtime.handle())
                .context("cannot start telemetry")?;
            Ok((runtime, telemetry))
        });
    let (runtime, Telemetry { metrics, traces }) = match started {
        Ok(started) => started,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "there is no log yet")]
            {
                eprintln!("{name}: {error:#}");
            }
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(supervise(name, args.clone(), metrics, service));
    if let Some(traces) = traces {
        traces.end(LAST_SPANS);
    }
    // Threads that librdkafka blocks must not hold up the exit.
    runtime.shutdown_timeout(CUT_OFF);
    match outcome {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped by a failure");
            ExitCode::FAILURE
        }
    }
}

async fn supervise<F, Fut>(
    name: &'static str,
    args: Args,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    service: F,
) -> anyhow::Result<()>
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let context = Context::new(Clock::system(), Health::new(name, metrics.clone()));
    context
        .health()
        .fails(health::START, "the service has not started yet");
    context.spawn_owned(telemetry::upkeep(context.clone(), metrics));
    if let Some(address) = args.admin_address {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} (--admin-address)"))?;
        context.spawn("admin server", health::serve(context.clone(), listener));
    }
    context.spawn("service", service(context.clone()));
    shutdown::until_signal_and_drained(&context, args.drain_limit).await
}
