//! The route that tries what a connection's credential can read.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use schemas::{CheckStatus, CheckedStream};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api, ApiError, CommandFailure, ConnectionPath,
    commands::command_address,
    pending,
    view::{ErrorBody, PendingBody},
};
use crate::{
    api::{
        WORKER_LIMIT,
        body::{self, RawBody, timestamp},
        error::Problem,
        terms::Terms,
    },
    control::{CheckOutcome, ConnectionChange},
};

/// What a credential can read.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CheckBody {
    /// Id of the check.
    #[schema(format = "uuid")]
    id: String,
    /// When it was made.
    #[schema(format = DateTime)]
    at: String,
    /// HubSpot's id of the account that the credential leads to.
    portal_id: Option<String>,
    /// The scopes that the credential has, sorted by name; null if HubSpot does not say.
    #[schema(example = json!(["crm.objects.companies.read", "crm.objects.contacts.read"]))]
    scopes: Option<Vec<String>>,
    /// Why the account cannot be read; null where it can.
    error: Option<ErrorBody>,
    /// The connection's streams; empty if the account cannot be read.
    streams: Vec<CheckedStreamBody>,
}

/// What a credential can read of an object type.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CheckedStreamBody {
    /// Object type.
    #[schema(example = "contacts")]
    name: String,
    /// Whether properties and objects can be read, so that the stream can be synced.
    can_sync: bool,
    /// Each thing that was tried.
    capabilities: Vec<CheckedCapabilityBody>,
}

/// One thing that was tried.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CheckedCapabilityBody {
    /// `properties`, `list`, `archived_list`, `search`, `batch_read`,
    /// `sensitive_properties` or `highly_sensitive_properties`.
    capability: String,
    /// Whether it works.
    works: bool,
    /// How HubSpot refused it, what it costs, and what to do; null where it works.
    error: Option<ErrorBody>,
}

impl From<CheckStatus> for CheckBody {
    fn from(check: CheckStatus) -> Self {
        Self {
            id: check.check_id,
            at: timestamp(check.at),
            portal_id: check.portal_id.map(|id| id.to_string()),
            scopes: check.scopes,
            error: check.error.as_ref().map(ErrorBody::from),
            streams: check
                .streams
                .into_iter()
                .map(CheckedStreamBody::from)
                .collect(),
        }
    }
}

impl From<CheckedStream> for CheckedStreamBody {
    fn from(stream: CheckedStream) -> Self {
        let works = |name: &str| {
            let mut all = stream.capabilities.iter();
            all.any(|it| it.capability == name && it.error.is_none())
        };
        Self {
            can_sync: works("properties") && works("list"),
            capabilities: stream
                .capabilities
                .iter()
                .map(|it| CheckedCapabilityBody {
                    capability: it.capability.clone(),
                    works: it.error.is_none(),
                    error: it.error.as_ref().map(ErrorBody::from),
                })
                .collect(),
            name: stream.name,
        }
    }
}

/// Tries what the connection's credential can read: the account, its scopes, and of each
/// stream its properties, both lists, search, batch read and the values of sensitive
/// properties.
///
/// Changes nothing: a stopped connection stays stopped.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/check",
    operation_id = "check_connection",
    tag = "connections",
    params(ConnectionPath),
    responses(
        (status = 200, description = "What was tried", body = CheckBody),
        (status = 202, description = "Accepted; the worker has not made it yet. Location leads to the command, which shows the result", body = PendingBody),
        (status = 404, description = "There is no such connection", body = Problem),
        CommandFailure,
    )
)]
pub(in crate::api) async fn check(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    body::nothing(&body)?;
    let change = ConnectionChange::Check {
        check_id: Uuid::now_v7().to_string(),
    };
    let submitted = api.control.submit(&name, terms.submission(change));
    let accepted = submitted.await?;
    let check_id = accepted.request_id.unwrap_or_default();
    // It takes up to nine requests a stream and two of the account, with their repetitions.
    let checked = api.control.checked(&name, &check_id, WORKER_LIMIT);
    match checked.await {
        CheckOutcome::Made(check) => Ok(Json(CheckBody::from(*check)).into_response()),
        CheckOutcome::Superseded => Err(ApiError::Superseded),
        CheckOutcome::Pending => Ok(pending(PendingBody {
            status: command_address(&name, &accepted.command_id),
            command_id: accepted.command_id,
        })),
    }
}
