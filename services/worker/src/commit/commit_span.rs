//! The span of a page from its submission to its commit, in traces. Its records name it in
//! their headers.

use chassis::traces::{TARGET, TraceParent};
use tracing::Span;

/// The span; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct CommitSpan {
    _open: Span,
    trace: Option<TraceParent>,
}

impl CommitSpan {
    /// A child of the current span.
    pub(super) fn begin(records: usize, partition: i32) -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            "commit",
            otel.kind = "producer",
            records,
            partition,
        );
        Self {
            trace: TraceParent::of(&span),
            _open: span,
        }
    }

    /// Names it, where its trace is sent.
    pub(super) fn trace(&self) -> Option<&TraceParent> {
        self.trace.as_ref()
    }
}
