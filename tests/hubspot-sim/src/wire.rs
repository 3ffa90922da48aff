//! Sockets and bodies that can be made to fail.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The body of an HTTP response.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, io::Error>;

/// A connection that can be reset instead of closed.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Socket {
    /// The socket, and a flag that makes its close a reset.
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<AtomicBool>) {
        let reset = Arc::new(AtomicBool::new(false));
        (
            Self {
                stream,
                reset: Arc::clone(&reset),
            },
            reset,
        )
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // With zero linger, the kernel sends RST instead of FIN.
        if self.reset.load(Ordering::SeqCst)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "cannot reset a connection");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A complete body.
pub(crate) fn whole(body: Bytes) -> ResponseBody {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that breaks off.
pub(crate) fn cut(body: &Bytes, after: usize) -> ResponseBody {
    let part = body.slice(..after.min(body.len()));
    let broken = io::Error::new(io::ErrorKind::ConnectionAborted, "cut by a scripted fault");
    // The pause lets the first part reach the client before the connection ends.
    let end = stream::once(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(broken)
    });
    let frames = stream::iter([Ok(Frame::data(part))]).chain(end);
    StreamBody::new(frames).boxed_unsync()
}

/// A body in pieces, with pauses.
pub(crate) fn slow(body: &Bytes, pieces: usize, pause: Duration) -> ResponseBody {
    let size = body.len().div_ceil(pieces.max(1)).max(1);
    let parts: Vec<Bytes> = (0..body.len())
        .step_by(size)
        .map(|start| body.slice(start..(start + size).min(body.len())))
        .collect();
    let frames = stream::iter(parts).then(move |part| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(part))
    });
    StreamBody::new(frames).boxed_unsync()
}
