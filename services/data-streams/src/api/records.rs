//! Stored records: pages, single ones, and streams of all that match.
//!
//! It must not know where they are stored.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::ToSchema;

mod query;

pub(super) use query::{limit, unknown_parameter};
use query::{query, token};

use super::{
    Api,
    body::timestamp,
    error::{ApiError, Missing},
};
use crate::records::{ArchivedFilter, RecordPage, StoredRecord};

/// One record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordBody {
    /// Its id, a string.
    #[schema(example = "1001")]
    id: String,
    /// When it was created, by HubSpot.
    created_at: String,
    /// When it was last modified, by HubSpot.
    updated_at: String,
    /// Whether it is in the recycle bin.
    archived: bool,
    /// Each property that is set, as JSON of its type.
    #[schema(value_type = Object)]
    properties: Box<RawValue>,
}

impl From<StoredRecord> for RecordBody {
    fn from(record: StoredRecord) -> Self {
        Self {
            id: record.id.to_string(),
            created_at: timestamp(record.created_at),
            updated_at: timestamp(record.updated_at),
            archived: record.archived,
            // INVARIANT: it is JSON.
            properties: RawValue::from_string(record.properties).unwrap_or_default(),
        }
    }
}

/// A page of records.
// `write_page` writes it, as the properties of a hundred records are JSON
// already and need not be read once more.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it says what the answer looks like")]
pub(super) struct RecordsBody {
    /// In ascending order of ids.
    results: Vec<RecordBody>,
    /// Left out on the last page.
    paging: Option<PagingBody>,
}

/// Where the next page is.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it says what the answer looks like")]
pub(super) struct PagingBody {
    /// The next page.
    next: NextBody,
}

/// What to give for the next page.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it says what the answer looks like")]
pub(super) struct NextBody {
    /// Value of the parameter `after`; opaque.
    after: String,
}

/// The database of a connection that has the stream.
fn destination(api: &Api, name: &str, object_type: &str) -> Result<String, ApiError> {
    let found = api.control.read(|state| {
        let command = state.get(name)?.desired()?;
        Some((
            command.destination.clone(),
            command.streams.iter().any(|it| it == object_type),
        ))
    })?;
    let short = |text: &str| text.chars().take(64).collect::<String>();
    match found {
        None => Err(ApiError::NotFound {
            what: Missing::Connection,
            name: short(name),
        }),
        Some((_, false)) => Err(ApiError::NotFound {
            what: Missing::Stream,
            name: short(object_type),
        }),
        Some((destination, true)) => Ok(destination),
    }
}

