//! The route of a record's versions: what changed in each, and where it came from.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{OriginalUri, Path, Query, State},
    http::header,
    response::{AppendHeaders, IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    super::{
        Api,
        body::{refuse_all, timestamp},
        error::{ApiError, Missing, Problem},
    },
    DEFAULT_LIMIT, MAX_LIMIT, NextBody, PagingBody, RecordPath, destination, limit,
    query::next_link,
    unknown_parameter,
};
use crate::{
    control::Invalid,
    records::{HistoryQuery, StoredVersion},
};

/// The versions of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct HistoryBody {
    /// Newest first; the first one of the first page is the current one.
    results: Vec<VersionBody>,
    /// Missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<PagingBody>,
}

/// A version of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VersionBody {
    /// When HubSpot created the object.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it had last been modified in HubSpot.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When the worker fetched it.
    #[schema(format = DateTime)]
    synced_at: String,
    /// Whether it was in HubSpot's recycle bin.
    archived: bool,
    /// Whether it was erased, merged into another one, or gone from HubSpot.
    deleted: bool,
    /// The object that it was merged into.
    merged_into: Option<String>,
    /// By property, what changed against the version before. The first version has all
    /// properties that were set.
    #[schema(value_type = BTreeMap<String, PropertyChangeBody>)]
    changed: BTreeMap<String, Change>,
    /// Name of the connection that fetched it.
    connection: String,
    /// The run that fetched it, as in `_run_id` of the rows.
    #[schema(format = "uuid")]
    run_id: String,
    /// Why that run was made, such as incremental.
    #[schema(example = "incremental")]
    reason: String,
    /// Topic in Kafka.
    topic: String,
    /// Partition of the topic.
    #[schema(minimum = 0)]
    partition: i32,
    /// Offset in the partition.
    #[schema(minimum = 0)]
    offset: i64,
}

/// The value of a property before and after a change, as JSON of its type; null where
/// it was not set.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the answer")]
pub(in crate::api) struct PropertyChangeBody {
    /// Before.
    #[schema(value_type = serde_json::Value)]
    from: Option<String>,
    /// After.
    #[schema(value_type = serde_json::Value)]
    to: Option<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    from: Option<Box<RawValue>>,
    to: Option<Box<RawValue>>,
}

/// Lists the versions of a record.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/records/{object_type}/{id}/history",
    operation_id = "list_record_versions",
    tag = "records",
    params(
        RecordPath,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Versions of a page; 100 when left out, at most 1,000"),
        ("after" = Option<String>, Query, pattern = "^v1[0-9a-f]{32}$", description = "paging.next.after of the page before"),
    ),
    responses(
        (
            status = 200,
            description = "Every version received, newest first",
            body = HistoryBody,
            headers(("Link" = String, description = "The next page, as rel=\"next\"; left out on the last one")),
        ),
        (status = 400, description = "A parameter is unknown or not allowed", body = Problem),
        (status = 404, description = "There is no such connection, stream or record", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    Path(path): Path<RecordPath>,
    Query(pairs): Query<Vec<(String, String)>>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, ApiError> {
    let (limit, before) = parameters(pairs)?;
    let not_found = || ApiError::not_found(Missing::Record, &path.id);
    let query = HistoryQuery {
        destination: destination(&api, &path.name, &path.object_type)?,
        id: path.id.parse().map_err(|_error| not_found())?,
        object_type: path.object_type.clone(),
        limit,
        before,
    };
    let page = api.backend.history(&query).await?;
    if page.versions.is_empty() && before.is_none() {
        return Err(not_found());
    }
    let next = page.earlier.as_ref().and(page.versions.last());
    let next = next.map(|it| token(it.version));
    let link = next.as_ref().map(|after| next_link(&uri, after));
    let link = AppendHeaders(link.map(|it| (header::LINK, it)));
    let body = HistoryBody {
        results: bodies(query.id, &page.versions, page.earlier.as_ref())?,
        paging: next.map(|after| PagingBody {
            next: NextBody { after },
        }),
    };
    Ok((link, Json(body)).into_response())
}

/// The token of the page after a version. `v1` is its version.
fn token(version: u128) -> String {
    format!("v1{version:032x}")
}

/// Whether a text is so many digits: a parser of numbers also takes a sign.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|it| it.is_ascii_hexdigit())
}

fn parameters(pairs: Vec<(String, String)>) -> Result<(usize, Option<u128>), ApiError> {
    let (mut max, mut before) = (DEFAULT_LIMIT, None);
    let mut wrong = Vec::new();
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => match limit(&value, MAX_LIMIT) {
                Ok(limit) => max = limit,
                Err(invalid) => wrong.push(invalid),
            },
            "after" => {
                let digits = value.strip_prefix("v1").filter(|it| is_hex(it, 32));
                before = digits.and_then(|it| u128::from_str_radix(it, 16).ok());
                if before.is_none() {
                    let what = "must be the paging.next.after of an earlier page";
                    wrong.push(Invalid::new("after", what));
                }
            }
            _ => wrong.push(unknown_parameter(&name, "limit, after")),
        }
    }
    refuse_all(wrong, ApiError::InvalidParameter)?;
    Ok((max, before))
}

