//! The routes of stored records: a page, one record, or a stream of all that
//! match.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::{HeaderMap, header, request::Parts},
    response::{AppendHeaders, IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

pub(super) mod associations;
mod export;
pub(super) mod history;
mod query;

pub(super) use query::{DEFAULT_LIMIT, MAX_LIMIT, limit, refused_parameter, unknown_parameter};
use query::{next_link, query, token};

use super::{
    Api,
    access::Client,
    body::timestamp,
    error::{ApiError, Missing, Problem},
    words::Flag,
};
use crate::records::{FlagFilter, RecordPage, RecordQuery, StoredRecord};

/// A record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordBody {
    /// HubSpot's id of the object, as a string.
    #[schema(example = "1001")]
    id: String,
    /// When HubSpot created it.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last modified in HubSpot.
    #[schema(format = DateTime)]
    updated_at: String,
    /// Whether it is in HubSpot's recycle bin.
    archived: bool,
    /// Whether it was erased, merged into another one, or is gone from HubSpot. It then
    /// has no properties.
    deleted: bool,
    /// The properties that are set, each as JSON of its type.
    #[schema(value_type = Object)]
    properties: Box<RawValue>,
}

impl TryFrom<StoredRecord> for RecordBody {
    type Error = ApiError;

    fn try_from(record: StoredRecord) -> Result<Self, ApiError> {
        let id = record.id;
        let properties = RawValue::from_string(record.properties).map_err(|error| {
            tracing::error!(id, %error, "the properties of a record are not JSON");
            ApiError::Internal
        })?;
        Ok(Self {
            id: record.id.to_string(),
            created_at: timestamp(record.created_at),
            updated_at: timestamp(record.updated_at),
            archived: record.archived,
            deleted: record.deleted,
            properties,
        })
    }
}

/// A page of records.
// `write_page` writes it without this type: the properties are JSON already, and
// are not parsed again.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the answer")]
pub(super) struct RecordsBody {
    /// Records by ascending id.
    results: Vec<RecordBody>,
    /// Missing on the last page.
    paging: Option<PagingBody>,
}

/// Links to other pages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PagingBody {
    /// The next page.
    next: NextBody,
}

/// The next page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NextBody {
    /// Value for the parameter `after`; opaque.
    after: String,
}

/// Parameters of a path that names the records of a stream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct StreamPath {
    /// Name of the connection.
    #[param(pattern = "^[a-z][a-z0-9_]{0,49}$")]
    name: String,
    /// Object type, such as contacts; or two, such as contacts>companies, for associations.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(>[A-Za-z0-9][A-Za-z0-9_-]{0,63})?$")]
    object_type: String,
}

/// Parameters of a path that names a record.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct RecordPath {
    /// Name of the connection.
    #[param(pattern = "^[a-z][a-z0-9_]{0,49}$")]
    name: String,
    /// Object type, such as contacts; or two, such as contacts>companies, for associations.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(>[A-Za-z0-9][A-Za-z0-9_-]{0,63})?$")]
    object_type: String,
    /// HubSpot's id of the object.
    #[param(pattern = "^[0-9]{1,19}$")]
    id: String,
}

/// The content type of CSV with a line of names.
pub(super) const CSV: &str = "text/csv; charset=utf-8; header=present";

/// Whether the caller asks for this kind of answer.
pub(super) fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    accept.is_some_and(|it| it.contains(kind))
}

/// The database of a connection, if it has the stream.
fn destination(api: &Api, name: &str, object_type: &str) -> Result<String, ApiError> {
    api.control.read(|connections| {
        let connection = connections.get_live(name);
        let desired = connection
            .ok_or_else(|| ApiError::not_found(Missing::Connection, name))?
            .desired;
        if desired.streams.iter().any(|it| it == object_type) {
            Ok(desired.destination.clone())
        } else {
            Err(ApiError::not_found(Missing::Stream, object_type))
        }
    })?
}