/// Lists stored records.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/records/{object_type}",
    tag = "records",
    params(
        ("name" = String, Path, description = "Name of the connection"),
        ("object_type" = String, Path, description = "Object type, such as contacts"),
        ("limit" = Option<u32>, Query, description = "100, at most 1,000"),
        ("after" = Option<String>, Query, description = "From the page before"),
        ("properties" = Option<String>, Query, description = "Names, comma-separated; all when left out"),
        ("updated_since" = Option<String>, Query, description = "Last-modified at or after it"),
        ("updated_before" = Option<String>, Query, description = "Last-modified before it"),
        ("archived" = Option<String>, Query, description = "false (as when left out), true or any"),
        ("ids" = Option<String>, Query, description = "Ids, comma-separated"),
    ),
    responses(
        (
            status = 200,
            description = "A page; with Accept: application/x-ndjson all that match, one a line",
            content(
                (RecordsBody = "application/json"),
                (RecordBody = "application/x-ndjson"),
            ),
        ),
        (status = 400, description = "A parameter that cannot be", body = super::error::Problem),
        (status = 404, description = "There is no such connection or stream", body = super::error::Problem),
        (status = 503, description = "ClickHouse does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Path((name, object_type)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut query = query(pairs)?;
    query.destination = destination(&api, &name, &object_type)?;
    query.object_type = object_type;
    let wants_lines = headers
        .get(header::ACCEPT)
        .and_then(|it| it.to_str().ok())
        .is_some_and(|it| it.contains("application/x-ndjson"));
    if wants_lines {
        let permit = Arc::clone(&api.streams)
            .try_acquire_owned()
            .map_err(|_closed_or_full| ApiError::Overrun)?;
        let backend = Arc::clone(&api.backend);
        // One handful is read while the one before is on its way.
        let (out, mut records) = mpsc::channel(1);
        drop(
            api.context
                .spawn_owned(async move { backend.export(&query, out).await }),
        );
        // A failure at once is an answer of its own.
        let first = records.recv().await.transpose()?;
        let lines = lines(first.map(Ok), records, permit);
        let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
        return Ok((headers, Body::from_stream(lines)).into_response());
    }
    let page = api.backend.records(&query).await?;
    let headers = [(header::CONTENT_TYPE, "application/json")];
    Ok((headers, write_page(&page)).into_response())
}

/// A page as JSON.
fn write_page(page: &RecordPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(room(&page.records) + 64);
    out.extend_from_slice(b"{\"results\":[");
    for (place, record) in page.records.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_record(&mut out, record);
    }
    out.push(b']');
    if let Some(next) = page.next {
        // A token needs no escape.
        for part in [",\"paging\":{\"next\":{\"after\":\"", &token(next), "\"}}"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.push(b'}');
    out
}

/// Bytes that these records take, about.
fn room(records: &[StoredRecord]) -> usize {
    records.iter().map(|it| it.properties.len() + 160).sum()
}

/// All that match, so that memory stays flat however many they are. A failure
/// in the middle cuts the body off: what is missing shows.
fn lines(
    first: Option<Result<Vec<StoredRecord>, ApiError>>,
    records: mpsc::Receiver<Result<Vec<StoredRecord>, ApiError>>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, ApiError>> {
    // The permit is held until the stream ends.
    stream::unfold(
        (first, records, permit),
        async |(first, mut records, permit)| {
            let records_now = match first {
                Some(first) => first,
                None => records.recv().await?,
            };
            let text = records_now.map(|records| {
                let mut text = Vec::with_capacity(room(&records));
                for record in &records {
                    write_record(&mut text, record);
                    text.push(b'\n');
                }
                Bytes::from(text)
            });
            Some((text, (None, records, permit)))
        },
    )
}

/// A record: what [`RecordBody`] gives, without reading the properties once
/// more.
fn write_record(out: &mut Vec<u8>, record: &StoredRecord) {
    let times = [record.created_at, record.updated_at].map(timestamp);
    let id = record.id.to_string();
    let archived = if record.archived { "true" } else { "false" };
    let [created_at, updated_at] = &times;
    for part in [
        "{\"id\":\"",
        &id,
        "\",\"created_at\":\"",
        created_at,
        "\",\"updated_at\":\"",
        updated_at,
        "\",\"archived\":",
        archived,
        ",\"properties\":",
        &record.properties,
        "}",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Shows one record.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/records/{object_type}/{id}",
    tag = "records",
    params(
        ("name" = String, Path, description = "Name of the connection"),
        ("object_type" = String, Path, description = "Object type, such as contacts"),
        ("id" = String, Path, description = "Object id"),
        ("properties" = Option<String>, Query, description = "Names, comma-separated; all when left out"),
    ),
    responses(
        (status = 200, description = "The record, archived or not", body = RecordBody),
        (status = 400, description = "A parameter that cannot be", body = super::error::Problem),
        (status = 404, description = "There is none", body = super::error::Problem),
        (status = 503, description = "ClickHouse does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn one(
    State(api): State<Api>,
    Path((name, object_type, id)): Path<(String, String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<RecordBody>, ApiError> {
    if let Some((other, _)) = pairs.iter().find(|(name, _)| name != "properties") {
        return Err(unknown_parameter(other, "properties"));
    }
    let mut query = query(pairs)?;
    query.destination = destination(&api, &name, &object_type)?;
    query.object_type = object_type;
    let missing = || ApiError::NotFound {
        what: Missing::Record,
        name: id.chars().take(64).collect(),
    };
    query.ids = Some(vec![id.parse().map_err(|_error| missing())?]);
    query.limit = 1;
    query.archived = ArchivedFilter::Include;
    let found = api
        .backend
        .records(&query)
        .await?
        .records
        .into_iter()
        .next();
    found.map(|record| Json(record.into())).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(id: u64) -> StoredRecord {
        StoredRecord {
            id,
            created_at: 0,
            updated_at: 1_795_528_800_123,
            archived: id.is_multiple_of(2),
            properties: r#"{"age":5,"name":"a\"b"}"#.to_owned(),
        }
    }

    #[test]
    fn a_page_is_what_its_records_are_one_by_one() {
        for (ids, next) in [(vec![], None), (vec![1], None), (vec![1, 2], Some(2))] {
            let page = RecordPage {
                records: ids.iter().copied().map(record).collect(),
                next,
            };
            let written: serde_json::Value = serde_json::from_slice(&write_page(&page)).unwrap();
            let bodies: Vec<_> = ids
                .into_iter()
                .map(|id| RecordBody::from(record(id)))
                .collect();
            let mut expected = json!({ "results": bodies });
            if let Some(next) = next {
                expected["paging"] = json!({ "next": { "after": token(next) } });
            }
            assert_eq!(written, expected);
        }
    }
}
