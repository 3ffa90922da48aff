//! Connections: settings, start, stop, sync, and what is observed of them.
//!
//! It must not know how a command travels.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::{Command, DesiredState, Problem, RequestKind, StreamStatus};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api,
    body::{self, RawBody, timestamp},
    error::{ApiError, Missing},
};
use crate::control::{Accepted, Change, Connection, Outcome, settings};

/// A connection: what is desired and what is observed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionBody {
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// What is desired: `running` or `stopped`.
    #[schema(example = "running")]
    state: &'static str,
    /// Id of the command that says so.
    command_id: String,
    /// A reference to the credential.
    #[schema(example = "env:HUBSPOT_ACCESS_TOKEN")]
    credential: String,
    /// Time from one start to the next.
    #[schema(example = "5m")]
    interval: String,
    /// The ClickHouse database to query.
    #[schema(example = "hubspot")]
    destination: String,
    /// What the worker says of it; null before it has said anything.
    observed: Option<ObservedBody>,
    /// Its streams, in the order of its settings.
    streams: Vec<StreamBody>,
}

/// What the worker says of a connection.
#[derive(Debug, Serialize, ToSchema)]
struct ObservedBody {
    /// `starting`, `running`, `stopping`, `stopped`, `failed` or `deleted`.
    state: String,
    /// The command obeyed.
    obeyed: Option<String>,
    /// HubSpot's id of the account.
    portal_id: Option<String>,
    /// The process that says so.
    worker: String,
    /// When it said so.
    at: String,
    /// Why it does not run.
    error: Option<ErrorBody>,
}

/// What went wrong, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorBody {
    /// Stable, `snake_case`.
    code: String,
    /// What went wrong and where.
    message: String,
    /// What can be done.
    advice: String,
    /// When.
    at: String,
}

impl From<&Problem> for ErrorBody {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.clone(),
            message: problem.message.clone(),
            advice: problem.advice.clone(),
            at: timestamp(problem.at),
        }
    }
}

/// One object type of a connection.
#[derive(Debug, Serialize, ToSchema)]
struct StreamBody {
    /// Object type.
    #[schema(example = "contacts")]
    name: String,
    /// `backfill`, `incremental`, `idle`, `waiting`, `stopped`, `skipped` or
    /// `failed`.
    phase: String,
    /// The run under way, or the last one.
    run_id: Option<String>,
    /// Why that run was made.
    reason: Option<String>,
    /// How that run ended; null while it goes on.
    outcome: Option<String>,
    /// The request that this run carries out.
    request_id: Option<String>,
    /// The request last carried out.
    request_done: Option<String>,
    /// The request that is asked for and not carried out yet.
    pending_request: Option<RequestBody>,
    /// Records written in this run.
    records_in_run: i64,
    /// Records written in all runs.
    records_total: i64,
    /// How many records the portal says it has.
    expected_total: Option<i64>,
    /// Every change before it is in Kafka.
    cursor: Option<String>,
    /// When the last run that succeeded ended.
    last_success: Option<String>,
    /// When the next run is due.
    next_run: Option<String>,
    /// When the worker said so.
    at: Option<String>,
    /// Why it waits, was skipped or failed.
    error: Option<ErrorBody>,
}

/// A run asked for once.
#[derive(Debug, Serialize, ToSchema)]
struct RequestBody {
    /// Object type.
    stream: String,
    /// Its id, which the run carries.
    request_id: String,
    /// `sync` or `resync`.
    kind: &'static str,
    /// When it was asked for.
    requested_at: String,
}

impl From<&schemas::Request> for RequestBody {
    fn from(request: &schemas::Request) -> Self {
        Self {
            stream: request.stream.clone(),
            request_id: request.request_id.clone(),
            kind: match request.kind {
                RequestKind::Sync => "sync",
                RequestKind::Resync => "resync",
            },
            requested_at: timestamp(request.requested_at),
        }
    }
}

/// All connections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionsBody {
    /// By name.
    connections: Vec<ConnectionBody>,
}

/// What became of a command that waits for the worker.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingBody {
    /// Id of the command.
    command_id: String,
    /// Where to look for what became of it: `observed.obeyed`.
    status: String,
}

/// A sync that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncBody {
    /// Id of the request, which the runs carry. Where a stream has an
    /// unfinished request, that one's id is in `requests`.
    request_id: String,
    /// One for each stream asked for.
    requests: Vec<RequestBody>,
    /// Where to look for what became of it.
    status: String,
}

/// Settings of a connection; every field optional.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsBody {
    /// A reference, `env:HUBSPOT_NAME` or `file:NAME`.
    #[schema(
        example = "env:HUBSPOT_ACCESS_TOKEN",
        default = "env:HUBSPOT_ACCESS_TOKEN"
    )]
    credential: Option<String>,
    /// Object types.
    #[schema(example = json!(["contacts", "companies"]))]
    streams: Option<Vec<String>>,
    /// From 10s to 31d.
    #[schema(example = "5m", default = "5m")]
    interval: Option<String>,
    /// The ClickHouse database to query.
    #[schema(example = "hubspot")]
    destination: Option<String>,
}

