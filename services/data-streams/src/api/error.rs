//! One table from failure to status and body: `application/problem+json` with
//! a stable code.
//!
//! It must not know what was asked for.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::{ControlError, InUse, Invalid};

/// The content type of a [`Problem`].
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What a caller is told when a request fails, by RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of failure, for people: the status in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable, `snake_case`, for programs.
    #[schema(example = "connection_not_found")]
    pub code: String,
    /// What went wrong, and what is allowed.
    pub detail: String,
    /// The field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Every way in which a request can fail.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is not JSON.
    #[error("the body is not a JSON object: {0}")]
    MalformedJson(String),
    /// A query parameter that cannot be, or is unknown.
    #[error("{0}")]
    InvalidParameter(Invalid),
    /// A field that the route does not have.
    #[error("{0}")]
    UnknownField(Invalid),
    /// A field with a value that cannot be.
    #[error("{0}")]
    InvalidValue(Invalid),
    /// No token, or another one.
    #[error("the request needs the API token as Authorization: Bearer")]
    Unauthorized,
    /// Sent by a page of another site.
    #[error("requests from pages of other origins are refused")]
    ForeignOrigin,
    /// There is nothing of that name.
    #[error("there is no {what} {name}")]
    NotFound {
        /// Kind of thing.
        what: Missing,
        /// Its name.
        name: String,
    },
    /// The route has no such method.
    #[error("this address does not take that method")]
    MethodNotAllowed,
    /// A later command won.
    #[error("a later command replaced this one; see the connection for what holds")]
    Superseded,
    /// Others change the same connection all the time.
    #[error("the connection is being changed by others all the time; try again")]
    Contended,
    /// Another connection has it.
    #[error(transparent)]
    InUse(InUse),
    /// More bytes than a request may have.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: usize,
    },
    /// A body that drips in.
    #[error("the body was not here within {seconds} s")]
    SlowBody {
        /// What is allowed.
        seconds: u64,
    },
    /// The API itself is overrun.
    #[error("too many requests are under way")]
    Overrun,
    /// Kafka does not answer.
    #[error("kafka does not answer; nothing was accepted for certain")]
    KafkaUnavailable,
    /// The servers are awaited, or the state of the connections is being read.
    #[error("the service is starting; /health/ready says what it waits for")]
    Starting,
    /// `ClickHouse` does not answer.
    #[error("clickhouse does not answer")]
    ClickHouseUnavailable,
    /// The request took too long.
    #[error("the request took longer than {seconds} s")]
    TimedOut {
        /// What is allowed.
        seconds: u64,
    },
    /// A defect of the program.
    #[error("the request failed by a defect of the program; its log says more")]
    Internal,
}

/// What can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A connection.
    Connection,
    /// An object type of a connection.
    Stream,
    /// A stored record.
    Record,
    /// A rebuild of the warehouse.
    Rebuild,
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
            Self::Route => "address",
        })
    }
}

impl ApiError {
    /// The table: status and stable code of each failure.
    pub(super) fn entry(&self) -> (StatusCode, &'static str) {
        match self {
            Self::MalformedJson(_) => (StatusCode::BAD_REQUEST, "malformed_json"),
            Self::InvalidParameter(_) => (StatusCode::BAD_REQUEST, "invalid_parameter"),
            Self::UnknownField(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_field"),
            Self::InvalidValue(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_value"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin"),
            Self::NotFound { what, .. } => (
                StatusCode::NOT_FOUND,
                match what {
                    Missing::Connection => "connection_not_found",
                    Missing::Stream => "stream_not_found",
                    Missing::Record => "record_not_found",
                    Missing::Rebuild => "rebuild_not_found",
                    Missing::Route => "route_not_found",
                },
            ),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Superseded => (StatusCode::CONFLICT, "superseded"),
            Self::Contended => (StatusCode::CONFLICT, "contended"),
            Self::InUse(InUse::Destination { .. }) => (StatusCode::CONFLICT, "destination_in_use"),
            Self::InUse(InUse::Portal { .. }) => (StatusCode::CONFLICT, "portal_in_use"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::SlowBody { .. } => (StatusCode::REQUEST_TIMEOUT, "slow_body"),
            Self::Overrun => (StatusCode::TOO_MANY_REQUESTS, "overrun"),
            Self::KafkaUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "kafka_unavailable"),
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            Self::ClickHouseUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "clickhouse_unavailable")
            }
            Self::TimedOut { .. } => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::InvalidParameter(invalid)
            | Self::UnknownField(invalid)
            | Self::InvalidValue(invalid) => Some(&invalid.field),
            _ => None,
        }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotReady => Self::Starting,
            ControlError::Unavailable(cause) => {
                tracing::warn!(error = %cause, "a command was not acknowledged");
                Self::KafkaUnavailable
            }
            ControlError::NotFound(name) => Self::NotFound {
                what: Missing::Connection,
                name,
            },
            ControlError::Invalid(invalid) => Self::InvalidValue(invalid),
            ControlError::InUse(taken) => Self::InUse(taken),
            ControlError::Contended(_) => Self::Contended,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.entry();
        let problem = Problem {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: self.to_string(),
            field: self.field().map(ToOwned::to_owned),
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
            // Basic lets a browser ask for the token, as its password.
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"hubspot-streams\""),
            );
        }
        response
    }
}
