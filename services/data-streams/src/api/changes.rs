//! The route of the change log: every version of a connection's objects, as the log has
//! them, in pages, as lines, or as events.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use schemas::CrmRecord;
use tokio::{sync::mpsc, time::Instant};

mod body;
mod cursor;

use self::{
    body::{ChangeBody, ChangesBody},
    cursor::Cursor,
};
use super::{
    Api,
    access::Client,
    body::refuse_all,
    connections::ConnectionPath,
    error::{ApiError, Missing, Problem},
    places::Place,
    records::{DEFAULT_LIMIT, MAX_LIMIT, accepts, limit, unknown_parameter},
};
use crate::{
    control::Invalid,
    ingest::{ChangeBatch, ChangeQuery, LoggedRecord},
};

/// How long a page waits for its records: it may have to pass over many of other
/// connections.
const PAGE_WAIT: Duration = Duration::from_secs(5);

/// A page that has this size in bytes is complete.
const PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Pause between two signs of life of a stream of events, for proxies that cut
/// connections on which nothing comes.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What a stream of events begins with: how long a browser waits before it connects
/// again, in milliseconds.
pub(super) const EVENTS_BEGIN: &str = "retry: 1000\n\n";

/// A sign of life of a stream of events: a comment without a text.
pub(super) const COMMENT: &str = ":\n\n";

/// In which form the log is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Lines,
    Events,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        if accepts(headers, "text/event-stream") {
            Self::Events
        } else if accepts(headers, "application/x-ndjson") {
            Self::Lines
        } else {
            Self::Page
        }
    }
}

