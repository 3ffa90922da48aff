//! Why the work of a stream or of a connection ends.

use schemas::EncodeError;

use crate::{commit::StreamSink, sync::SinkClosed};

/// Why a stream or a connection cannot continue.
#[derive(Debug)]
pub(super) enum Halt {
    /// The partition is no longer ours, or is taken over again.
    Closed,
    /// A value cannot be written. Nothing is written in its place, so the log keeps
    /// the state before; the next command tries again.
    Unwritable(EncodeError),
}

impl Halt {
    /// Why a sink accepts no page.
    pub(super) fn of(sink: &StreamSink) -> Self {
        sink.state()
            .take_failure()
            .map_or(Self::Closed, Self::Unwritable)
    }
}

impl From<SinkClosed> for Halt {
    fn from(SinkClosed: SinkClosed) -> Self {
        Self::Closed
    }
}

impl From<EncodeError> for Halt {
    fn from(error: EncodeError) -> Self {
        Self::Unwritable(error)
    }
}
