//! When a connection that has failed is tried again.

use std::time::Duration;

use schemas::Problem;
use tokio::time::Instant;

use crate::schedule;

/// For so long after it has worked, a token that is refused counts as one that may be
/// accepted again: HubSpot was seen to refuse good ones for some minutes.
const REFUSED_FOR: Duration = Duration::from_mins(3);

/// The failures of a connection in a row.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: i32,
    /// When a token was first refused that had worked.
    refused_at: Option<Instant>,
    /// Whether the last failure was of a token.
    is_refusal: bool,
}

impl Failures {
    /// Counts a failure of a connection that `has_worked` before it. Returns the pause
    /// before the next try.
    pub(super) fn add(&mut self, problem: &Problem, has_worked: bool) -> Duration {
        self.is_refusal = problem.code == "unauthorized";
        if self.is_refusal && has_worked && self.refused_at.is_none() {
            self.refused_at = Some(Instant::now());
        }
        self.count = self.count.saturating_add(1);
        Duration::from_millis(schedule::reconnect(self.count).unsigned_abs())
    }

    /// Whether the last failure is one that may pass by itself.
    pub(super) fn are_passing(&self) -> bool {
        let is_recent = self.refused_at.is_some_and(|at| at.elapsed() < REFUSED_FOR);
        self.is_refusal && is_recent
    }
}
