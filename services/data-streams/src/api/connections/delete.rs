//! Deletes a connection, and what is stored of it if that is wanted.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};

use super::{
    CommandFailure, ConnectionPath, Submitted, commands::command_address, pending, submit_and_wait,
    view::PendingBody, wait_for,
};
use crate::{
    api::{
        Api, body,
        error::{ApiError, Problem},
        terms::Terms,
    },
    control::{ConnectionChange, ControlError, InUse},
};

/// How long a delete waits for the worker at most: its caller needs no proof
/// that fetching has ended.
const DELETE_WAIT: Duration = Duration::from_secs(3);

/// Stops a connection and deletes it; stored records stay, unless they are purged.
///
/// Another connection of the same account may take its destination on.
#[utoipa::path(
    delete,
    path = "/v1/connections/{name}",
    operation_id = "delete_connection",
    tag = "connections",
    params(
        ConnectionPath,
        ("purge" = Option<bool>, Query, description = "Also drop what ClickHouse has of it; \
            also of a connection that is deleted already"),
    ),
    responses(
        (status = 200, description = "Stopped and deleted", body = PendingBody),
        (status = 202, description = "Accepted; the worker has not confirmed it yet. Nothing \
            is purged: repeat the request", body = PendingBody),
        (status = 404, description = "There is no such connection", body = Problem),
        CommandFailure,
    )
)]
pub(in crate::api) async fn delete(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    RawQuery(query): RawQuery,
    terms: Terms,
) -> Result<Response, ApiError> {
    let purges = match query.as_deref() {
        None | Some("" | "purge=false") => false,
        Some("purge=true") => true,
        Some(_) => return Err(body::parameter("purge", "must be true or false")),
    };
    let wait = api.stop_wait.min(DELETE_WAIT);
    let deleted = api.control.read(|connections| {
        let last = connections.get(&name)?.last_command()?;
        connections
            .is_deleted(&name)
            .then(|| last.command_id.clone())
    })?;
    let submitted = if let Some(command_id) = deleted.filter(|_| purges) {
        wait_for(&api, &name, command_id, "deleted", wait).await?
    } else {
        let delete = terms.submission(ConnectionChange::Delete);
        submit_and_wait(&api, &name, delete, "deleted", wait).await?
    };
    // The connection is gone for its readers, also while the worker has not stopped.
    let of_command = |body: PendingBody| PendingBody {
        status: command_address(&name, &body.command_id),
        ..body
    };
    match submitted {
        Submitted::Applied(body) => {
            if purges {
                purge(&api, &name).await?;
            }
            Ok(Json(of_command(body)).into_response())
        }
        Submitted::Pending(body) => Ok(pending(of_command(body))),
    }
}

/// Drops what is stored of a deleted connection.
async fn purge(api: &Api, name: &str) -> Result<(), ApiError> {
    let (destination, names) = api.control.read(|connections| {
        let destination = connections.destination(name).unwrap_or_default();
        if let Some(by) = connections.holder_of(&destination, name) {
            let by = by.to_owned();
            return Err(ControlError::from(InUse::Destination { destination, by }));
        }
        let names = connections.former_holders(&destination);
        Ok((destination, names))
    })??;
    api.backend.purge(name, &names, &destination).await
}
