//! What the worker reports of a whole connection: its state, and how much of HubSpot's
//! limits of its account is used.

use schemas::{Budget, DayUse, Millis, WindowUse};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{body::timestamp, words},
    view::ErrorBody,
};
use crate::control::{LiveConnection, settings::format_interval};

/// The state of a connection that the worker reports.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ObservedBody {
    /// `starting`, `running`, `stopping`, `stopped`, `failed` or `deleted`.
    #[schema(value_type = words::ObservedState)]
    state: String,
    /// Id of the last command applied.
    #[schema(format = "uuid")]
    obeyed: Option<String>,
    /// HubSpot's id of the account.
    portal_id: Option<String>,
    /// Name of the worker process that reported it.
    worker: String,
    /// When it was reported.
    #[schema(format = DateTime)]
    at: String,
    /// Why the connection does not run.
    error: Option<ErrorBody>,
    /// How much of HubSpot's limits of the account is used; null before the first run.
    budget: Option<BudgetBody>,
}

/// How much of HubSpot's limits of the account is used.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct BudgetBody {
    /// When it was reported. A window that has passed since counts as not used.
    #[schema(format = DateTime)]
    at: String,
    /// All requests but searches, those of other apps included as far as HubSpot named
    /// them; null without a limit.
    general: Option<WindowUseBody>,
    /// Searches; null without a limit.
    search: Option<WindowUseBody>,
    /// The account's day; null if it has no daily limit or HubSpot has not named it.
    day: Option<DayUseBody>,
}

/// How much of a limit per window is used.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct WindowUseBody {
    /// Requests that counted in the window.
    #[schema(minimum = 0)]
    used: i32,
    /// Requests per window.
    #[schema(minimum = 0)]
    limit: i32,
    /// Length of the window.
    #[schema(example = "10s")]
    window: String,
}

/// How much of the daily limit is used.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct DayUseBody {
    /// Requests of this day, of all of the account's apps.
    #[schema(minimum = 0)]
    used: i64,
    /// Requests per day.
    #[schema(minimum = 0)]
    limit: i64,
    /// When the day of the account ends.
    #[schema(format = DateTime)]
    resets_at: String,
}

/// What was reported last, as it is at `now`; `None` before the first report.
pub(super) fn observed(it: LiveConnection<'_>, now: Millis) -> Option<ObservedBody> {
    let whole = it.connection.whole.as_ref()?;
    let status = &whole.status;
    Some(ObservedBody {
        state: status.state.clone(),
        obeyed: status.applied.clone(),
        portal_id: status.portal_id.map(|id| id.to_string()),
        worker: status.worker.clone(),
        at: timestamp(whole.at),
        error: status.error.as_ref().map(ErrorBody::from),
        budget: budget(it, now).map(BudgetBody::from),
    })
}

/// By the name of each limit, how many requests are used, and of how many.
pub(in crate::api) fn used(
    it: LiveConnection<'_>,
    now: Millis,
) -> impl Iterator<Item = (&'static str, i64, i64)> {
    let last = budget(it, now).unwrap_or_default();
    let window = |it: WindowUse| (i64::from(it.used), i64::from(it.limit));
    let limits = [
        ("general", last.general.map(window)),
        ("search", last.search.map(window)),
        ("day", last.day.map(|it| (it.used, it.limit))),
    ];
    let known = limits.into_iter();
    known.filter_map(|(name, it)| it.map(|(used, limit)| (name, used, limit)))
}

/// What the streams have reported last, as it is at `now`.
fn budget(it: LiveConnection<'_>, now: Millis) -> Option<Budget> {
    let reported = it.connection.streams.values();
    let last = reported
        .filter_map(|it| it.status.budget)
        .max_by_key(|it| it.at)?;
    Some(as_of(last, now))
}

/// Nothing of a window or a day that has passed is used.
fn as_of(mut last: Budget, now: Millis) -> Budget {
    let at = last.at;
    for window in [&mut last.general, &mut last.search].into_iter().flatten() {
        if at + Millis::from(window.window_ms) <= now {
            window.used = 0;
        }
    }
    if let Some(day) = &mut last.day
        && day.resets_at <= now
    {
        day.used = 0;
    }
    last
}

impl From<Budget> for BudgetBody {
    fn from(budget: Budget) -> Self {
        Self {
            at: timestamp(budget.at),
            general: budget.general.map(WindowUseBody::from),
            search: budget.search.map(WindowUseBody::from),
            day: budget.day.map(DayUseBody::from),
        }
    }
}

impl From<WindowUse> for WindowUseBody {
    fn from(window: WindowUse) -> Self {
        Self {
            used: window.used,
            limit: window.limit,
            window: format_interval(Millis::from(window.window_ms)),
        }
    }
}

impl From<DayUse> for DayUseBody {
    fn from(day: DayUse) -> Self {
        Self {
            used: day.used,
            limit: day.limit,
            resets_at: timestamp(day.resets_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_or_a_day_that_has_passed_is_not_used() {
        let last = Budget {
            at: 1_000_000,
            general: Some(WindowUse {
                limit: 190,
                used: 150,
                window_ms: 10_000,
            }),
            search: None,
            day: Some(DayUse {
                limit: 250_000,
                used: 9_000,
                resets_at: 2_000_000,
            }),
        };
        let used = |now| {
            let body = BudgetBody::from(as_of(last, now));
            (body.general.map(|it| it.used), body.day.map(|it| it.used))
        };
        assert_eq!(used(1_005_000), (Some(150), Some(9_000)));
        assert_eq!(used(1_010_000), (Some(0), Some(9_000)));
        assert_eq!(used(2_000_000), (Some(0), Some(0)));
        assert!(BudgetBody::from(as_of(last, 0)).search.is_none());
    }
}
