//! Maps every failure to its HTTP answer: `application/problem+json` with a
//! stable code.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{BODY_LIMIT, MAX_BODY, REQUEST_LIMIT};
use crate::control::{ControlError, InUse, Invalid, WrongInputs};

/// The content type of a [`Problem`].
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// The body of a failed request, by RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The HTTP status in words.
    pub(crate) title: String,
    /// HTTP status.
    pub(crate) status: u16,
    /// What failed, for programs: stable, `snake_case`.
    #[schema(example = "connection_not_found")]
    pub(crate) code: String,
    /// What went wrong, and what is allowed, for people.
    pub(crate) detail: String,
    /// The first field or parameter with a wrong value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// All fields or parameters with a wrong value; left out where none is to blame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<FieldProblem>,
}

/// What is wrong with one field or parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// Its name, with the index in a list.
    #[schema(example = "streams[1]")]
    pub(crate) field: String,
    /// What is wrong, and what is allowed.
    pub(crate) detail: String,
}

impl From<&Invalid> for FieldProblem {
    fn from(invalid: &Invalid) -> Self {
        Self {
            field: invalid.field.clone(),
            detail: invalid.message.clone(),
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The body is not JSON.
    #[error("the body is not a JSON object: {0}")]
    MalformedJson(String),
    /// Query parameters are unknown or have values that are not allowed.
    #[error("{0}")]
    InvalidParameter(WrongInputs),
    /// The body is wrong, first of all by a field that the route does not have.
    #[error("{0}")]
    UnknownField(WrongInputs),
    /// The body is wrong, first of all by a field with a value that is not allowed.
    #[error("{0}")]
    InvalidValue(WrongInputs),
    /// The token is missing or wrong.
    #[error("the request needs the API token as Authorization: Bearer")]
    Unauthorized,
    /// Many wrong tokens of this caller are not answered yet.
    #[error("too many wrong tokens from this address; try again")]
    TooManyTries,
    /// The token is for requests that change nothing.
    #[error(
        "this token may only read: send GET, HEAD or a question to /v1/sql, or the other token"
    )]
    ReadOnlyToken,
    /// A browser sent it for a page of another origin.
    #[error("requests from pages of other origins are refused")]
    ForeignOrigin,
    /// A browser sent it for a page of another site, or followed its link.
    #[error("requests from pages of other sites are refused; to open a page, type its address")]
    ForeignSite,
    /// Nothing has that name.
    #[error("there is no {what} {name}")]
    NotFound {
        /// What was looked up.
        what: Missing,
        /// Its name.
        name: String,
    },
    /// The route does not have this method.
    #[error("this address does not allow this method")]
    MethodNotAllowed,
    /// A later command replaced this one.
    #[error("a later command replaced this one; the connection shows the current state")]
    Superseded,
    /// No deletions of this pass wait for a person.
    #[error("reconciliation {0} has no deletions that wait to be confirmed")]
    NothingToConfirm(String),
    /// The destination has the data of another account.
    #[error("{0}")]
    DestinationTaken(String),
    /// The destination has tables that are not of this program.
    #[error("{0}")]
    DestinationForeign(String),
    /// A command was not accepted.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The body has too many bytes.
    #[error("the body is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// The body arrives too slowly.
    #[error("the body did not arrive within {} s", BODY_LIMIT.as_secs())]
    SlowBody,
    /// The limit of concurrent requests is reached.
    #[error("too many requests at a time; try again")]
    Overrun,
    /// The client has its share of the concurrent requests.
    #[error(
        "this client has too many requests at a time; the rest is for others: try again, with \
         fewer at a time"
    )]
    ClientOverrun,
    /// Kafka does not answer.
    #[error("kafka does not answer")]
    KafkaUnavailable,
    /// The service still waits for its servers.
    #[error("the service is starting; /health/ready says what it waits for")]
    Starting,
    /// ClickHouse does not answer.
    #[error("clickhouse does not answer")]
    ClickHouseUnavailable,
    /// The schema of a record in the log is not known now.
    #[error("the schema registry does not answer, or lacks a schema of the log")]
    RegistryUnavailable,
    /// Objects are stored, and their properties are not, or not yet.
    #[error(
        "the properties of some objects are not stored yet; if that lasts, POST \
         /v1/warehouse/rebuild loads them from the log"
    )]
    Incomplete,
    /// ClickHouse refuses a question in SQL.
    #[error("{0}")]
    QueryRefused(String),
    /// There is no user for questions in SQL.
    #[error(
        "the service may not answer questions in SQL: set CLICKHOUSE_READER_PASSWORD, of a user \
         that may only read what people may see"
    )]
    SqlDisabled,
    /// The request took too long.
    #[error("the request took longer than {} s", REQUEST_LIMIT.as_secs())]
    TimedOut,
    /// A bug, or a failure that someone has to fix.
    #[error("the request failed; the log of the service says why")]
    Internal,
}

