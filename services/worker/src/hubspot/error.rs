//! The table of what is done about each failure of HubSpot: [`action`] maps a
//! fault to an [`Action`]. Nothing else decides this.

mod detail;

use std::time::Duration;

pub(super) use self::detail::{Category, Detail, Policy};
use super::call::Endpoint;
use crate::sync::{Advice, Capability};

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
    /// The credential leads to another account than before.
    #[error(
        "the credential now leads to account {found}, the connection's data is of account {expected}"
    )]
    OtherPortal {
        /// The account of the connection's data.
        expected: i64,
        /// The account of the credential.
        found: i64,
    },
    /// Any status but success.
    #[error("status {status}{}{}", asked_pause(.retry_after.as_ref()), .detail.as_words())]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the body says.
        detail: Detail,
        /// The time in the `Retry-After` header.
        retry_after: Option<Duration>,
    },
}

/// What to do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Send the request again after a growing pause, at least this long.
    Retry(Duration),
    /// The same, but only a few times: HubSpot may have failed on what this request asks
    /// for, so that one that asks for less can work.
    RetryOrShrink(Duration),
    /// The same as [`Self::Retry`], and this once no more attempts are made.
    RetryThen(Verdict),
    /// Pause the rate limit's bucket, then send the request again.
    PauseBucket,
    /// Wait until HubSpot resets its daily counters.
    WaitForReset,
    /// Send nothing to the account for this long.
    PauseAccount(Duration),
    /// Get another token, once, and send the request again.
    RenewToken,
    /// Do not send the request again; one that asks for less can work.
    Shrink(Verdict),
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

/// The pause that HubSpot asks for, for messages.
fn asked_pause(retry_after: Option<&Duration>) -> String {
    retry_after.map_or_else(String::new, |pause| {
        format!(", to be tried again after {} s", pause.as_secs())
    })
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
    remedy: "put a valid token behind the credential reference: the worker reads it again at \
             growing intervals, or at once when the connection is started",
};
/// A token that was read again or refreshed leads to another account.
pub(super) const OTHER_PORTAL: Verdict = Verdict {
    advice: Advice::StopConnection,
    code: "portal_changed",
    remedy: "use a credential of the first account, or another connection for this one",
};
const UNKNOWN_TYPE: Verdict = Verdict {
    advice: Advice::SkipStream,
    code: "unknown_object_type",
    remedy: "check the name of the stream; custom objects are named 2-123 or p_name",
};
const BASE_URL: &str = "check the base URL and the API version that the worker is configured with";

