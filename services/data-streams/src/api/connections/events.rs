//! The connections as server-sent events: all of them at once, and again after each
//! change.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::{Stream, StreamExt as _, stream};
use tokio::{sync::watch, time::Instant};

use super::{Api, ApiError, all};
use crate::api::{
    access::Client,
    changes::{COMMENT, EVENTS_BEGIN, SIGN_OF_LIFE},
    places::Place,
};

/// Minimum time between two events, so that a backfill does not flood its watchers.
const SPACING: Duration = Duration::from_millis(250);

/// How often it looks for what changes without a message of the worker: what is not
/// loaded, and the verdicts.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A caller who watches the connections.
struct Watcher {
    api: Api,
    changes: watch::Receiver<u64>,
    /// The last event, and when something was last sent.
    last: Bytes,
    sent_at: Instant,
    _place: Place,
}

/// Answers with a stream of events.
pub(super) fn watch(api: Api, client: Client) -> Result<Response, ApiError> {
    let place = api.watchers.take(client)?;
    let changes = api.control.changes();
    let first = event(&api)?;
    let watcher = Watcher {
        api,
        changes,
        last: first.clone(),
        sent_at: Instant::now(),
        _place: place,
    };
    let begin = Bytes::from([EVENTS_BEGIN.as_bytes(), &first[..]].concat());
    let events = stream::once(async { Ok(begin) }).chain(events(watcher));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Bytes, ApiError>> {
    let events = stream::unfold(watcher, async |mut watcher| {
        let next = watcher.api.context.clone();
        let text = next.unless_draining(watcher.next()).await?;
        Some((Ok(text), watcher))
    });
    events.fuse()
}

impl Watcher {
    /// The next event, or a sign of life.
    async fn next(&mut self) -> Bytes {
        loop {
            tokio::time::sleep_until(self.sent_at + SPACING).await;
            // Without a sender the process ends.
            drop(tokio::time::timeout(LOOK_AGAIN, self.changes.changed()).await);
            // While the control topics are read anew, what was last known counts.
            let text = event(&self.api).unwrap_or_else(|_not_ready| self.last.clone());
            if text != self.last {
                self.last = text.clone();
                self.sent_at = Instant::now();
                return text;
            }
            if self.sent_at.elapsed() >= SIGN_OF_LIFE {
                self.sent_at = Instant::now();
                return COMMENT.into();
            }
        }
    }
}

/// All connections as an event.
fn event(api: &Api) -> Result<Bytes, ApiError> {
    let mut text = b"event: connections\ndata: ".to_vec();
    serde_json::to_writer(&mut text, &all(api)?).map_err(|error| {
        tracing::error!(%error, "the connections cannot be shown");
        ApiError::Internal
    })?;
    text.extend_from_slice(b"\n\n");
    Ok(text.into())
}
