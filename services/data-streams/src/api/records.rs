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

use super::{
    Api, Backend, BackendError,
    body::{parameter, time, timestamp},
    error::{ApiError, Missing},
};

/// Records of one page at most, and of one step of a stream.
const MAX_LIMIT: usize = 1_000;
const DEFAULT_LIMIT: usize = 100;
/// Ids that one request may name.
const MAX_IDS: usize = 1_000;

/// Which records by their place in the recycle bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    /// Those that are not archived.
    No,
    /// Only those that are.
    Yes,
    /// Both.
    Any,
}

/// Which records are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordQuery {
    /// The connection.
    pub connection: String,
    /// Its database.
    pub destination: String,
    /// Object type.
    pub object_type: String,
    /// Only ids above it.
    pub after: Option<u64>,
    /// So many at most.
    pub limit: usize,
    /// Only these properties; all when `None`.
    pub properties: Option<Vec<String>>,
    /// Last-modified at or after it.
    pub updated_since: Option<Millis>,
    /// Last-modified before it.
    pub updated_before: Option<Millis>,
    /// Archived ones or not.
    pub archived: Archived,
    /// Only these ids.
    pub ids: Option<Vec<u64>>,
}

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

/// A place between two pages, so that a later form can be told apart.
fn token(id: u64) -> String {
    format!("k1{id:016x}")
}

fn parse_token(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("k1").filter(|it| it.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Reads the parameters of a records request.
fn query(pairs: Vec<(String, String)>) -> Result<RecordQuery, ApiError> {
    let mut query = RecordQuery {
        connection: String::new(),
        destination: String::new(),
        object_type: String::new(),
        after: None,
        limit: DEFAULT_LIMIT,
        properties: None,
        updated_since: None,
        updated_before: None,
        archived: Archived::No,
        ids: None,
    };
    let mut seen = Vec::new();
    for (name, value) in pairs {
        if seen.contains(&name) {
            return Err(parameter(&name, "is there twice"));
        }
        match name.as_str() {
            "limit" => query.limit = limit(&value, MAX_LIMIT)?,
            "after" => {
                let place = parse_token(&value).ok_or_else(|| {
                    parameter("after", "must be the paging.next.after of a page before")
                })?;
                query.after = Some(place);
            }
            "properties" => query.properties = Some(property_names(&value)?),
            "updated_since" => query.updated_since = Some(time("updated_since", &value)?),
            "updated_before" => query.updated_before = Some(time("updated_before", &value)?),
            "archived" => {
                query.archived = match value.as_str() {
                    "false" => Archived::No,
                    "true" => Archived::Yes,
                    "any" => Archived::Any,
                    _ => return Err(parameter("archived", "must be false, true or any")),
                }
            }
            "ids" => query.ids = Some(ids(&value)?),
            _ => {
                return Err(unknown_parameter(
                    &name,
                    "limit, after, properties, updated_since, updated_before, archived, ids",
                ));
            }
        }
        seen.push(name);
    }
    Ok(query)
}

pub(super) fn unknown_parameter(name: &str, known: &str) -> ApiError {
    let name: String = name.chars().take(64).collect();
    parameter(
        &name,
        format!("is not a parameter of this address; known are {known}"),
    )
}

pub(super) fn limit(value: &str, max: usize) -> Result<usize, ApiError> {
    value
        .parse()
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| parameter("limit", format!("must be a number from 1 to {max}")))
}

fn property_names(value: &str) -> Result<Vec<String>, ApiError> {
    let names: Vec<_> = value.split(',').map(|it| it.trim().to_owned()).collect();
    if names.len() > 2_000 || names.iter().any(|it| it.is_empty() || it.len() > 255) {
        return Err(parameter(
            "properties",
            "must be names of properties, comma-separated",
        ));
    }
    Ok(names)
}

fn ids(value: &str) -> Result<Vec<u64>, ApiError> {
    let wrong = || {
        parameter(
            "ids",
            format!("must be 1 to {MAX_IDS} object ids, comma-separated"),
        )
    };
    let mut ids = value
        .split(',')
        .map(|it| it.trim().parse::<u64>().map_err(|_error| wrong()))
        .collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > MAX_IDS {
        Err(wrong())
    } else {
        Ok(ids)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(name: &str, value: &str) -> String {
        match query(vec![(name.to_owned(), value.to_owned())]).unwrap_err() {
            ApiError::InvalidParameter(invalid) => invalid.field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_bad_parameter_is_refused_by_its_name() {
        for (name, value) in [
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "-1"),
            ("limit", "ten"),
            ("after", "1001"),
            ("after", "k1"),
            ("after", "k100000000000003eZ"),
            ("properties", ""),
            ("properties", "a,,b"),
            ("updated_since", "2026-01-01"),
            ("updated_before", "now"),
            ("archived", "yes"),
            ("ids", ""),
            ("ids", "1,x"),
            ("ids", "-1"),
            ("offset", "1"),
        ] {
            assert_eq!(refused(name, value), name, "{value}");
        }
    }

    #[test]
    fn parameters_are_read() {
        let pairs = [
            ("limit", "1000"),
            ("properties", "email, firstname"),
            ("archived", "any"),
            ("ids", "3,1,3"),
            ("updated_since", "1970-01-01T00:00:01Z"),
        ];
        let read = query(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()).unwrap();
        assert_eq!(read.limit, 1_000);
        assert_eq!(read.properties.unwrap(), ["email", "firstname"]);
        assert_eq!(read.archived, Archived::Any);
        assert_eq!(read.ids.unwrap(), [1, 3]);
        assert_eq!(read.updated_since, Some(1_000));
    }

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(id in any::<u64>()) {
            prop_assert_eq!(parse_token(&token(id)), Some(id));
        }

        #[test]
        fn no_text_makes_the_token_reader_panic(text in ".{0,30}") {
            prop_assert!(parse_token(&text).is_none_or(|id| token(id) == text));
        }
    }
}
