//! All matching records as lines of JSON or as CSV, of which only one part is in memory. A
//! failure cuts the connection, so that the caller sees that the body is not complete.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use super::{CSV, size_hint, write_record};
use crate::{
    api::{Api, access::Client, error::ApiError, places::Place},
    records::{RecordQuery, StoredRecord},
};

/// One record a line.
pub(super) async fn as_lines(
    api: &Api,
    client: Client,
    query: RecordQuery,
) -> Result<Response, ApiError> {
    let place = api.streams.take(client)?;
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
    answer("application/x-ndjson", records, text, place).await
}

/// A line of names, then one record a line, with the columns of the view.
pub(super) async fn as_csv(
    api: &Api,
    client: Client,
    query: RecordQuery,
) -> Result<Response, ApiError> {
    let place = api.streams.take(client)?;
    let backend = Arc::clone(&api.backend);
    let (out, parts) = mpsc::channel(1);
    let reading = async move { backend.csv(&query, out).await };
    drop(api.context.spawn_owned(reading));
    answer(CSV, parts, |part| part, place).await
}

/// The answer with all parts as text. A failure before the first one still gets its
/// status.
async fn answer<T: Send + 'static>(
    kind: &'static str,
    mut parts: mpsc::Receiver<Result<T, ApiError>>,
    text: impl Fn(T) -> Bytes + Send + Sync + 'static,
    place: Place,
) -> Result<Response, ApiError> {
    let first = parts.recv().await.transpose()?;
    let body = Body::from_stream(stream_of(first.map(Ok), parts, text, place));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn stream_of<T: Send + 'static>(
    first: Option<Result<T, ApiError>>,
    parts: mpsc::Receiver<Result<T, ApiError>>,
    text: impl Fn(T) -> Bytes + Send + Sync + 'static,
    place: Place,
) -> impl Stream<Item = Result<Bytes, ApiError>> {
    // Holds the place until the stream ends.
    stream::unfold(
        (first, parts, text, place),
        async |(first, mut parts, text, place)| {
            let part = match first {
                Some(first) => first,
                None => parts.recv().await?,
            };
            let part = part.map(&text);
            Some((part, (None, parts, text, place)))
        },
    )
    // The compression asks once more after the end.
    .fuse()
}
