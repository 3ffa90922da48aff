//! The routes of connections: settings, start, stop, sync, check, reconcile, delete, and what
//! is known of them.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::RequestKind;
use serde::Deserialize;
use utoipa::{IntoParams, IntoResponses};
use uuid::Uuid;

use super::{
    Api, WORKER_LIMIT,
    access::Client,
    body::{self, RawBody, SyncRequest},
    error::{ApiError, Missing, Problem},
    records::accepts,
    terms::Terms,
};
use crate::control::{
    CommandOutcome, ConnectionChange, ConnectionSettings, LiveConnection, Submission, settings,
};

pub(super) mod check;
pub(super) mod commands;
pub(super) mod delete;
mod events;
pub(super) mod observed;
pub(super) mod reconciliations;
mod requests;
pub(super) mod runs;
mod view;

use requests::{SettingsBody, SyncRequestBody};
use view::{ConnectionBody, ConnectionsBody, PendingBody, RequestBody, SyncBody, connection_body};

/// Parameters of a path that names a connection.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ConnectionPath {
    /// Name of the connection.
    #[param(pattern = "^[a-z][a-z0-9_]{0,49}$")]
    pub(super) name: String,
}

/// Failures of every route that writes a command.
#[derive(Debug, IntoResponses)]
#[expect(dead_code, reason = "describes the answers")]
enum CommandFailure {
    /// The path cannot be parsed, a parameter is unknown or not allowed, or the body is not a
    /// JSON object.
    #[response(status = 400)]
    NotParsed(Problem),
    /// Another connection uses the destination or the portal, the destination has
    /// another account's data or other tables, a later command replaced this one, or other clients keep changing the connection; `code`
    /// tells which.
    #[response(status = 409)]
    Conflict(Problem),
    /// The connection is not as `If-Match` or `If-None-Match` wants it.
    #[response(status = 412)]
    ConditionFailed(Problem),
    /// A name, field or value that is not allowed.
    #[response(status = 422)]
    NotAllowed(Problem),
    /// Kafka does not answer, or the service is starting.
    #[response(status = 503)]
    Unavailable(Problem),
}

/// Lists the connections.
///
/// With `Accept: text/event-stream` as server-sent events named `connections`: all of them
/// at once, and again after each change.
#[utoipa::path(
    get,
    path = "/v1/connections",
    operation_id = "list_connections",
    tag = "connections",
    responses(
        (
            status = 200,
            description = "All connections",
            content((ConnectionsBody = "application/json"), (String = "text/event-stream")),
        ),
        (status = 429, description = "Too many watch them", body = Problem),
        (status = 503, description = "The service is starting", body = Problem),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if accepts(&headers, "text/event-stream") {
        return events::watch(api, client);
    }
    Ok(Json(all(&api)?).into_response())
}

/// All connections.
fn all(api: &Api) -> Result<ConnectionsBody, ApiError> {
    let connections = api
        .control
        .read(|connections| connections.live().map(|it| body_of(api, it)).collect())?;
    Ok(ConnectionsBody { connections })
}

/// Shows a connection.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}",
    operation_id = "get_connection",
    tag = "connections",
    params(ConnectionPath),
    responses(
        (status = 200, description = "The connection", body = ConnectionBody),
        (status = 404, description = "There is no such connection", body = Problem),
        (status = 503, description = "The service is starting", body = Problem),
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
) -> Result<ConnectionBody, ApiError> {
    show(&api, &name)
}

/// Creates a connection, stopped, or replaces the settings of one.
///
/// Settings that are left out get their defaults.
#[utoipa::path(
    put,
    path = "/v1/connections/{name}",
    operation_id = "replace_connection",
    tag = "connections",
    params(ConnectionPath),
    request_body = SettingsBody,
    responses(
        (status = 200, description = "Settings replaced", body = ConnectionBody),
        (status = 201, description = "Created, stopped", body = ConnectionBody),
        (status = 404, description = "The request was carried out before, and the connection has been deleted since", body = Problem),
        CommandFailure,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    submit_settings(&api, &name, terms, &body, ConnectionChange::Replace).await
}

/// Changes the given settings of a connection.
///
/// Settings that are left out, and those that are null, stay as they are; so does
/// whether it runs.
#[utoipa::path(
    patch,
    path = "/v1/connections/{name}",
    operation_id = "update_connection",
    tag = "connections",
    params(ConnectionPath),
    request_body = SettingsBody,
    responses(
        (status = 200, description = "Settings changed", body = ConnectionBody),
        (status = 404, description = "There is no such connection", body = Problem),
        CommandFailure,
    )
)]
pub(super) async fn patch(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    submit_settings(&api, &name, terms, &body, ConnectionChange::Update).await
}

/// Starts fetching: now, then once every interval.
///
/// Creates the connection if there is none.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/start",
    operation_id = "start_connection",
    tag = "connections",
    params(ConnectionPath),
    request_body(content = SettingsBody, description = "Only the given settings change"),
    responses(
        (status = 200, description = "Accepted", body = ConnectionBody),
        (status = 201, description = "Created and started", body = ConnectionBody),
        (status = 404, description = "The request was carried out before, and the connection has been deleted since", body = Problem),
        CommandFailure,
    )
)]
pub(super) async fn start(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    submit_settings(&api, &name, terms, &body, ConnectionChange::Start).await
}

