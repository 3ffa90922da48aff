//! The routes of the warehouse: rebuilding it from the log.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    body::{self, RawBody, timestamp},
    error::{ApiError, Missing, Problem},
    words::RebuildProgress,
};
use crate::ingest::{RebuildPhase, RebuildState};

/// The progress of a rebuild.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RebuildBody {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// `reading`, `exchanging`, `done` or `failed`.
    #[schema(value_type = RebuildProgress)]
    state: RebuildPhase,
    /// Messages of the log read so far.
    records: u64,
    /// Offsets of the log to read. Compacted messages and transaction markers have
    /// offsets too, so `records` stays below it; `state` tells when it is done.
    expected: u64,
    /// When it started.
    #[schema(format = DateTime)]
    started_at: String,
    /// When it ended.
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// Whether tables may lose objects that the log no longer has.
    accept_loss: bool,
    /// Path of this rebuild.
    status: String,
}

impl From<RebuildState> for RebuildBody {
    fn from(state: RebuildState) -> Self {
        Self {
            status: format!("/v1/warehouse/rebuild/{}", state.id),
            id: state.id,
            state: state.phase,
            records: state.records,
            expected: state.expected,
            started_at: timestamp(state.started_at),
            ended_at: state.ended_at.map(timestamp),
            error: state.error,
            accept_loss: state.accepts_loss,
        }
    }
}

/// What a rebuild may do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the request")]
pub(super) struct RebuildRequestBody {
    /// Whether tables may lose objects that the log no longer has. By default a rebuild
    /// fails, and changes nothing, where a table would lose all of its objects, or more
    /// than 1,000 of them and 1%.
    #[schema(default = false)]
    accept_loss: Option<bool>,
}

/// Rebuilds the tables in ClickHouse from the log, without requests to HubSpot.
#[utoipa::path(
    post,
    path = "/v1/warehouse/rebuild",
    operation_id = "rebuild_warehouse",
    tag = "warehouse",
    request_body(content = RebuildRequestBody, description = "May be left out"),
    responses(
        (status = 202, description = "Started, or already running", body = RebuildBody),
        (status = 400, description = "The body is not a JSON object", body = Problem),
        (status = 422, description = "A field is wrong", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn rebuild(State(api): State<Api>, body: RawBody) -> Result<Response, ApiError> {
    let accepts_loss = body::accepts_loss(&body)?;
    let state = RebuildBody::from(api.backend.start_rebuild(accepts_loss).await?);
    let location = [(header::LOCATION, state.status.clone())];
    Ok((StatusCode::ACCEPTED, location, Json(state)).into_response())
}

/// Shows the last rebuild, by whichever instance.
#[utoipa::path(
    get,
    path = "/v1/warehouse/rebuild",
    operation_id = "get_last_rebuild",
    tag = "warehouse",
    responses(
        (status = 200, description = "The last rebuild", body = RebuildBody),
        (status = 404, description = "There was none", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn last(State(api): State<Api>) -> Result<Json<RebuildBody>, ApiError> {
    find(&api, "yet", |_| true).await
}

/// Shows a rebuild, by whichever instance; of the last 20.
#[utoipa::path(
    get,
    path = "/v1/warehouse/rebuild/{id}",
    operation_id = "get_rebuild",
    tag = "warehouse",
    params(("id" = String, Path, description = "Id of the rebuild")),
    responses(
        (status = 200, description = "The rebuild", body = RebuildBody),
        (status = 404, description = "There is no rebuild with this id", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn status(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<RebuildBody>, ApiError> {
    find(&api, &id, |state| state.id == id).await
}

async fn find(
    api: &Api,
    name: &str,
    matches: impl Fn(&RebuildState) -> bool,
) -> Result<Json<RebuildBody>, ApiError> {
    let rebuilds = api.backend.rebuilds().await?;
    let found = rebuilds.into_iter().find(|it| matches(it));
    found
        .map(|state| Json(state.into()))
        .ok_or_else(|| ApiError::not_found(Missing::Rebuild, name))
}
