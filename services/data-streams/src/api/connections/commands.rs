//! The route that shows what becomes of a command, also of one that deletes its
//! connection.

use axum::{
    Json,
    extract::{Path, State},
};
use schemas::DesiredState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        Api,
        body::timestamp,
        error::{ApiError, Missing, Problem},
        words,
    },
    address,
    check::CheckBody,
};
use crate::control::CommandOutcome;

/// Parameters of a path that names a command.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct CommandPath {
    /// Name of the connection.
    #[param(pattern = "^[a-z][a-z0-9_]{0,49}$")]
    name: String,
    /// Id of the command.
    id: String,
}

/// What becomes of a command.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CommandBody {
    /// Its id.
    #[schema(format = "uuid")]
    command_id: String,
    /// `pending`: the worker has not reached its state yet; `applied`: it has;
    /// `superseded`: a later command replaced it, before or after that.
    #[schema(value_type = words::CommandProgress)]
    progress: &'static str,
    /// The state that it wants of the connection.
    #[schema(value_type = words::DesiredState)]
    state: &'static str,
    /// When it was accepted.
    #[schema(format = DateTime)]
    issued_at: String,
    /// Of a command that asks for a check: its result, once the worker has made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CheckBody>,
}

/// Shows what becomes of a command.
///
/// Also after its connection was deleted. Of each connection, the last command is
/// known, and the 128 before it unless Kafka has compacted them.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/commands/{id}",
    operation_id = "get_command",
    tag = "connections",
    params(CommandPath),
    responses(
        (status = 200, description = "The command", body = CommandBody),
        (status = 404, description = "There is no such command", body = Problem),
        (status = 503, description = "The service is starting", body = Problem),
    )
)]
pub(in crate::api) async fn show(
    State(api): State<Api>,
    Path(CommandPath { name, id }): Path<CommandPath>,
) -> Result<Json<CommandBody>, ApiError> {
    let found = api.control.read(|connections| {
        let connection = connections.get(&name)?;
        let command = connection.command_of(&id)?;
        let (state, reached) = match command.state {
            DesiredState::Running => ("running", "running"),
            DesiredState::Stopped => ("stopped", "stopped"),
            DesiredState::Deleted => ("deleted", "deleted"),
        };
        Some(CommandBody {
            command_id: command.command_id.clone(),
            progress: match connection.outcome(&id, reached) {
                CommandOutcome::Applied => "applied",
                CommandOutcome::Superseded => "superseded",
                CommandOutcome::Pending => "pending",
            },
            state,
            issued_at: timestamp(command.issued_at),
            check: command
                .check_id
                .as_deref()
                .and_then(|it| connection.check(it))
                .map(|it| CheckBody::from(it.clone())),
        })
    })?;
    found
        .map(Json)
        .ok_or_else(|| ApiError::not_found(Missing::Command, &id))
}

/// Path of a command.
pub(super) fn command_address(name: &str, command_id: &str) -> String {
    format!("{}/commands/{command_id}", address(name))
}