/// Stops fetching.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/stop",
    operation_id = "stop_connection",
    tag = "connections",
    params(ConnectionPath),
    responses(
        (status = 200, description = "Stopped: no HubSpot request starts after this answer", body = ConnectionBody),
        (status = 202, description = "Accepted; the worker has not confirmed it yet", body = PendingBody),
        (status = 404, description = "There is no such connection", body = Problem),
        CommandFailure,
    )
)]
pub(super) async fn stop(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    body::nothing(&body)?;
    let wait = api.stop_wait.min(WORKER_LIMIT);
    let stop = terms.submission(ConnectionChange::Stop);
    match submit_and_wait(&api, &name, stop, "stopped", wait).await? {
        Submitted::Applied(_) => Ok(show(&api, &name)?.into_response()),
        Submitted::Pending(body) => Ok(pending(body)),
    }
}

/// Requests one run now.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/sync",
    operation_id = "sync_connection",
    tag = "connections",
    params(ConnectionPath),
    request_body(content = SyncRequestBody),
    responses(
        (status = 202, description = "Accepted", body = SyncBody),
        (status = 404, description = "There is no such connection", body = Problem),
        CommandFailure,
    )
)]
pub(super) async fn sync(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    let SyncRequest { streams, kind } = body::sync(&body)?;
    let body = request(&api, &name, terms, streams, kind).await?;
    let location = format!("{}/runs?request_id={}", address(&name), body.request_id);
    let location = [(header::LOCATION, location)];
    Ok((StatusCode::ACCEPTED, location, Json(body)).into_response())
}

/// Requests one run of each of these streams, or of all.
async fn request(
    api: &Api,
    name: &str,
    terms: Terms,
    streams: Option<Vec<String>>,
    kind: RequestKind,
) -> Result<SyncBody, ApiError> {
    let change = ConnectionChange::Sync {
        streams: streams.clone(),
        kind,
        request_id: Uuid::now_v7().to_string(),
        at: api.now_ms(),
    };
    let submitted = api.control.submit(name, terms.submission(change));
    let accepted = submitted.await?;
    let command = accepted.command;
    let requested = streams.unwrap_or_else(|| command.streams.clone());
    let requests = command
        .requests
        .iter()
        .filter(|request| requested.contains(&request.stream))
        .map(RequestBody::from)
        .collect();
    Ok(SyncBody {
        request_id: accepted.request_id.unwrap_or_default(),
        requests,
        status: address(name),
    })
}

/// Submits the settings of a body, and answers with the connection.
async fn submit_settings(
    api: &Api,
    name: &str,
    terms: Terms,
    body: &[u8],
    change: fn(ConnectionSettings) -> ConnectionChange,
) -> Result<Response, ApiError> {
    // Of a wrong name and a wrong body, the name is reported.
    settings::check_name(name).map_err(|it| ApiError::InvalidValue(it.into()))?;
    let submission = terms.submission(change(body::settings(body)?));
    if !api.control.is_repeated(name, &submission)? {
        let (destination, portal_id) = api.control.destination_after(name, &submission)?;
        api.backend
            .check_destination(&destination, portal_id)
            .await?;
    }
    let accepted = api.control.submit(name, submission).await?;
    let status = if accepted.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, show(api, name)?).into_response())
}

/// A command that was submitted, and whether the worker has applied it.
enum Submitted {
    Applied(PendingBody),
    Pending(PendingBody),
}

/// Submits a change, and waits up to `wait` until the worker has reached `state`
/// by it.
async fn submit_and_wait(
    api: &Api,
    name: &str,
    submission: Submission,
    state: &str,
    wait: Duration,
) -> Result<Submitted, ApiError> {
    let accepted = api.control.submit(name, submission).await?;
    wait_for(api, name, accepted.command_id, state, wait).await
}

/// Waits up to `wait` until the worker has reached `state` by a command.
async fn wait_for(
    api: &Api,
    name: &str,
    command_id: String,
    state: &str,
    wait: Duration,
) -> Result<Submitted, ApiError> {
    let outcome = api.control.outcome(name, &command_id, state, wait).await;
    let body = PendingBody {
        command_id,
        status: address(name),
    };
    match outcome {
        CommandOutcome::Applied => Ok(Submitted::Applied(body)),
        CommandOutcome::Superseded => Err(ApiError::Superseded),
        CommandOutcome::Pending => Ok(Submitted::Pending(body)),
    }
}

fn pending(body: PendingBody) -> Response {
    let location = [(header::LOCATION, body.status.clone())];
    (StatusCode::ACCEPTED, location, Json(body)).into_response()
}

fn body_of(api: &Api, live: LiveConnection<'_>) -> ConnectionBody {
    let waiting = api.backend.waiting(live.name);
    connection_body(live, api.now_ms(), &waiting, |stream| {
        api.backend.comparison(live.name, stream)
    })
}

fn show(api: &Api, name: &str) -> Result<ConnectionBody, ApiError> {
    let found = api.control.read(|connections| {
        let connection = connections.get_live(name)?;
        Some(body_of(api, connection))
    })?;
    found.ok_or_else(|| ApiError::not_found(Missing::Connection, name))
}

/// Path of a connection.
fn address(name: &str) -> String {
    format!("/v1/connections/{name}")
}
