//! What went wrong with a request, and the one table of what is done about it.
//!
//! It must not know how a request is sent or repeated.

use std::time::Duration;

use serde::Deserialize;

use super::call::Endpoint;
use crate::sync::Advice;

/// Why a request has no usable answer, as far as the decision needs it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// No connection, none in time, or it was lost.
    #[error("no answer: {reason}")]
    NoAnswer {
        /// In words, without the address.
        reason: &'static str,
    },
    /// A success whose body is not what was asked for, or is cut.
    #[error("the answer cannot be read: {reason}")]
    Unreadable {
        /// In words, without values.
        reason: String,
    },
    /// An answer other than success.
    #[error("status {status}{}", .detail.as_words())]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the body says.
        detail: Detail,
        /// The header of that name.
        retry_after: Option<Duration>,
    },
}

/// What the body of an error says. Every part can be missing, and some bodies
/// are HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Detail {
    /// What kind of error.
    pub(super) category: Category,
    /// Which limit was passed.
    pub(super) policy: Option<Policy>,
    /// Any one of these would do.
    pub(super) scopes: Vec<String>,
    /// What HubSpot's support asks for.
    pub(super) correlation_id: Option<String>,
}

/// Kinds of errors that are treated differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Category {
    /// The token lacks a scope.
    MissingScopes,
    /// The refresh token is revoked, or its app was uninstalled.
    Revoked,
    /// Client id or secret are wrong.
    BadClient,
    /// Another one, in HubSpot's form.
    Other,
    /// The body is not HubSpot's: a proxy answered.
    #[default]
    Foreign,
}

/// Names of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// The general window, or that of associations.
    TenSecondly,
    /// Search.
    Secondly,
    /// The day's allowance.
    Daily,
}

/// What to do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Send it again, after a growing pause of at least this.
    Retry(Duration),
    /// Pause the bucket, then send it again.
    PauseBucket,
    /// Wait for the counters of the day to start anew.
    WaitForReset,
    /// Leave the account alone for as long as the answer says.
    PauseAccount(Duration),
    /// Get another token, once, and send it again.
    RenewToken,
    /// Sending it again will not help.
    GiveUp(Verdict),
}

/// How it ends where sending again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What the run has to do.
    pub(super) advice: Advice,
    /// Stable code.
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

/// What HubSpot asks to be left alone for where an answer of 477 does not say.
const MIGRATION: Duration = Duration::from_mins(10);
/// A record lock lasts 2 s (HubSpot's error handling guide).
const LOCKED: Duration = Duration::from_secs(2);

/// The token was refused, and so was a renewed one, or there is none.
pub(super) const UNAUTHORIZED: Verdict = Verdict {
    advice: Advice::StopConnection,
    code: "unauthorized",
    remedy: "put a valid token behind the credential reference, then start the connection again",
};

/// The table: every fault, and what is done about it.
pub(super) fn action(endpoint: Endpoint, fault: &Fault) -> Action {
    match fault {
        Fault::NoAnswer { .. } | Fault::Unreadable { .. } => Action::Retry(Duration::ZERO),
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
        (408 | 425, _) => Action::Retry(Duration::ZERO),
        (414, _) => verdict(
            Advice::SkipStream,
            "uri_too_long",
            "something between the worker and HubSpot takes shorter URLs than HubSpot: it has to let 12 kB pass",
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
                "none needed: the next run starts anew; if it comes back, report it",
            )
        }
        (400 | 402..=499, _) => verdict(
            Advice::StopConnection,
            "request_refused",
            "check the base URL and the API version that the worker is configured with",
        ),
        // 5xx of HubSpot and of the proxies before it; and what should not
        // come at all, such as a redirect, which a later answer may explain.
        _ => Action::Retry(retry_after.unwrap_or_default()),
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

/// An error's body. Its `message` can hold values of records, and is not kept.
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

/// Reads the body of an error.
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
                format!(", needs one of the scopes {}", self.scopes.join(", "))
            }
            Category::Revoked => ", the refresh token is revoked".to_owned(),
            Category::BadClient => ", the client is unknown".to_owned(),
            Category::Other | Category::Foreign => String::new(),
        };
        match self.policy {
            Some(Policy::TenSecondly) => words.push_str(", the limit of 10 seconds is reached"),
            Some(Policy::Secondly) => words.push_str(", the limit of a second is reached"),
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