/// Lists stored records.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/records/{object_type}",
    operation_id = "list_records",
    tag = "records",
    params(
        StreamPath,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Records of a page; 100 when left out, at most 1,000"),
        ("after" = Option<String>, Query, pattern = "^k1[0-9a-f]{16}$", description = "paging.next.after of the page before"),
        ("properties" = Option<String>, Query, pattern = r"^\s*[^,\s][^,]*(,\s*[^,\s][^,]*)*$", description = "Names, comma-separated; all when left out"),
        ("updated_since" = Option<String>, Query, format = DateTime, description = "Only records last modified at or after this time"),
        ("updated_before" = Option<String>, Query, format = DateTime, description = "Only records last modified before this time"),
        ("synced_since" = Option<String>, Query, format = DateTime, description = "Only records fetched at or after this time, so that none that was found late is missed"),
        ("archived" = inline(Option<Flag>), Query, description = "false (when left out), true (only archived ones) or any"),
        ("deleted" = inline(Option<Flag>), Query, description = "false (when left out), true (only deleted ones) or any"),
        ("ids" = Option<String>, Query, pattern = "^[0-9]{1,19}(,[0-9]{1,19}){0,999}$", description = "Only these ids, comma-separated; at most 1,000"),
    ),
    responses(
        (
            status = 200,
            description = "A page; with Accept: application/x-ndjson or text/csv all matching records, one a line",
            content(
                (RecordsBody = "application/json"),
                (RecordBody = "application/x-ndjson"),
                (String = "text/csv"),
            ),
            headers(("Link" = String, description = "The next page, as rel=\"next\"; left out on the last one")),
        ),
        (status = 400, description = "A parameter is unknown or not allowed", body = Problem),
        (status = 404, description = "There is no such connection or stream", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Path(path): Path<StreamPath>,
    Query(pairs): Query<Vec<(String, String)>>,
    Extension(client): Extension<Client>,
    request: Parts,
) -> Result<Response, ApiError> {
    let mut query = query(pairs)?;
    query.destination = destination(&api, &path.name, &path.object_type)?;
    query.object_type = path.object_type;
    if accepts(&request.headers, "application/x-ndjson") {
        return export::as_lines(&api, client, query).await;
    }
    if accepts(&request.headers, "text/csv") {
        return export::as_csv(&api, client, query).await;
    }
    let page = api.backend.records(&query).await?;
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    let link = page.next.map(|next| next_link(&request.uri, &token(next)));
    let link = AppendHeaders(link.map(|it| (header::LINK, it)));
    Ok((content_type, link, write_page(&page)).into_response())
}

/// A page as JSON.
fn write_page(page: &RecordPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(size_hint(&page.records) + 64);
    out.extend_from_slice(b"{\"results\":[");
    for (index, record) in page.records.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_record(&mut out, record);
    }
    out.push(b']');
    if let Some(next) = page.next {
        // A token has no characters to escape.
        for part in [",\"paging\":{\"next\":{\"after\":\"", &token(next), "\"}}"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.push(b'}');
    out
}

/// Approximate size of these records as JSON, in bytes.
fn size_hint(records: &[StoredRecord]) -> usize {
    records.iter().map(|it| it.properties.len() + 160).sum()
}

/// Writes a record as [`RecordBody`] would, without parsing its properties.
fn write_record(out: &mut Vec<u8>, record: &StoredRecord) {
    let times = [record.created_at, record.updated_at].map(timestamp);
    let id = record.id.to_string();
    let [archived, deleted] =
        [record.archived, record.deleted].map(|it| if it { "true" } else { "false" });
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
        ",\"deleted\":",
        deleted,
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
    operation_id = "get_record",
    tag = "records",
    params(
        RecordPath,
        ("properties" = Option<String>, Query, pattern = r"^\s*[^,\s][^,]*(,\s*[^,\s][^,]*)*$", description = "Names, comma-separated; all when left out"),
    ),
    responses(
        (status = 200, description = "The record, archived or not", body = RecordBody),
        (status = 400, description = "A parameter is unknown or not allowed", body = Problem),
        (status = 404, description = "There is no such connection, stream or record", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn one(
    State(api): State<Api>,
    Path(path): Path<RecordPath>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<RecordBody>, ApiError> {
    if let Some((other, _)) = pairs.iter().find(|(name, _)| name != "properties") {
        return Err(refused_parameter(unknown_parameter(other, "properties")));
    }
    let properties = query(pairs)?.properties;
    let (stream, id) = (&path.object_type, &path.id);
    let record = stored(&api, &path.name, stream, id, properties).await?;
    Ok(Json(RecordBody::try_from(record)?))
}

/// One record of a stream, archived or not, with these properties; `None` for all.
async fn stored(
    api: &Api,
    connection: &str,
    stream: &str,
    id: &str,
    properties: Option<Vec<String>>,
) -> Result<StoredRecord, ApiError> {
    let not_found = || ApiError::not_found(Missing::Record, id);
    let query = RecordQuery {
        destination: destination(api, connection, stream)?,
        object_type: stream.to_owned(),
        limit: 1,
        ids: Some(vec![id.parse().map_err(|_error| not_found())?]),
        archived: FlagFilter::Include,
        properties,
        ..RecordQuery::default()
    };
    let found = api.backend.records(&query).await?.records;
    found.into_iter().next().ok_or_else(not_found)
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
            deleted: id.is_multiple_of(3),
            properties: r#"{"age":5,"name":"a\"b"}"#.to_owned(),
        }
    }

    #[test]
    fn a_written_page_equals_its_serialized_bodies() {
        for (ids, next) in [(vec![], None), (vec![1], None), (vec![1, 2], Some(2))] {
            let page = RecordPage {
                records: ids.iter().copied().map(record).collect(),
                next,
            };
            let written: serde_json::Value = serde_json::from_slice(&write_page(&page)).unwrap();
            let bodies: Vec<_> = ids
                .into_iter()
                .map(|id| RecordBody::try_from(record(id)).unwrap())
                .collect();
            let mut expected = json!({ "results": bodies });
            if let Some(next) = next {
                expected["paging"] = json!({ "next": { "after": token(next) } });
            }
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn properties_that_are_not_json_are_an_error_and_not_null() {
        let broken = StoredRecord {
            properties: "{\"age\":".to_owned(),
            ..record(1)
        };
        let error = RecordBody::try_from(broken).unwrap_err();
        assert!(matches!(error, ApiError::Internal), "{error}");
    }
}
