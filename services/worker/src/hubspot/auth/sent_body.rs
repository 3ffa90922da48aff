//! The body of a request that says whether HubSpot may have received it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body of known length that is taken only once there is a connection to send it on.
pub(super) struct SentBody {
    bytes: Option<Bytes>,
    is_sent: Arc<AtomicBool>,
}

impl SentBody {
    /// A body that sets `is_sent` when it is taken.
    pub(super) fn new(bytes: impl Into<Bytes>, is_sent: Arc<AtomicBool>) -> Self {
        Self {
            bytes: Some(bytes.into()),
            is_sent,
        }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_sent.store(true, Ordering::Relaxed);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}