/// What to sync; every field optional.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncRequestBody {
    /// All streams when left out.
    #[schema(example = json!(["contacts"]))]
    streams: Option<Vec<String>>,
    /// `sync`, or `resync` for a full pass.
    #[schema(example = "sync", default = "sync")]
    kind: Option<String>,
    /// True for a full pass.
    full: Option<bool>,
}

fn connection_body(name: &str, connection: &Connection, command: &Command) -> ConnectionBody {
    let observed = connection.whole.as_ref().map(|(at, whole)| ObservedBody {
        state: whole.state.clone(),
        obeyed: whole.obeyed.clone(),
        portal_id: whole.portal_id.map(|id| id.to_string()),
        worker: whole.worker.clone(),
        at: timestamp(*at),
        error: whole.error.as_ref().map(ErrorBody::from),
    });
    ConnectionBody {
        name: name.to_owned(),
        state: match command.state {
            DesiredState::Running => "running",
            DesiredState::Stopped => "stopped",
            DesiredState::Deleted => "deleted",
        },
        command_id: command.command_id.clone(),
        credential: command.credential.clone(),
        interval: settings::format_interval(command.interval_ms),
        destination: command.destination.clone(),
        observed,
        streams: command
            .streams
            .iter()
            .map(|stream| stream_body(stream, connection, command))
            .collect(),
    }
}

fn stream_body(name: &str, connection: &Connection, command: &Command) -> StreamBody {
    // Before the worker has said anything, the desired state tells what to
    // expect.
    let unheard = StreamStatus {
        phase: match command.state {
            DesiredState::Running => "waiting".to_owned(),
            DesiredState::Stopped | DesiredState::Deleted => "stopped".to_owned(),
        },
        ..StreamStatus::default()
    };
    let heard = connection.streams.get(name);
    let status = heard.map_or(&unheard, |(_, status)| status);
    let pending = command
        .requests
        .iter()
        .find(|request| request.stream == name && !connection.is_done(request));
    StreamBody {
        name: name.to_owned(),
        phase: status.phase.clone(),
        run_id: status.run_id.clone(),
        reason: status.reason.clone(),
        outcome: status.outcome.clone(),
        request_id: status.request_id.clone(),
        request_done: status.request_done.clone(),
        pending_request: pending.map(RequestBody::from),
        records_in_run: status.run_records,
        records_total: status.total_records,
        expected_total: status.expected_total,
        cursor: status.cursor.map(timestamp),
        last_success: status.last_success_at.map(timestamp),
        next_run: status.next_run_at.map(timestamp),
        at: heard.map(|(at, _)| timestamp(*at)),
        error: status.error.as_ref().map(ErrorBody::from),
    }
}

/// Lists the connections.
#[utoipa::path(
    get,
    path = "/v1/connections",
    tag = "connections",
    responses(
        (status = 200, description = "All connections", body = ConnectionsBody),
        (status = 503, description = "Their state is not known yet", body = super::error::Problem),
    )
)]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<ConnectionsBody>, ApiError> {
    let connections = api.control.read(|state| {
        state
            .living()
            .map(|(name, it, command)| connection_body(name, it, command))
            .collect()
    })?;
    Ok(Json(ConnectionsBody { connections }))
}

/// Shows one connection.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}",
    tag = "connections",
    params(("name" = String, Path, description = "Name of the connection")),
    responses(
        (status = 200, description = "The connection", body = ConnectionBody),
        (status = 404, description = "There is none", body = super::error::Problem),
        (status = 503, description = "Its state is not known yet", body = super::error::Problem),
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<ConnectionBody>, ApiError> {
    show(&api, &name).map(Json)
}

fn show(api: &Api, name: &str) -> Result<ConnectionBody, ApiError> {
    let found = api.control.read(|state| {
        let connection = state.get(name)?;
        Some(connection_body(name, connection, connection.desired()?))
    })?;
    found.ok_or_else(|| ApiError::NotFound {
        what: Missing::Connection,
        name: name.chars().take(64).collect(),
    })
}

fn answer(api: &Api, name: &str, accepted: &Accepted) -> Result<Response, ApiError> {
    let status = if accepted.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(show(api, name)?)).into_response())
}

