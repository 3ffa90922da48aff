//! The table of what is done about each failure of HubSpot: [`action`] maps a
//! fault to an [`Action`]. Nothing else decides this.

use std::time::Duration;

use serde::Deserialize;

use super::call::Endpoint;
use crate::sync::Advice;

/// Why a request has no usable answer, as far as the table needs it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The request was not sent.
    #[error("no connection: {reason}")]
    NoConnection {
        /// In words, without the URL.
        reason: &'static str,
    },
    /// A timeout, or a lost connection.
    #[error("no answer: {reason}")]
    NoAnswer {
        /// In words, without the URL.
        reason: &'static str,
    },
    /// A success whose body is incomplete or not of the expected form.
    #[error("the answer cannot be parsed: {reason}")]
    Unreadable {
        /// In words, without values.
        reason: String,
    },
    /// Any status but success.
    #[error("status {status}{}", .detail.as_words())]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the body says.
        detail: Detail,
        /// The time in the `Retry-After` header.
        retry_after: Option<Duration>,
    },
}

/// What the body of an error says. Any part can be missing, and some bodies are
/// HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Detail {
    /// The kind of error.
    pub(super) category: Category,
    /// The limit that was exceeded.
    pub(super) policy: Option<Policy>,
    /// The scopes of which one is needed.
    pub(super) scopes: Vec<String>,
    /// HubSpot's id of the failed request, which its support needs.
    pub(super) correlation_id: Option<String>,
}

/// The kinds of errors that the table distinguishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Category {
    /// The token lacks a scope.
    MissingScopes,
    /// The refresh token is revoked, or its app was uninstalled.
    Revoked,
    /// Client id or secret are wrong.
    BadClient,
    /// Any other error in HubSpot's form.
    Other,
    /// The body is not in HubSpot's form, so a proxy answered.
    #[default]
    Foreign,
}

/// HubSpot's names of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// The general limit per 10 s, or that of associations.
    TenSecondly,
    /// The limit of searches per second.
    Secondly,
    /// The daily allowance.
    Daily,
}

/// What to do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Send the request again after a growing pause, at least this long.
    Retry(Duration),
    /// The same, but only a few times: HubSpot may have failed on what this request asks
    /// for, so that one that asks for less can work.
    RetryOrShrink(Duration),
    /// Pause the rate limit's bucket, then send the request again.
    PauseBucket,
    /// Wait until HubSpot resets its daily counters.
    WaitForReset,
    /// Send nothing to the account for this long.
    PauseAccount(Duration),
    /// Get another token, once, and send the request again.
    RenewToken,
    /// Do not send the request again.
    GiveUp(Verdict),
}

/// What happens when a request is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What the run has to do.
    pub(super) advice: Advice,
    /// Stable code for the status, `snake_case`.
    pub(super) code: &'static str,
    /// What the user can do.
    pub(super) remedy: &'static str,
}

const fn verdict(advice: Advice, code: &'static str, remedy: &'static str) -> Action {
    Action::GiveUp(Verdict {
        advice,
        code,
        remedy,
    })
}

/// Pause for status 477 (the account is being migrated) without `Retry-After`.
const MIGRATION: Duration = Duration::from_mins(10);
/// A record lock lasts 2 s (HubSpot's error handling guide).
const LOCKED: Duration = Duration::from_secs(2);

/// The token was refused, and so was a renewed one, or there is no other.
pub(super) const UNAUTHORIZED: Verdict = Verdict {
    advice: Advice::StopConnection,
    code: "unauthorized",
    remedy: "put a valid token behind the credential reference, then start the connection again",
};

/// The action for a failure of HubSpot. `status_action` decides by the status; for
/// 401 and 403, `token_action` and `forbidden_action` decide by the kind of error.
pub(super) fn action(endpoint: Endpoint, fault: &Fault) -> Action {
    match fault {
        Fault::NoConnection { .. } => Action::Retry(Duration::ZERO),
        Fault::NoAnswer { .. } | Fault::Unreadable { .. } => {
            retry_or_shrink(endpoint, Duration::ZERO)
        }
        Fault::Status {
            status,
            detail,
            retry_after,
        } => status_action(endpoint, *status, detail, *retry_after),
    }
}

fn status_action(
    endpoint: Endpoint,
    status: u16,
    detail: &Detail,
    retry_after: Option<Duration>,
) -> Action {
    match (status, endpoint) {
        (400 | 401 | 403, Endpoint::Token) => token_action(detail.category),
        (401, _) => Action::RenewToken,
        (403, _) => forbidden_action(detail.category),
        (404, Endpoint::Account | Endpoint::Usage | Endpoint::Token) => verdict(
            Advice::StopConnection,
            "unknown_api_version",
            "check the base URL and the API version that the worker is configured with",
        ),
        (404, _) | (400, Endpoint::Properties) => verdict(
            Advice::SkipStream,
            "unknown_object_type",
            "check the name of the stream; custom objects are named 2-123 or p_name",
        ),
        (408, _) => retry_or_shrink(endpoint, Duration::ZERO),
        (425, _) => Action::Retry(Duration::ZERO),
        (414, _) => verdict(
            Advice::SkipStream,
            "uri_too_long",
            "let the proxy between the worker and HubSpot accept URLs of 12 kB",
        ),
        (423, _) => Action::Retry(LOCKED),
        (429, _) if detail.policy == Some(Policy::Daily) => Action::WaitForReset,
        (429, _) => Action::PauseBucket,
        (477, _) => Action::PauseAccount(retry_after.unwrap_or(MIGRATION)),
        (530, _) => Action::GiveUp(UNAUTHORIZED),
        (400 | 409 | 413 | 422, Endpoint::List | Endpoint::Search | Endpoint::BatchRead) => {
            verdict(
                Advice::EndRun,
                "request_refused",
                "none needed: the next run starts again; report it if this happens repeatedly",
            )
        }
        (400 | 402..=499, _) => verdict(
            Advice::StopConnection,
            "request_refused",
            "check the base URL and the API version that the worker is configured with",
        ),
        // Of HubSpot and of proxies in front of it.
        (500..=599, _) => retry_or_shrink(endpoint, retry_after.unwrap_or_default()),
        // A status that is not expected, such as a redirect: it may be transient.
        _ => Action::Retry(retry_after.unwrap_or_default()),
    }
}

