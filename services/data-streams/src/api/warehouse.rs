//! The warehouse as a whole: refilling it from the log.
//!
//! It must not know how it is refilled.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    body::{self, RawBody, timestamp},
    error::{ApiError, Missing},
};
use crate::ingest::{RebuildPhase, RebuildState};

/// How far a rebuild is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RebuildBody {
    /// Its id.
    id: String,
    /// `reading`, `exchanging`, `done` or `failed`.
    #[schema(value_type = String)]
    state: RebuildPhase,
    /// Messages of the log read so far.
    records: u64,
    /// Offsets to pass, those of transactions' marks and of compacted messages
    /// among them: `records` stays below it. `state` says when it is done.
    expected: u64,
    /// When it began.
    started_at: String,
    /// When it ended.
    ended_at: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// Where to look for how far it is.
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
        }
    }
}

/// Refills ClickHouse from the log, with no request to HubSpot.
#[utoipa::path(
    post,
    path = "/v1/warehouse/rebuild",
    tag = "warehouse",
    responses(
        (status = 202, description = "Begun, or under way already", body = RebuildBody),
        (status = 400, description = "Not JSON", body = super::error::Problem),
        (status = 422, description = "A body with fields", body = super::error::Problem),
        (status = 503, description = "ClickHouse does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn rebuild(State(api): State<Api>, body: RawBody) -> Result<Response, ApiError> {
    body::nothing(&body)?;
    let state = RebuildBody::from(api.backend.start_rebuild().await?);
    let location = [(header::LOCATION, state.status.clone())];
    Ok((StatusCode::ACCEPTED, location, Json(state)).into_response())
}

/// Shows how far the last rebuild of this instance is.
#[utoipa::path(
    get,
    path = "/v1/warehouse/rebuild",
    tag = "warehouse",
    responses(
        (status = 200, description = "The last one", body = RebuildBody),
        (status = 404, description = "There was none", body = super::error::Problem),
    )
)]
pub(super) async fn last(State(api): State<Api>) -> Result<Json<RebuildBody>, ApiError> {
    find(&api, "since this instance started", |_| true)
}

/// Shows how far a rebuild of this instance is.
#[utoipa::path(
    get,
    path = "/v1/warehouse/rebuild/{id}",
    tag = "warehouse",
    params(("id" = String, Path, description = "Id of the rebuild")),
    responses(
        (status = 200, description = "The rebuild", body = RebuildBody),
        (status = 404, description = "There is none of that id", body = super::error::Problem),
    )
)]
pub(super) async fn status(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<RebuildBody>, ApiError> {
    find(&api, &id, |state| state.id == id)
}

fn find(
    api: &Api,
    name: &str,
    matches: impl FnOnce(&RebuildState) -> bool,
) -> Result<Json<RebuildBody>, ApiError> {
    let found = api.backend.rebuild().filter(matches);
    found
        .map(|state| Json(state.into()))
        .ok_or_else(|| ApiError::NotFound {
            what: Missing::Rebuild,
            name: name.chars().take(64).collect(),
        })
}