/// Creates a connection or replaces its settings.
#[utoipa::path(
    put,
    path = "/v1/connections/{name}",
    tag = "connections",
    params(("name" = String, Path, description = "Name of the connection")),
    request_body = SettingsBody,
    responses(
        (status = 200, description = "Settings replaced", body = ConnectionBody),
        (status = 201, description = "Created, stopped", body = ConnectionBody),
        (status = 400, description = "Not JSON", body = super::error::Problem),
        (status = 409, description = "Destination or portal in use", body = super::error::Problem),
        (status = 422, description = "A field that cannot be", body = super::error::Problem),
        (status = 503, description = "Kafka does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<Response, ApiError> {
    settings::check_name(&name).map_err(ApiError::InvalidValue)?;
    let accepted = api
        .control
        .submit(&name, Change::Replace(body::settings(&body)?))
        .await?;
    answer(&api, &name, &accepted)
}

/// Starts fetching, now and then every interval.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/start",
    tag = "connections",
    params(("name" = String, Path, description = "Name of the connection; a new one is created")),
    request_body(content = Option<SettingsBody>, description = "Only the fields given change"),
    responses(
        (status = 200, description = "Accepted", body = ConnectionBody),
        (status = 201, description = "Created and started", body = ConnectionBody),
        (status = 400, description = "Not JSON", body = super::error::Problem),
        (status = 409, description = "Destination or portal in use", body = super::error::Problem),
        (status = 422, description = "A field that cannot be", body = super::error::Problem),
        (status = 503, description = "Kafka does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn start(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<Response, ApiError> {
    settings::check_name(&name).map_err(ApiError::InvalidValue)?;
    let accepted = api
        .control
        .submit(&name, Change::Start(body::settings(&body)?))
        .await?;
    answer(&api, &name, &accepted)
}

/// Stops fetching.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/stop",
    tag = "connections",
    params(("name" = String, Path, description = "Name of the connection")),
    responses(
        (status = 200, description = "The worker has acknowledged: no HubSpot call after this answer", body = ConnectionBody),
        (status = 202, description = "Accepted, not acknowledged yet", body = PendingBody),
        (status = 404, description = "There is no such connection", body = super::error::Problem),
        (status = 409, description = "A later command won", body = super::error::Problem),
        (status = 503, description = "Kafka does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn stop(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<Response, ApiError> {
    body::nothing(&body)?;
    let accepted = api.control.submit(&name, Change::Stop).await?;
    let id = accepted.command.command_id;
    match api
        .control
        .outcome(&name, &id, "stopped", api.stop_wait)
        .await
    {
        Outcome::Obeyed => Ok(Json(show(&api, &name)?).into_response()),
        Outcome::Superseded => Err(ApiError::Superseded),
        Outcome::Pending => Ok(pending(&name, id)),
    }
}

fn pending(name: &str, command_id: String) -> Response {
    let status = format!("/v1/connections/{name}");
    let location = HeaderValue::from_str(&status);
    let body = Json(PendingBody { command_id, status });
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Stops a connection and forgets it; stored data stays.
#[utoipa::path(
    delete,
    path = "/v1/connections/{name}",
    tag = "connections",
    params(("name" = String, Path, description = "Name of the connection")),
    responses(
        (status = 200, description = "Stopped and forgotten", body = PendingBody),
        (status = 202, description = "Accepted, not acknowledged yet", body = PendingBody),
        (status = 404, description = "There is no such connection", body = super::error::Problem),
        (status = 409, description = "A later command won", body = super::error::Problem),
        (status = 503, description = "Kafka does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let accepted = api.control.submit(&name, Change::Delete).await?;
    let id = accepted.command.command_id;
    // Whoever deletes wants it gone, not to watch it go.
    let wait = api.stop_wait.min(Duration::from_secs(3));
    match api.control.outcome(&name, &id, "deleted", wait).await {
        Outcome::Obeyed => {
            let status = format!("/v1/connections/{name}");
            Ok(Json(PendingBody {
                command_id: id,
                status,
            })
            .into_response())
        }
        Outcome::Superseded => Err(ApiError::Superseded),
        Outcome::Pending => Ok(pending(&name, id)),
    }
}

/// Asks for one run now.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/sync",
    tag = "connections",
    params(("name" = String, Path, description = "Name of the connection")),
    request_body(content = Option<SyncRequestBody>),
    responses(
        (status = 202, description = "Accepted", body = SyncBody),
        (status = 400, description = "Not JSON", body = super::error::Problem),
        (status = 404, description = "There is no such connection", body = super::error::Problem),
        (status = 422, description = "A field that cannot be", body = super::error::Problem),
        (status = 503, description = "Kafka does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn sync(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<Response, ApiError> {
    let (streams, kind) = body::sync(&body)?;
    let request_id = Uuid::now_v7().to_string();
    let at = api.now_ms();
    let change = Change::Sync {
        streams: streams.clone(),
        kind,
        request_id,
        at,
    };
    let command = api.control.submit(&name, change).await?.command;
    let wanted = streams.unwrap_or_else(|| command.streams.clone());
    let requests: Vec<_> = command
        .requests
        .iter()
        .filter(|request| wanted.contains(&request.stream))
        .map(RequestBody::from)
        .collect();
    // The newest one, should some of the streams have had an unfinished one.
    let request_id = requests
        .iter()
        .map(|it| it.request_id.clone())
        .max()
        .unwrap_or_default();
    let body = SyncBody {
        request_id,
        requests,
        status: format!("/v1/connections/{name}"),
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}
