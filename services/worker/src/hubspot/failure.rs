//! The error of a call that failed for good: what the run does, and what the
//! status shows.

use schemas::Millis;

use super::{
    call::Call,
    error::{Fault, Verdict},
};
use crate::sync::{Advice, SourceError};

/// Why a call failed for good.
#[derive(Debug)]
pub(super) struct CallError {
    /// The last fault.
    pub(super) fault: Box<Fault>,
    /// What the run has to do, and what the status shows.
    pub(super) error: SourceError,
}

impl From<CallError> for SourceError {
    fn from(failed: CallError) -> Self {
        failed.error
    }
}

impl CallError {
    pub(super) fn has_status(&self, expected: u16) -> bool {
        matches!(*self.fault, Fault::Status { status, .. } if status == expected)
    }

    /// Whether HubSpot itself failed on the request, so that a smaller one may work.
    pub(super) fn is_hubspot_failure(&self) -> bool {
        match &*self.fault {
            Fault::Status { status, .. } => (500..=599).contains(status) && *status != 530,
            Fault::Unreadable { .. } => true,
            Fault::NoAnswer { .. } => false,
        }
    }
}

/// A failure that is transient, but lasts longer than a call is retried.
pub(super) fn unavailable_until(call: &Call, fault: Fault, until: Millis) -> CallError {
    tracing::warn!(endpoint = call.endpoint.label(), %fault,
        "hubspot is unavailable, the run waits");
    let code = match &fault {
        Fault::Status { status: 429, .. } => "rate_limited",
        _ => "hubspot_unavailable",
    };
    let error = SourceError {
        advice: Advice::WaitUntil(until),
        code,
        problem: problem(call, &fault),
        remedy: "none needed: the worker retries; see status.hubspot.com if it lasts".to_owned(),
    };
    CallError {
        fault: Box::new(fault),
        error,
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
    CallError {
        fault: Box::new(fault),
        error,
    }
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