/// Sends again what may be transient. A read of several objects may also be too much, or
/// have an object that HubSpot cannot give.
fn retry_or_shrink(endpoint: Endpoint, at_least: Duration) -> Action {
    match endpoint {
        Endpoint::List | Endpoint::BatchRead => Action::RetryOrShrink(at_least),
        Endpoint::Account
        | Endpoint::Usage
        | Endpoint::Token
        | Endpoint::Properties
        | Endpoint::Search
        | Endpoint::RecordCounts => Action::Retry(at_least),
    }
}

fn token_action(category: Category) -> Action {
    match category {
        Category::Revoked => verdict(
            Advice::StopConnection,
            "revoked",
            "authorise the app again, put the new refresh token behind the credential \
             reference, then start the connection again",
        ),
        Category::BadClient | Category::MissingScopes | Category::Other => verdict(
            Advice::StopConnection,
            "credential_invalid",
            "check client_id, client_secret and refresh_token of the credential",
        ),
        Category::Foreign => Action::Retry(Duration::ZERO),
    }
}

fn forbidden_action(category: Category) -> Action {
    match category {
        Category::MissingScopes => verdict(
            Advice::SkipStream,
            "missing_scope",
            "give the app or key the scope, then start the connection again",
        ),
        Category::Revoked | Category::BadClient | Category::Other => verdict(
            Advice::StopConnection,
            "forbidden",
            "check in HubSpot that the app or key is active and may read this account",
        ),
        Category::Foreign => Action::Retry(Duration::ZERO),
    }
}

/// The body of an error. Its `message` can contain values of records, so it is
/// used to find the limit and then dropped.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    status: Option<serde_json::Value>,
    error: Option<serde_json::Value>,
    category: Option<serde_json::Value>,
    message: Option<serde_json::Value>,
    #[serde(rename = "policyName")]
    policy_name: Option<serde_json::Value>,
    #[serde(rename = "correlationId")]
    correlation_id: Option<serde_json::Value>,
    errors: Option<serde_json::Value>,
}

/// Parses the body of an error.
pub(super) fn read_detail(body: &[u8]) -> Detail {
    let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else {
        return Detail::default();
    };
    let text = |value: &Option<serde_json::Value>| {
        value
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let named = [text(&body.category), text(&body.status), text(&body.error)];
    let is = |names: &[&str]| named.iter().any(|name| names.contains(&name.as_str()));
    let category = if is(&["MISSING_SCOPES"]) {
        Category::MissingScopes
    } else if is(&[
        "BAD_REFRESH_TOKEN",
        "BAD_HUB",
        "invalid_grant",
        "access_denied",
    ]) {
        Category::Revoked
    } else if is(&["BAD_CLIENT_ID", "BAD_CLIENT_SECRET", "invalid_client"]) {
        Category::BadClient
    } else {
        Category::Other
    };
    Detail {
        category,
        policy: policy_of(&text(&body.policy_name)).or_else(|| policy_of(&text(&body.message))),
        scopes: body.errors.as_ref().map(scopes_of).unwrap_or_default(),
        correlation_id: Some(text(&body.correlation_id))
            .filter(|id| id.len() <= 64 && is_identifier(id)),
    }
}

fn policy_of(text: &str) -> Option<Policy> {
    let text = text.to_ascii_lowercase();
    if text.contains("daily") {
        Some(Policy::Daily)
    } else if text.contains("ten_secondly") {
        Some(Policy::TenSecondly)
    } else if text.contains("secondly") {
        Some(Policy::Secondly)
    } else {
        None
    }
}

fn scopes_of(errors: &serde_json::Value) -> Vec<String> {
    let named = errors
        .get(0)
        .and_then(|error| error.get("context"))
        .and_then(|context| {
            context
                .get("requiredGranularScopes")
                .or_else(|| context.get("requiredScopes"))
        });
    let scopes = named
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten();
    scopes
        .filter_map(|scope| scope.as_str())
        .filter(|scope| is_identifier(scope))
        .take(8)
        .map(ToOwned::to_owned)
        .collect()
}

fn is_identifier(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

impl Detail {
    fn as_words(&self) -> String {
        let mut words = match self.category {
            Category::MissingScopes if self.scopes.is_empty() => ", a scope is missing".to_owned(),
            Category::MissingScopes => {
                format!(
                    ", one of these scopes is needed: {}",
                    self.scopes.join(", ")
                )
            }
            Category::Revoked => ", the refresh token is revoked".to_owned(),
            Category::BadClient => ", the client id or secret is wrong".to_owned(),
            Category::Other | Category::Foreign => String::new(),
        };
        match self.policy {
            Some(Policy::TenSecondly) => words.push_str(", the limit per 10 seconds is reached"),
            Some(Policy::Secondly) => words.push_str(", the limit per second is reached"),
            Some(Policy::Daily) => words.push_str(", the daily limit is reached"),
            None => {}
        }
        if let Some(id) = &self.correlation_id {
            words.push_str(", correlation id ");
            words.push_str(id);
        }
        words
    }
}

#[cfg(test)]
mod tests;
