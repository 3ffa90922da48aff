//! What has become of a check, from the commands and what the worker reports. No I/O.

use schemas::CheckStatus;

use super::Connection;

/// What has become of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckOutcome {
    /// The worker has made it.
    Made(Box<CheckStatus>),
    /// A later check replaced it, or the connection was deleted.
    Superseded,
    /// Neither, yet.
    Pending,
}

impl Connection {
    /// The result of a check, if it is the last one that the worker has made.
    pub(crate) fn check(&self, check_id: &str) -> Option<&CheckStatus> {
        let made = self.whole.as_ref()?.status.check.as_ref()?;
        (made.check_id == check_id).then_some(made)
    }

    /// What has become of a check that some command asked for.
    pub(super) fn check_outcome(&self, check_id: &str) -> CheckOutcome {
        if let Some(made) = self.check(check_id) {
            return CheckOutcome::Made(Box::new(made.clone()));
        }
        let asked = self.last_command().and_then(|it| it.check_id.as_deref());
        if asked == Some(check_id) {
            CheckOutcome::Pending
        } else {
            CheckOutcome::Superseded
        }
    }
}