type Properties = BTreeMap<String, Box<RawValue>>;

fn bodies(
    id: u64,
    versions: &[StoredVersion],
    earlier: Option<&StoredVersion>,
) -> Result<Vec<VersionBody>, ApiError> {
    let mut properties = versions
        .iter()
        .chain(earlier)
        .map(|it| properties(id, it))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter();
    let Some(mut current) = properties.next() else {
        return Ok(Vec::new());
    };
    let mut bodies = Vec::with_capacity(versions.len());
    for version in versions {
        let before = properties.next().unwrap_or_default();
        bodies.push(body(version, changes(&before, current)));
        current = before;
    }
    Ok(bodies)
}

fn properties(id: u64, version: &StoredVersion) -> Result<Properties, ApiError> {
    serde_json::from_str(&version.properties).map_err(|error| {
        tracing::error!(id, %error, "the properties of a version are not a JSON object");
        ApiError::Internal
    })
}

/// What differs between two versions.
fn changes(before: &Properties, after: Properties) -> BTreeMap<String, Change> {
    let removed = before
        .iter()
        .filter(|(name, _)| !after.contains_key(*name))
        .map(|(name, from)| {
            let from = Some(from.clone());
            (name.clone(), Change { from, to: None })
        });
    let mut changes: BTreeMap<_, _> = removed.collect();
    for (name, to) in after {
        let from = before.get(&name);
        if from.is_none_or(|from| from.get() != to.get()) {
            let from = from.cloned();
            changes.insert(name, Change { from, to: Some(to) });
        }
    }
    changes
}

fn body(version: &StoredVersion, changed: BTreeMap<String, Change>) -> VersionBody {
    VersionBody {
        created_at: timestamp(version.created_at),
        updated_at: timestamp(version.updated_at),
        synced_at: timestamp(version.synced_at),
        archived: version.archived,
        deleted: version.deleted,
        merged_into: version.merged_into.map(|it| it.to_string()),
        changed,
        connection: version.connection.clone(),
        run_id: version.run_id.clone(),
        reason: version.reason.clone(),
        topic: version.topic.clone(),
        partition: version.partition,
        offset: version.offset,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(version: u128, properties: &str) -> StoredVersion {
        StoredVersion {
            version,
            created_at: 0,
            updated_at: 0,
            synced_at: 0,
            archived: false,
            deleted: false,
            merged_into: None,
            connection: String::new(),
            run_id: String::new(),
            reason: String::new(),
            topic: String::new(),
            partition: 0,
            offset: 0,
            properties: properties.to_owned(),
        }
    }

    #[test]
    fn a_version_has_what_changed_against_the_one_before() {
        let versions = [
            version(3, r#"{"b":2.5,"c":"x"}"#),
            version(2, r#"{"a":1,"b":2.50}"#),
        ];
        let earlier = version(1, r#"{"a":1}"#);
        let of = |earlier| {
            let bodies = bodies(1, &versions, earlier).unwrap();
            let changed = bodies.into_iter().map(|it| it.changed);
            serde_json::to_value(changed.collect::<Vec<_>>()).unwrap()
        };
        let newest = json!({
            "a": {"from": 1, "to": null},
            "b": {"from": 2.50, "to": 2.5},
            "c": {"from": null, "to": "x"},
        });
        let b = json!({"from": null, "to": 2.50});
        assert_eq!(of(Some(&earlier)), json!([newest, { "b": b }]));
        let a = json!({"from": null, "to": 1});
        assert_eq!(of(None), json!([newest, { "a": a, "b": b }]));
        assert!(bodies(1, &[version(1, "[]")], None).is_err());
    }

    #[test]
    fn the_token_of_a_page_is_read_as_it_was_written() {
        let pairs = |after: &str| vec![("after".to_owned(), after.to_owned())];
        let read = parameters(pairs(&token(u128::MAX))).unwrap();
        assert_eq!(read, (DEFAULT_LIMIT, Some(u128::MAX)));
        for wrong in ["", "v1", "v1+0000000000000000000000000000001", "k1"] {
            assert!(parameters(pairs(wrong)).is_err(), "{wrong}");
        }
        let limit = |it: &str| parameters(vec![("limit".to_owned(), it.to_owned())]);
        assert!(limit("0").is_err() && limit("1000").is_ok());
    }
}
