//! All matching records as lines of JSON or as CSV, of which only one part is in memory. A
//! failure cuts the connection, so that the caller sees that the body is not complete.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{CSV, size_hint, write_record};
use crate::{
    api::{Api, error::ApiError, guard},
    records::{RecordQuery, StoredRecord},
};

/// One record a line.
pub(super) async fn as_lines(api: &Api, query: RecordQuery) -> Result<Response, ApiError> {
    let permit = guard::place(&api.streams)?;
    let backend = Arc::clone(&api.backend);
    // A chunk is read while the one before it is sent.
    let (out, records) = mpsc::channel(1);
    let reading = async move { backend.export(&query, out).await };
    drop(api.context.spawn_owned(reading));
    let text = |records: Vec<StoredRecord>| {
        let mut text = Vec::with_capacity(size_hint(&records));
        for record in &records {
            write_record(&mut text, record);
            text.push(b'\n');
        }
        Bytes::from(text)
    };
    answer("application/x-ndjson", records, text, permit).await
}

/// A line of names, then one record a line, with the columns of the view.
pub(super) async fn as_csv(api: &Api, query: RecordQuery) -> Result<Response, ApiError> {
    let permit = guard::place(&api.streams)?;
    let backend = Arc::clone(&api.backend);
    let (out, parts) = mpsc::channel(1);
    let reading = async move { backend.csv(&query, out).await };
    drop(api.context.spawn_owned(reading));
    answer(CSV, parts, |part| part, permit).await
}

/// The answer with all parts as text. A failure before the first one still gets its
/// status.
async fn answer<T: Send + 'static>(
    kind: &'static str,
    mut parts: mpsc::Receiver<Result<T, ApiError>>,
    text: impl Fn(T) -> Bytes + Send + Sync + 'static,
    permit: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    let first = parts.recv().await.transpose()?;
    let body = Body::from_stream(stream_of(first.map(Ok), parts, text, permit));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn stream_of<T: Send + 'static>(
    first: Option<Result<T, ApiError>>,
    parts: mpsc::Receiver<Result<T, ApiError>>,
    text: impl Fn(T) -> Bytes + Send + Sync + 'static,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, ApiError>> {
    // Holds the permit until the stream ends.
    stream::unfold(
        (first, parts, text, permit),
        async |(first, mut parts, text, permit)| {
            let part = match first {
                Some(first) => first,
                None => parts.recv().await?,
            };
            let part = part.map(&text);
            Some((part, (None, parts, text, permit)))
        },
    )
    // The compression asks once more after the end.
    .fuse()
}
