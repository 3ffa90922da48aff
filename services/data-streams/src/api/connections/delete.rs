//! Deletes a connection, and what is stored of it if that is wanted.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
};

use super::{
    CommandFailure, ConnectionPath, Submitted, commands::command_address, pending, submit_and_wait,
    view::PendingBody, wait_for,
};
use crate::{
    api::{
        Api,
        body::refuse_all,
        error::{ApiError, Problem},
        records::unknown_parameter,
        terms::Terms,
    },
    control::{Connection, ConnectionChange, ControlError, InUse, Invalid},
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
            is purged: repeat the request, without If-Match or with its Idempotency-Key", body = PendingBody),
        (status = 404, description = "There is no such connection", body = Problem),
        CommandFailure,
    )
)]
pub(in crate::api) async fn delete(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    Query(pairs): Query<Vec<(String, String)>>,
    terms: Terms,
) -> Result<Response, ApiError> {
    let purges = purges(pairs)?;
    let wait = api.stop_wait.min(DELETE_WAIT);
    let delete = terms.submission(ConnectionChange::Delete);
    let deletion = purges.then(|| api.control.deletion(&name, &delete));
    let submitted = match deletion.transpose()?.flatten() {
        Some(command_id) => wait_for(&api, &name, command_id, "deleted", wait).await?,
        None => submit_and_wait(&api, &name, delete, "deleted", wait).await?,
    };
    // The connection is gone for its readers, also while the worker has not stopped.
    let of_command = |body: PendingBody| PendingBody {
        status: command_address(&name, &body.command_id),
        ..body
    };
    match submitted {
        Submitted::Applied(body) => {
            if purges {
                purge(&api, &name, &body.command_id).await?;
            }
            Ok(Json(of_command(body)).into_response())
        }
        Submitted::Pending(body) => Ok(pending(of_command(body))),
    }
}

/// Whether what is stored is to be dropped, by the parameters of the request.
fn purges(pairs: Vec<(String, String)>) -> Result<bool, ApiError> {
    let mut given = None;
    let mut wrong = Vec::new();
    for (name, value) in pairs {
        if name != "purge" {
            wrong.push(unknown_parameter(&name, "purge"));
        } else if given.is_some() {
            wrong.push(Invalid::new(name, "is given twice"));
        } else if let Ok(value) = value.parse::<bool>() {
            given = Some(value);
        } else {
            wrong.push(Invalid::new(name, "must be true or false"));
        }
    }
    refuse_all(wrong, ApiError::InvalidParameter)?;
    Ok(given.unwrap_or(false))
}

/// Drops what is stored of a connection that this command has deleted.
async fn purge(api: &Api, name: &str, command_id: &str) -> Result<(), ApiError> {
    let (destination, names) = unclaimed(api, name, command_id)?;
    if !api.backend.skip(name, &names, &destination).await? {
        return Ok(());
    }
    // That took seconds, in which somebody may have taken on what is about to be dropped.
    unclaimed(api, name, command_id)?;
    api.backend.purge(name, &destination).await
}

/// The destination of a connection that this command has deleted, and the names of those
/// that had it. Refused if another connection has it now, or a new one has the name.
fn unclaimed(api: &Api, name: &str, command_id: &str) -> Result<(String, Vec<String>), ApiError> {
    api.control.read(|connections| {
        let last = connections.get(name).and_then(Connection::last_command);
        let deletion = last.filter(|it| it.command_id == command_id);
        let destination = deletion.ok_or(ApiError::Superseded)?.destination.clone();
        if let Some(by) = connections.holder_of(&destination, name) {
            let by = by.to_owned();
            let in_use = InUse::Destination { destination, by };
            return Err(ApiError::from(ControlError::from(in_use)));
        }
        let names = connections.former_holders(&destination);
        Ok((destination, names))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_drops_what_is_stored() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            purges(pairs.collect())
        };
        assert!(!read(&[]).unwrap() && !read(&[("purge", "false")]).unwrap());
        assert!(read(&[("purge", "true")]).unwrap());
        for (pairs, field) in [
            (&[("purge", "")][..], "purge"),
            (&[("purge", "yes")], "purge"),
            (&[("purge", "true"), ("purge", "true")], "purge"),
            (&[("foo", "1")], "foo"),
        ] {
            let Err(ApiError::InvalidParameter(wrong)) = read(pairs) else {
                panic!("{pairs:?} is accepted");
            };
            assert_eq!(wrong.first.field, field);
        }
    }
}
