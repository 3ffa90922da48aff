//! The daily allowance, of which a reserve is left for the customer's other tools.

use schemas::{DayUse, Millis};
use tokio::sync::watch;

const DAY_MS: i64 = 86_400_000;
/// Added to the time of a reset, as HubSpot may reset its counters a little late.
const SLACK_MS: i64 = 5_000;

/// The daily allowance, as far as it is known.
#[derive(Debug)]
pub(in crate::hubspot) struct Daily {
    state: watch::Sender<DailyState>,
    reserve_percent: u32,
    enforced: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct DailyState {
    allowance: Option<Allowance>,
    /// The reset until which HubSpot refuses requests.
    exhausted_until: Option<Millis>,
    /// Offset of the account's time zone from UTC.
    utc_offset_ms: i64,
    /// The next reset, from account info.
    resets_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    limit: i64,
    remaining: i64,
    /// The reset at which the numbers become invalid.
    valid_until: Millis,
}

impl Daily {
    /// Keeps `reserve_percent` of the allowance. If not `enforced`, only a
    /// refusal by HubSpot blocks requests.
    pub(in crate::hubspot) fn new(reserve_percent: u32, enforced: bool) -> Self {
        Self {
            state: watch::Sender::default(),
            reserve_percent,
            enforced,
        }
    }

    /// The time until which no request may be sent, if there is one.
    pub(in crate::hubspot) fn blocked_until(&self, now: Millis) -> Option<Millis> {
        let state = *self.state.borrow();
        if let Some(until) = state.exhausted_until.filter(|until| *until > now) {
            return Some(until);
        }
        let allowance = self.allowance(now)?;
        allowance
            .is_down_to(self.reserve_percent)
            .then_some(allowance.valid_until)
    }

    /// The next reset, if at most `percent` of the allowance is left. `None` if
    /// the allowance is unknown or not enforced.
    pub(in crate::hubspot) fn reset_if_down_to(&self, percent: u32, now: Millis) -> Option<Millis> {
        let is_down = self.allowance(now)?.is_down_to(percent);
        is_down.then(|| self.next_reset(now))
    }

    /// Whether the allowance is enforced, known and still valid.
    pub(in crate::hubspot) fn is_known(&self, now: Millis) -> bool {
        self.allowance(now).is_some()
    }

    /// The allowance, if it is enforced, known and still valid.
    fn allowance(&self, now: Millis) -> Option<Allowance> {
        let allowance = self.state.borrow().allowance?;
        (self.enforced && allowance.valid_until > now).then_some(allowance)
    }

    /// How much of the allowance is used; `None` if it is unknown or not enforced.
    pub(in crate::hubspot) fn used(&self, now: Millis) -> Option<DayUse> {
        let allowance = self.allowance(now)?;
        Some(DayUse {
            limit: allowance.limit,
            used: allowance.limit.saturating_sub(allowance.remaining),
            resets_at: allowance.valid_until,
        })
    }

    /// An answer named the allowance and what is left of it, in requests.
    pub(in crate::hubspot) fn observe(&self, limit: i64, remaining: i64, now: Millis) {
        if limit > 0 {
            self.state.send_modify(|state| {
                let valid_until = state.next_reset(now);
                state.allowance = Some(Allowance {
                    limit,
                    remaining,
                    valid_until,
                });
            });
        }
    }

    /// Sets the offset of the account's time zone, from account info.
    pub(in crate::hubspot) fn set_utc_offset(&self, utc_offset_ms: i64) {
        self.state
            .send_modify(|state| state.utc_offset_ms = utc_offset_ms);
    }

    /// Sets the next reset, from account info.
    pub(in crate::hubspot) fn set_resets_at(&self, resets_at: Millis) {
        self.state
            .send_modify(|state| state.resets_at = Some(resets_at));
    }

    /// When HubSpot next resets its counters.
    pub(in crate::hubspot) fn next_reset(&self, now: Millis) -> Millis {
        self.state.borrow().next_reset(now)
    }

    /// HubSpot refused a request because of the daily limit. Returns the next
    /// reset, until which no request is sent.
    pub(in crate::hubspot) fn refused(&self, now: Millis) -> Millis {
        let mut until = now;
        self.state.send_modify(|state| {
            until = state.next_reset(now);
            state.exhausted_until = Some(until);
        });
        until
    }
}

impl Allowance {
    /// Whether at most `percent` of the limit is left.
    fn is_down_to(&self, percent: u32) -> bool {
        let share = self
            .limit
            .saturating_mul(i64::from(percent))
            .div_euclid(100);
        self.remaining <= share
    }
}

impl DailyState {
    /// The next reset: the time from account info, or midnight in the account's
    /// time zone.
    fn next_reset(&self, now: Millis) -> Millis {
        let announced = self
            .resets_at
            .filter(|at| *at > now && *at <= now.saturating_add(DAY_MS));
        let midnight = || {
            let local = now.saturating_add(self.utc_offset_ms);
            (local.div_euclid(DAY_MS) + 1) * DAY_MS - self.utc_offset_ms
        };
        announced.unwrap_or_else(midnight).saturating_add(SLACK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Millis = 20_000 * DAY_MS + DAY_MS / 2;
    const MIDNIGHT: Millis = 20_001 * DAY_MS + SLACK_MS;

    #[test]
    fn the_reserve_blocks_requests_until_the_reset() {
        let daily = Daily::new(10, true);
        assert_eq!(daily.blocked_until(NOON), None);
        daily.observe(1_000, 101, NOON);
        assert_eq!(daily.blocked_until(NOON), None);
        daily.observe(1_000, 100, NOON);
        assert_eq!(daily.blocked_until(NOON), Some(MIDNIGHT));
        assert_eq!(
            daily.blocked_until(MIDNIGHT),
            None,
            "a new day, a new allowance"
        );
    }

    #[test]
    fn the_reset_is_midnight_in_the_accounts_time_zone() {
        let daily = Daily::new(10, true);
        daily.set_utc_offset(-5 * 3_600_000);
        assert_eq!(daily.refused(NOON), MIDNIGHT + 5 * 3_600_000);
        assert!(daily.blocked_until(NOON).is_some());
    }

    #[test]
    fn the_reset_that_hubspot_names_is_used_until_it_has_passed() {
        let daily = Daily::new(10, true);
        daily.set_resets_at(NOON + 60_000);
        assert_eq!(daily.refused(NOON), NOON + 60_000 + SLACK_MS);
        assert_eq!(daily.refused(NOON + 60_000), MIDNIGHT);
    }
}
