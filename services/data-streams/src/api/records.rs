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
use schemas::Millis;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

mod query;

pub use query::{Archived, RecordQuery};
use query::{MAX_LIMIT, query, token};
pub(super) use query::{limit, unknown_parameter};

use super::{
    Api, Backend, BackendError,
    body::timestamp,
    error::{ApiError, Missing},
};

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// Its id.
    pub id: u64,
    /// `HubSpot`'s `createdAt`.
    pub created_at: Millis,
    /// `HubSpot`'s `updatedAt`.
    pub updated_at: Millis,
    /// In the recycle bin.
    pub archived: bool,
    /// Each property that is set, as JSON of its type.
    pub properties: Map<String, Value>,
}

/// A page of records, by ascending id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredPage {
    /// At most as many as asked for.
    pub records: Vec<StoredRecord>,
    /// Id after which the next page begins; `None` on the last.
    pub next: Option<u64>,
}

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
    properties: Map<String, Value>,
}

impl From<StoredRecord> for RecordBody {
    fn from(record: StoredRecord) -> Self {
        Self {
            id: record.id.to_string(),
            created_at: timestamp(record.created_at),
            updated_at: timestamp(record.updated_at),
            archived: record.archived,
            properties: record.properties,
        }
    }
}

/// A page of records.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordsBody {
    /// In ascending order of ids.
    results: Vec<RecordBody>,
    /// Left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<PagingBody>,
}

/// Where the next page is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PagingBody {
    /// The next page.
    next: NextBody,
}

/// What to give for the next page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NextBody {
    /// Value of the parameter `after`; opaque.
    after: String,
}

impl PagingBody {
    pub(super) fn after(token: String) -> Self {
        Self {
            next: NextBody { after: token },
        }
    }
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
        (status = 200, description = "A page; with Accept: application/x-ndjson all that match, one a line", body = RecordsBody),
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
    query.connection = name;
    query.object_type = object_type;
    let wants_lines = headers
        .get(header::ACCEPT)
        .and_then(|it| it.to_str().ok())
        .is_some_and(|it| it.contains("application/x-ndjson"));
    if wants_lines {
        let permit = Arc::clone(&api.streams)
            .try_acquire_owned()
            .map_err(|_closed_or_full| ApiError::Overrun)?;
        query.limit = MAX_LIMIT;
        let first = api.backend.records(&query).await?;
        let lines = lines(Arc::clone(&api.backend), query, first, permit);
        let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
        return Ok((headers, Body::from_stream(lines)).into_response());
    }
    let page = api.backend.records(&query).await?;
    let paging = page.next.map(|last| PagingBody::after(token(last)));
    let results = page.records.into_iter().map(RecordBody::from).collect();
    Ok(Json(RecordsBody { results, paging }).into_response())
}

/// Where a stream of lines has come to.
struct Lines {
    backend: Arc<dyn Backend>,
    query: RecordQuery,
    page: Option<StoredPage>,
    /// Held until the stream ends.
    _permit: OwnedSemaphorePermit,
}

/// All that match, page by page, so that memory stays flat however many they
/// are. A failure in the middle cuts the body off: what is missing shows.
fn lines(
    backend: Arc<dyn Backend>,
    query: RecordQuery,
    first: StoredPage,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, BackendError>> {
    let start = Lines {
        backend,
        query,
        page: Some(first),
        _permit: permit,
    };
    stream::try_unfold(start, async |mut at| {
        let Some(page) = at.page.take() else {
            return Ok(None);
        };
        if page.records.is_empty() {
            return Ok(None);
        }
        let mut text = Vec::with_capacity(page.records.len() * 512);
        for record in page.records {
            // A record is plain data, which always has a JSON form.
            if serde_json::to_writer(&mut text, &RecordBody::from(record)).is_ok() {
                text.push(b'\n');
            }
        }
        if page.next.is_some() {
            at.query.after = page.next;
            at.page = Some(at.backend.records(&at.query).await?);
        }
        Ok(Some((Bytes::from(text), at)))
    })
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
    query.connection = name;
    query.object_type = object_type;
    let missing = || ApiError::NotFound {
        what: Missing::Record,
        name: id.chars().take(64).collect(),
    };
    query.ids = Some(vec![id.parse().map_err(|_error| missing())?]);
    query.limit = 1;
    query.archived = Archived::Any;
    let found = api
        .backend
        .records(&query)
        .await?
        .records
        .into_iter()
        .next();
    found.map(|record| Json(record.into())).ok_or_else(missing)
}