/// Lists the change log.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/changes",
    operation_id = "list_changes",
    tag = "records",
    params(
        ConnectionPath,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Versions of a page; 100 when left out, at most 1,000"),
        ("after" = Option<String>, Query, pattern = "^c1(_[0-9]{1,18})*$", description = "paging.next.after of the page before, or after of the last version that was read; the beginning of the log when left out"),
        ("streams" = Option<String>, Query, pattern = "^[A-Za-z0-9][A-Za-z0-9_>-]*(,[A-Za-z0-9][A-Za-z0-9_>-]*)*$", description = "Streams, comma-separated; all of the connection when left out"),
        ("Last-Event-ID" = Option<String>, Header, description = "As after, of a browser that connects again"),
    ),
    responses(
        (
            status = 200,
            description = "Versions in the order of the log: those of one object in theirs. A page; with Accept: application/x-ndjson all up to the end of the log, one a line; with Accept: text/event-stream all, and those to come, as events with the id after",
            content(
                (ChangesBody<'static> = "application/json"),
                (ChangeBody<'static> = "application/x-ndjson"),
                (String = "text/event-stream"),
            ),
        ),
        (status = 400, description = "A parameter is unknown or not allowed", body = Problem),
        (status = 404, description = "There is no such connection or stream", body = Problem),
        (status = 429, description = "Too many pages are being read, or lines and events sent", body = Problem),
        (status = 503, description = "Kafka or the registry does not answer", body = Problem),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::of(&headers);
    let mut parameters = Parameters::read(pairs)?;
    if form == Form::Events
        && let Some(last) = headers.get("last-event-id")
    {
        let last = last.to_str().ok().and_then(Cursor::parse);
        parameters.after = last.ok_or_else(|| wrong_cursor("Last-Event-ID"))?;
    }
    let query = query(&api, &name, &parameters, form)?;
    let places = match form {
        Form::Page => &api.pages,
        Form::Lines | Form::Events => &api.streams,
    };
    let place = places.take(client)?;
    let (out, batches) = mpsc::channel(1);
    match query {
        Some(query) => {
            let backend = Arc::clone(&api.backend);
            let reading = async move { backend.changes(query, out).await };
            drop(api.context.spawn_owned(reading));
        }
        // Without an account nothing was ever fetched, and nobody sends.
        None => drop(out),
    }
    let log = Log {
        cursor: parameters.after,
        batches,
    };
    let (kind, begin) = match form {
        Form::Page => {
            let page = log.page(parameters.limit).await?;
            return Ok(([(header::CONTENT_TYPE, "application/json")], page).into_response());
        }
        Form::Events => ("text/event-stream", EVENTS_BEGIN),
        Form::Lines => ("application/x-ndjson", ""),
    };
    let body = Body::from_stream(log.stream(form, begin.into(), place).await?);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

struct Parameters {
    limit: usize,
    after: Cursor,
    streams: Option<Vec<String>>,
}

impl Parameters {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut read = Self {
            limit: DEFAULT_LIMIT,
            after: Cursor::default(),
            streams: None,
        };
        let mut wrong = Vec::new();
        for (name, value) in pairs {
            let taken = match name.as_str() {
                "limit" => limit(&value, MAX_LIMIT).map(|it| read.limit = it),
                "after" => Cursor::parse(&value)
                    .map(|it| read.after = it)
                    .ok_or_else(|| Invalid::new("after", WRONG_CURSOR)),
                "streams" => stream_names(&value).map(|it| read.streams = Some(it)),
                _ => Err(unknown_parameter(&name, "limit, after, streams")),
            };
            wrong.extend(taken.err());
        }
        refuse_all(wrong, ApiError::InvalidParameter)?;
        Ok(read)
    }
}

/// Reads names of streams. One without characters is the caller's slip, and not of a stream
/// that is not there.
fn stream_names(value: &str) -> Result<Vec<String>, Invalid> {
    let names: Vec<_> = value.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        let what = "must be names of streams, comma-separated, or be left out for all";
        return Err(Invalid::new("streams", what));
    }
    Ok(names)
}

const WRONG_CURSOR: &str = "must be the after of a version or page of this log";

fn wrong_cursor(field: &str) -> ApiError {
    super::records::refused_parameter(Invalid::new(field, WRONG_CURSOR))
}

/// What to read of the log; `None` while the connection's account is unknown.
fn query(
    api: &Api,
    name: &str,
    parameters: &Parameters,
    form: Form,
) -> Result<Option<ChangeQuery>, ApiError> {
    api.control.read(|connections| {
        let live = connections.get_live(name);
        let live = live.ok_or_else(|| ApiError::not_found(Missing::Connection, name))?;
        let all = &live.desired.streams;
        let asked = parameters.streams.as_ref().unwrap_or(all);
        if let Some(missing) = asked.iter().find(|it| !all.contains(it)) {
            return Err(ApiError::not_found(Missing::Stream, missing));
        }
        Ok(live.connection.portal_id().map(|portal_id| ChangeQuery {
            portal_id,
            object_types: asked.clone(),
            from: parameters.after.offsets().clone(),
            follow: form == Form::Events,
        }))
    })?
}

/// The log as it is read.
struct Log {
    /// After what was written out.
    cursor: Cursor,
    batches: mpsc::Receiver<Result<ChangeBatch, ApiError>>,
}

impl Log {
    /// A page as JSON.
    async fn page(mut self, limit: usize) -> Result<Vec<u8>, ApiError> {
        let deadline = Instant::now() + PAGE_WAIT;
        let mut out = b"{\"results\":[".to_vec();
        let mut count = 0;
        // The reader gives up by itself where Kafka does not answer. Nothing comes if nothing
        // was ever fetched, or if the process stops.
        let mut next = self.batches.recv().await;
        let mut at_end = next.is_none();
        while let Some(batch) = next {
            let batch = batch?;
            let mut records = batch.records.iter();
            for record in records.by_ref() {
                if count > 0 {
                    out.push(b',');
                }
                write(&batch.topic, record, self.cursor.pass(record), &mut out)?;
                count += 1;
                if count == limit || out.len() >= PAGE_BYTES {
                    break;
                }
            }
            if records.as_slice().is_empty() {
                self.cursor = batch.next.into();
                at_end = batch.at_end;
            }
            if count == limit || out.len() >= PAGE_BYTES || at_end {
                break;
            }
            let more = tokio::time::timeout_at(deadline, self.batches.recv());
            next = more.await.ok().flatten();
        }
        for part in [
            "],\"paging\":{\"next\":{\"after\":\"",
            &self.cursor.token(),
            "\"}},\"at_end\":",
            if at_end { "true}" } else { "false}" },
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        Ok(out)
    }

    /// Lines or events. A failure before the first batch still gets its status; a later
    /// one cuts the connection.
    async fn stream(
        mut self,
        form: Form,
        begin: Bytes,
        place: Place,
    ) -> Result<impl Stream<Item = Result<Bytes, ApiError>>, ApiError> {
        let first = match self.batches.recv().await.transpose()? {
            Some(batch) => self.text(&batch, form)?,
            None => Bytes::new(),
        };
        let first = Bytes::from([begin, first].concat());
        // Holds the place until the stream ends.
        let state = (Some(first), self, place);
        let parts = stream::unfold(state, move |(first, mut log, place)| async move {
            let text = match first {
                Some(text) => Ok(text),
                None => log.next(form).await?,
            };
            Some((text, (None, log, place)))
        });
        // The compression asks once more after the end.
        Ok(parts.fuse())
    }

    /// The next part of a stream; `None` at its end.
    async fn next(&mut self, form: Form) -> Option<Result<Bytes, ApiError>> {
        loop {
            let batch = match tokio::time::timeout(SIGN_OF_LIFE, self.batches.recv()).await {
                Ok(batch) => batch?,
                Err(_elapsed) if form == Form::Events => return Some(Ok(COMMENT.into())),
                Err(_elapsed) => continue,
            };
            match batch.and_then(|batch| self.text(&batch, form)) {
                Ok(text) if text.is_empty() => {}
                text => return Some(text),
            }
        }
    }

    fn text(&mut self, batch: &ChangeBatch, form: Form) -> Result<Bytes, ApiError> {
        let mut out = Vec::new();
        for record in &batch.records {
            let after = self.cursor.pass(record);
            if form == Form::Events {
                for part in ["id: ", &after, "\nevent: change\ndata: "] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            write(&batch.topic, record, after, &mut out)?;
            let end: &[u8] = if form == Form::Events { b"\n\n" } else { b"\n" };
            out.extend_from_slice(end);
        }
        self.cursor = batch.next.clone().into();
        Ok(out.into())
    }
}

/// Writes a version as JSON.
fn write(
    topic: &str,
    record: &LoggedRecord,
    after: String,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    let failed = |error: &dyn std::fmt::Display| {
        let (partition, offset) = (record.partition, record.offset);
        tracing::error!(partition, offset, %error, "a record of the log cannot be shown");
        ApiError::Internal
    };
    let decoded = CrmRecord::decode(&record.datum).map_err(|error| failed(&error))?;
    let body = ChangeBody::new(&decoded, topic, record, after);
    serde_json::to_writer(out, &body).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &'static str) -> Form {
        Form::of(&HeaderMap::from_iter([(
            header::ACCEPT,
            accept.parse().unwrap(),
        )]))
    }

    #[test]
    fn the_form_is_what_is_accepted() {
        assert_eq!(Form::of(&HeaderMap::new()), Form::Page);
        assert_eq!(form("*/*"), Form::Page);
        assert_eq!(form("application/x-ndjson"), Form::Lines);
        assert_eq!(form("text/event-stream, */*"), Form::Events);
    }

    #[test]
    fn wrong_parameters_are_named() {
        let read = |name: &str, value: &str| {
            let pairs = vec![(name.to_owned(), value.to_owned())];
            Parameters::read(pairs).map(|_| ())
        };
        for (name, value) in [
            ("limit", "0"),
            ("after", "1"),
            ("since", "2026-01-01"),
            ("streams", ""),
            ("streams", "contacts,"),
        ] {
            let error = read(name, value).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(read("streams", "contacts,companies").is_ok());
    }
}
