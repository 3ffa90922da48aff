//! What the run is told of a call that failed for good.

use schemas::Millis;

use super::{
    call::Call,
    error::{Fault, Verdict},
};
use crate::sync::{Advice, SourceError};

/// Why a call failed for good, and what that asks for.
#[derive(Debug)]
pub(super) struct Failed {
    /// The last fault.
    pub(super) fault: Box<Fault>,
    /// What the run has to do.
    pub(super) error: SourceError,
}

impl From<Failed> for SourceError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Failed {
    pub(super) fn has_status(&self, expected: u16) -> bool {
        matches!(*self.fault, Fault::Status { status, .. } if status == expected)
    }

    /// HubSpot itself failed on what it was asked.
    pub(super) fn is_of_hubspot(&self) -> bool {
        match &*self.fault {
            Fault::Status { status, .. } => (500..=599).contains(status) && *status != 530,
            Fault::Unreadable { .. } => true,
            Fault::NoAnswer { .. } => false,
        }
    }
}

/// It may pass, but not soon.
pub(super) fn rest(call: &Call, fault: Fault, until: Millis) -> Failed {
    tracing::warn!(endpoint = call.endpoint.label(), %fault, "hubspot is left alone for a while");
    let code = match &fault {
        Fault::Status { status: 429, .. } => "rate_limited",
        _ => "hubspot_unavailable",
    };
    let error = SourceError {
        advice: Advice::WaitUntil(until),
        code,
        problem: problem(call, &fault),
        remedy: "none needed: it is tried again; see status.hubspot.com if it lasts".to_owned(),
    };
    Failed {
        fault: Box::new(fault),
        error,
    }
}

pub(super) fn given_up(call: &Call, fault: Fault, verdict: Verdict) -> Failed {
    tracing::warn!(endpoint = call.endpoint.label(), code = verdict.code, %fault,
        "hubspot refuses a request");
    let error = SourceError {
        advice: verdict.advice,
        code: verdict.code,
        problem: problem(call, &fault),
        remedy: verdict.remedy.to_owned(),
    };
    Failed {
        fault: Box::new(fault),
        error,
    }
}

pub(super) fn day_is_over(until: Millis, problem: &str) -> SourceError {
    SourceError {
        advice: Advice::WaitUntil(until),
        code: "daily_limit",
        problem: problem.to_owned(),
        remedy: "none needed: it goes on when HubSpot's counters start anew; raise the \
                 account's limit, or lower the reserve, if it comes back daily"
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
