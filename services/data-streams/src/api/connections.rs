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
use uuid::Uuid;

use super::{
    Api,
    body::{self, RawBody},
    error::{ApiError, Missing},
};
use crate::control::{Accepted, Change, Outcome, settings};

mod view;

use view::{
    ConnectionBody, ConnectionsBody, PendingBody, RequestBody, SettingsBody, SyncBody,
    SyncRequestBody, connection_body,
};

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
        (status = 409, description = "Destination in use", body = super::error::Problem),
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
        (status = 400, description = "Not JSON", body = super::error::Problem),
        (status = 404, description = "There is no such connection", body = super::error::Problem),
        (status = 409, description = "A later command won", body = super::error::Problem),
        (status = 422, description = "A name that cannot be, or a body with fields", body = super::error::Problem),
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
        (status = 422, description = "A name that cannot be", body = super::error::Problem),
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
        (status = 409, description = "Portal in use, or changed by others all the time", body = super::error::Problem),
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
