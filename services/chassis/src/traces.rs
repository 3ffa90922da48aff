//! Traces by OpenTelemetry, sent by OTLP over HTTP: off unless an endpoint is set. A trace
//! leads from a request of the API or a run of the worker over the headers of Kafka's
//! messages to the insert into the warehouse.
//!
//! Spans of a trace have [`TARGET`]; all others are for log lines only.

mod export;
mod parent;
mod settings;

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{Layer, filter::FilterFn, registry::LookupSpan};

pub use self::{parent::TraceParent, settings::TraceArgs};

/// The target of the spans of traces: `info_span!(target: TARGET, …)`. The fields
/// `otel.name`, `otel.kind` and `otel.status_code` are OpenTelemetry's own.
pub const TARGET: &str = "traces";

/// What has to end with the process, so that its last spans are sent.
#[derive(Debug)]
pub(crate) struct Exporting(SdkTracerProvider);

impl Exporting {
    /// Sends what is left, for so long at most. Blocks.
    pub(crate) fn end(&self, limit: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(limit) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// The layer that sends spans, where an endpoint is set. Has to be called once.
pub(crate) fn layer<S>(
    service: &'static str,
    args: &TraceArgs,
    runtime: &Handle,
) -> anyhow::Result<Option<(impl Layer<S> + use<S>, Exporting)>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let Some(provider) = export::provider(service, args, runtime)? else {
        return Ok(None);
    };
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service))
        // Places in the code, threads and times are for who debugs the program itself.
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false)
        .with_filter(FilterFn::new(is_of_traces));
    Ok(Some((layer, Exporting(provider))))
}

fn is_of_traces(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}