/// What was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A connection.
    Connection,
    /// An object type of a connection.
    Stream,
    /// A stored record.
    Record,
    /// A rebuild of the warehouse.
    Rebuild,
    /// A comparison with HubSpot.
    Reconciliation,
    /// A command.
    Command,
    /// An address.
    Route,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Stream => "stream",
            Self::Record => "record",
            Self::Rebuild => "rebuild",
            Self::Reconciliation => "reconciliation",
            Self::Command => "command",
            Self::Route => "address",
        })
    }
}

impl ApiError {
    /// Nothing of that name; at most 64 characters of it are repeated.
    pub(super) fn not_found(what: Missing, name: &str) -> Self {
        Self::NotFound {
            what,
            name: name.chars().take(64).collect(),
        }
    }

    /// Status and stable code of each failure.
    pub(super) fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::MalformedJson(_) => (StatusCode::BAD_REQUEST, "malformed_json"),
            Self::InvalidParameter(_) => (StatusCode::BAD_REQUEST, "invalid_parameter"),
            Self::UnknownField(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_field"),
            Self::Control(ControlError::KeyReused) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
            }
            Self::InvalidValue(_) | Self::Control(ControlError::Invalid(_)) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_value")
            }
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::TooManyTries => (StatusCode::TOO_MANY_REQUESTS, "too_many_tries"),
            Self::ReadOnlyToken => (StatusCode::FORBIDDEN, "read_only_token"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin"),
            Self::ForeignSite => (StatusCode::FORBIDDEN, "foreign_site"),
            Self::NotFound { what, .. } => (
                StatusCode::NOT_FOUND,
                match what {
                    Missing::Connection => "connection_not_found",
                    Missing::Stream => "stream_not_found",
                    Missing::Record => "record_not_found",
                    Missing::Rebuild => "rebuild_not_found",
                    Missing::Reconciliation => "reconciliation_not_found",
                    Missing::Command => "command_not_found",
                    Missing::Route => "route_not_found",
                },
            ),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Control(ControlError::NotFound(_)) => {
                (StatusCode::NOT_FOUND, "connection_not_found")
            }
            Self::Superseded => (StatusCode::CONFLICT, "superseded"),
            Self::NothingToConfirm(_) => (StatusCode::CONFLICT, "nothing_to_confirm"),
            Self::Control(ControlError::Contended(_)) => (StatusCode::CONFLICT, "contended"),
            Self::Control(ControlError::InUse(InUse::Destination { .. })) => {
                (StatusCode::CONFLICT, "destination_in_use")
            }
            Self::Control(ControlError::InUse(InUse::Portal { .. })) => {
                (StatusCode::CONFLICT, "portal_in_use")
            }
            Self::Control(ControlError::DestinationFixed { .. }) => {
                (StatusCode::CONFLICT, "destination_fixed")
            }
            Self::Control(ControlError::ConditionFailed(_)) => {
                (StatusCode::PRECONDITION_FAILED, "precondition_failed")
            }
            Self::DestinationTaken(_) => (StatusCode::CONFLICT, "destination_taken"),
            Self::DestinationForeign(_) => (StatusCode::CONFLICT, "destination_foreign"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "slow_body"),
            Self::Overrun => (StatusCode::TOO_MANY_REQUESTS, "overrun"),
            Self::ClientOverrun => (StatusCode::TOO_MANY_REQUESTS, "client_overrun"),
            Self::KafkaUnavailable | Self::Control(ControlError::Unavailable(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "kafka_unavailable")
            }
            Self::Starting | Self::Control(ControlError::NotReady) => {
                (StatusCode::SERVICE_UNAVAILABLE, "starting")
            }
            Self::ClickHouseUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "clickhouse_unavailable")
            }
            Self::RegistryUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "registry_unavailable"),
            Self::Incomplete => (StatusCode::SERVICE_UNAVAILABLE, "record_incomplete"),
            Self::QueryRefused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "query_refused"),
            Self::SqlDisabled => (StatusCode::CONFLICT, "sql_disabled"),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Self::Internal | Self::Control(ControlError::Unwritable(_)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }

    /// The fields or parameters that are to blame.
    fn wrong_inputs(&self) -> Vec<&Invalid> {
        match self {
            Self::InvalidParameter(wrong)
            | Self::UnknownField(wrong)
            | Self::InvalidValue(wrong)
            | Self::Control(ControlError::Invalid(wrong)) => {
                std::iter::once(&wrong.first).chain(&wrong.others).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Control(ControlError::Unavailable(cause)) = &self {
            tracing::warn!(error = %cause, "kafka did not acknowledge a command");
        }
        if let Self::Control(ControlError::Unwritable(cause)) = &self {
            tracing::error!(error = %cause, "a command cannot be written");
        }
        let (status, code) = self.status_and_code();
        let wrong = self.wrong_inputs();
        let problem = Problem {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: self.to_string(),
            field: wrong.first().map(|it| it.field.clone()),
            errors: wrong.into_iter().map(FieldProblem::from).collect(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if status == StatusCode::UNAUTHORIZED {
            // With Basic, a browser asks its user for the token, as a password.
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"hubspot-streams\""),
            );
        }
        response
    }
}
