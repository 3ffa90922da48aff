//! The span of a run in traces.

use chassis::traces::TARGET;
use tracing::{Span, field::Empty};

use crate::{
    schedule::RunPlan,
    supervisor::command_traces::CommandTraces,
    sync::{Outcome, RunEnd},
};

/// A span for a run, of the trace that asked for it, if any.
pub(super) fn begin(plan: &RunPlan, connection: &str, stream: &str, asked: &CommandTraces) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "run",
        otel.name = format!("run {} {stream}", plan.reason.as_str()),
        otel.status_code = Empty,
        otel.status_description = Empty,
        connection,
        stream,
        reason = plan.reason.as_str(),
        request_id = plan.request_id,
        run_id = Empty,
        outcome = Empty,
    );
    if let Some(command) = asked.take(connection, stream, plan.request_id.as_deref()) {
        command.adopt(&span);
    }
    span
}

/// Notes how the run ended.
pub(super) fn end(span: &Span, end: &RunEnd) {
    span.record("run_id", &end.run_id);
    span.record("outcome", end.outcome.as_str());
    if let Outcome::Failed(error) = &end.outcome {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error.code);
    }
}
