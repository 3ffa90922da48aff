//! The error of a call that failed for good: what the run does, and what the
//! status shows.

use schemas::Millis;

use super::{
    call::Call,
    error::{Fault, Verdict},
};
use crate::sync::{Advice, ReadError, SourceError};

/// Why a call failed for good.
#[derive(Debug)]
pub(super) struct CallError {
    /// The last fault.
    pub(super) fault: Box<Fault>,
    /// What the run has to do, and what the status shows.
    pub(super) error: SourceError,
    /// HubSpot failed on this request: one that asks for less can work.
    pub(super) may_shrink: bool,
}

impl From<CallError> for SourceError {
    fn from(failed: CallError) -> Self {
        failed.error
    }
}

impl From<CallError> for ReadError {
    fn from(failed: CallError) -> Self {
        Self {
            error: failed.error,
            may_shrink: failed.may_shrink,
        }
    }
}

impl CallError {
    pub(super) fn new(fault: Fault, error: SourceError) -> Self {
        Self {
            fault: Box::new(fault),
            error,
            may_shrink: false,
        }
    }

    pub(super) fn has_status(&self, expected: u16) -> bool {
        matches!(*self.fault, Fault::Status { status, .. } if status == expected)
    }

    /// HubSpot says that there is no such object; a proxy's 404 says nothing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(&*self.fault, Fault::Status { status: 404, detail, .. } if detail.is_hubspots())
    }

    /// HubSpot, or a proxy, refused the request itself.
    pub(super) fn is_refusal(&self) -> bool {
        [400, 403, 404, 405, 410]
            .into_iter()
            .any(|status| self.has_status(status))
    }
}

/// A failure that is transient, but lasts longer than a call is retried.
pub(super) fn unavailable_until(call: &Call, fault: Fault, until: Millis) -> CallError {
    tracing::warn!(endpoint = call.endpoint.label(), %fault,
        "hubspot is unavailable, the run waits");
    let error = unavailable(call, &fault, until);
    CallError::new(fault, error)
}

/// A failure on what the request asks for, or a transient one: the caller finds out
/// which, by asking for less.
pub(super) fn failed_on_request(call: &Call, fault: Fault, until: Millis) -> CallError {
    tracing::warn!(endpoint = call.endpoint.label(), %fault, "hubspot fails on a read of objects");
    let error = unavailable(call, &fault, until);
    CallError {
        may_shrink: true,
        ..CallError::new(fault, error)
    }
}

fn unavailable(call: &Call, fault: &Fault, until: Millis) -> SourceError {
    let code = match fault {
        Fault::Status { status: 429, .. } => "rate_limited",
        _ => "hubspot_unavailable",
    };
    SourceError {
        advice: Advice::WaitUntil(until),
        code,
        problem: problem(call, fault),
        remedy: "none needed: the worker retries; see status.hubspot.com if it lasts".to_owned(),
    }
}

pub(super) fn given_up(call: &Call, fault: Fault, verdict: Verdict) -> CallError {
    tracing::warn!(endpoint = call.endpoint.label(), code = verdict.code, %fault,
        "hubspot refused a request for good");
    let error = SourceError {
        advice: verdict.advice,
        code: verdict.code,
        problem: problem(call, &fault),
        remedy: verdict.remedy.to_owned(),
    };
    CallError::new(fault, error)
}

pub(super) fn daily_limit_until(until: Millis, problem: &str) -> SourceError {
    SourceError {
        advice: Advice::WaitUntil(until),
        code: "daily_limit",
        problem: problem.to_owned(),
        remedy: "none needed: the sync continues when HubSpot resets its counters; raise \
                 the account's limit, or lower the reserve, if it happens daily"
            .to_owned(),
    }
}

fn problem(call: &Call, fault: &Fault) -> String {
    format!(
        "HubSpot, {} ({}): {fault}",
        call.endpoint.label(),
        call.url.path()
    )
}