/// The action for a failure of HubSpot. `status_action` decides by the status; for the
/// statuses of refusals, `refusal_action` decides by the endpoint.
pub(super) fn action(endpoint: Endpoint, fault: &Fault) -> Action {
    match fault {
        Fault::NoConnection { .. } => Action::Retry(Duration::ZERO),
        Fault::NoAnswer { .. } | Fault::Unreadable { .. } => {
            retry_or_shrink(endpoint, Duration::ZERO)
        }
        Fault::OtherPortal { .. } => Action::GiveUp(OTHER_PORTAL),
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
    let at_least = retry_after.unwrap_or_default();
    match (status, endpoint) {
        (400 | 401 | 403, Endpoint::Token) => token_action(detail, at_least),
        (401, _) => Action::RenewToken,
        (414, _) => verdict(
            Advice::SkipStream,
            "uri_too_long",
            "let the proxy between the worker and HubSpot accept URLs of 12 kB",
        ),
        (423, _) => Action::Retry(at_least.max(LOCKED)),
        (425, _) => Action::Retry(at_least),
        (429, _) if detail.policy == Some(Policy::Daily) => Action::WaitForReset,
        (429, _) => Action::PauseBucket,
        (477, _) => Action::PauseAccount(retry_after.unwrap_or(MIGRATION)),
        (404, Endpoint::Account | Endpoint::Token) => {
            verdict(Advice::StopConnection, "unknown_api_version", BASE_URL)
        }
        (400..=407 | 409..=499, _) => {
            let refusal = refusal_action(endpoint, status, detail);
            let is_for_one_id = endpoint == Endpoint::Associations
                && status == 400
                && refusal.advice == Advice::EndRun;
            match refusal {
                // One id that HubSpot does not accept makes it refuse the whole request.
                _ if detail.is_hubspots() && is_for_one_id => Action::Shrink(refusal),
                _ if detail.is_hubspots() => Action::GiveUp(refusal),
                // HubSpot answers paths that it does not have in HTML, as proxies do.
                Verdict {
                    advice: Advice::DoWithout(_),
                    ..
                } => Action::RetryThen(refusal),
                Verdict { .. } => Action::Retry(at_least),
            }
        }
        // Of HubSpot and of proxies in front of it.
        (408 | 500..=599, _) => retry_or_shrink(endpoint, at_least),
        // A status that is not expected, such as a redirect: it may be transient.
        _ => Action::Retry(at_least),
    }
}

/// What HubSpot refuses: an account, a stream, what a stream's type does not have, or
/// this request. Only the account and the token endpoint can end a connection.
fn refusal_action(endpoint: Endpoint, status: u16, detail: &Detail) -> Verdict {
    let refused = |advice, remedy| Verdict {
        advice,
        code: "request_refused",
        remedy,
    };
    match (status, endpoint) {
        (403, Endpoint::Account | Endpoint::Token) => Verdict {
            advice: Advice::StopConnection,
            code: "forbidden",
            remedy: "check in HubSpot that the app or key is active and may read this account",
        },
        (_, Endpoint::Account | Endpoint::Token) => refused(Advice::StopConnection, BASE_URL),
        // Whoever asks goes on without.
        (_, Endpoint::Usage | Endpoint::RecordCounts | Endpoint::TokenInfo) => {
            refused(Advice::EndRun, BASE_URL)
        }
        (400 | 403 | 404 | 405 | 410, Endpoint::Sensitive(kind)) => Verdict {
            advice: Advice::DoWithout(kind),
            code: "no_sensitive_properties",
            remedy: kind.cost(),
        },
        (403, _) => Verdict {
            advice: Advice::SkipStream,
            code: "missing_scope",
            remedy: "give the app or key the scope that HubSpot names, and see that the user who \
                     made it may read these objects; the worker tries again at growing \
                     intervals, or at once when the connection is started",
        },
        (400 | 404, _) if detail.is_unknown_type => UNKNOWN_TYPE,
        (400 | 404 | 405 | 410, Endpoint::FirstArchivedPage) => Verdict {
            advice: Advice::DoWithout(Capability::ArchivedList),
            code: "no_archived_list",
            remedy: Capability::ArchivedList.cost(),
        },
        (404 | 405 | 410, Endpoint::Search) => Verdict {
            advice: Advice::DoWithout(Capability::Search),
            code: "no_search",
            remedy: Capability::Search.cost(),
        },
        (404 | 405 | 410, Endpoint::BatchRead) => Verdict {
            advice: Advice::DoWithout(Capability::BatchRead),
            code: "no_batch_read",
            remedy: Capability::BatchRead.cost(),
        },
        (404, _) | (400, Endpoint::Properties) => UNKNOWN_TYPE,
        (400 | 409 | 413 | 422, _) => refused(
            Advice::EndRun,
            "none needed: the next run starts again; report it if this happens repeatedly",
        ),
        _ => refused(
            Advice::SkipStream,
            "none needed: the worker tries again at growing intervals; report it if it lasts",
        ),
    }
}

/// Sends again what may be transient. A read of several objects may also be too much, or
/// have an object that HubSpot cannot give.
fn retry_or_shrink(endpoint: Endpoint, at_least: Duration) -> Action {
    match endpoint {
        Endpoint::List
        | Endpoint::FirstArchivedPage
        | Endpoint::BatchRead
        | Endpoint::Read
        | Endpoint::Associations => Action::RetryOrShrink(at_least),
        Endpoint::Account
        | Endpoint::Usage
        | Endpoint::Token
        | Endpoint::TokenInfo
        | Endpoint::Properties
        | Endpoint::Sensitive(_)
        | Endpoint::Search
        | Endpoint::RecordCounts => Action::Retry(at_least),
    }
}

fn token_action(detail: &Detail, at_least: Duration) -> Action {
    match detail.category {
        Category::Revoked => verdict(
            Advice::StopConnection,
            "revoked",
            "authorise the app again, put the new refresh token behind the credential \
             reference, then start the connection again",
        ),
        Category::Other if !detail.is_hubspots() => Action::Retry(at_least),
        Category::BadClient | Category::MissingScopes | Category::Other => verdict(
            Advice::StopConnection,
            "credential_invalid",
            "check client_id, client_secret and refresh_token of the credential",
        ),
    }
}

#[cfg(test)]
mod tests;
