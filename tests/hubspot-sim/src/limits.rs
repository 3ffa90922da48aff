//! HubSpot's rate limits: rolling windows, and a limit per day.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    auth::{Caller, TokenKind},
    config::Limits,
    timestamps::DAY_MS,
};

/// The limit that a request exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Requests of a token in 10 s.
    TenSecondlyRolling,
    /// Searches in a second.
    Secondly,
    /// As `Secondly`, with the older body, which names no policy.
    SecondlyUnnamed,
    /// Requests in a day.
    Daily,
}

/// The bucket that counts a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bucket {
    General,
    Search,
    Associations,
    /// Not counted: requests for and about tokens.
    Free,
}

/// The limits that the headers of an answer name.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) max: u32,
    pub(crate) remaining: u32,
    pub(crate) daily: Option<(u32, u32)>,
}

/// The buckets of one portal.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    general: HashMap<String, VecDeque<Instant>>,
    search: VecDeque<Instant>,
    associations: VecDeque<Instant>,
    day: i64,
    used: u32,
    /// Requests of service keys among those used today.
    used_by_keys: u32,
}

impl Buckets {
    /// Counts a request, or returns the limit that it exceeds.
    pub(crate) fn take(
        &mut self,
        limits: &Limits,
        bucket: Bucket,
        caller: &Caller,
        (now, local_ms): (Instant, i64),
    ) -> Result<Option<Allowance>, Policy> {
        if bucket == Bucket::Free {
            return Ok(None);
        }
        let day = local_ms.div_euclid(DAY_MS);
        if day != self.day {
            let first = self.day == 0;
            self.day = day;
            self.used = if first { limits.daily_used } else { 0 };
            self.used_by_keys = 0;
        }
        let oauth = caller.kind == TokenKind::OAuth;
        let daily = limits.daily.filter(|_| !oauth);
        if daily.is_some_and(|daily| self.used >= daily) {
            return Err(Policy::Daily);
        }
        let (window, limit, span, policy) = match bucket {
            Bucket::Search => (
                &mut self.search,
                limits.search,
                Duration::from_secs(1),
                Policy::Secondly,
            ),
            Bucket::Associations => (
                &mut self.associations,
                limits.associations,
                Duration::from_secs(10),
                Policy::TenSecondlyRolling,
            ),
            Bucket::General | Bucket::Free => (
                self.general.entry(caller.key.clone()).or_default(),
                if oauth { limits.oauth } else { limits.general },
                Duration::from_secs(10),
                Policy::TenSecondlyRolling,
            ),
        };
        let mut allowance = None;
        if let Some(max) = limit {
            while window
                .front()
                .is_some_and(|first| now.duration_since(*first) >= span)
            {
                window.pop_front();
            }
            let taken = u32::try_from(window.len()).unwrap_or(u32::MAX);
            if taken >= max {
                return Err(policy);
            }
            window.push_back(now);
            if bucket == Bucket::General {
                allowance = Some(Allowance {
                    max,
                    remaining: max - taken - 1,
                    daily: None,
                });
            }
        }
        if oauth {
            return Ok(allowance);
        }
        self.used += 1;
        if caller.kind == TokenKind::ServiceKey {
            self.used_by_keys += 1;
        }
        if let Some(allowance) = &mut allowance {
            allowance.daily = daily.map(|daily| (daily, daily.saturating_sub(self.used)));
        }
        Ok(allowance)
    }

    /// Requests today as the usage endpoint counts them: without service keys.
    pub(crate) fn used_today(&self, limits: &Limits) -> u32 {
        if self.day == 0 {
            limits.daily_used
        } else {
            self.used - self.used_by_keys
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(kind: TokenKind) -> Caller {
        Caller {
            kind,
            key: "t".to_owned(),
        }
    }

    #[test]
    fn a_window_is_rolling() {
        let limits = Limits {
            search: Some(2),
            ..Limits::default()
        };
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let mut at = |ms| {
            buckets.take(
                &limits,
                Bucket::Search,
                &Caller::default(),
                (start + Duration::from_millis(ms), 1),
            )
        };
        assert!(at(0).is_ok());
        assert!(at(600).is_ok());
        assert_eq!(at(999).unwrap_err(), Policy::Secondly);
        assert!(at(1_000).is_ok());
        assert_eq!(at(1_599).unwrap_err(), Policy::Secondly);
    }

    #[test]
    fn the_day_ends_at_midnight_of_the_account() {
        let limits = Limits {
            daily: Some(2),
            daily_used: 1,
            ..Limits::default()
        };
        let mut buckets = Buckets::default();
        let now = Instant::now();
        let left = buckets
            .take(&limits, Bucket::General, &Caller::default(), (now, DAY_MS))
            .unwrap()
            .unwrap();
        assert_eq!(left.daily, Some((2, 0)));
        let over = buckets.take(
            &limits,
            Bucket::Search,
            &Caller::default(),
            (now, DAY_MS + 1),
        );
        assert_eq!(over.unwrap_err(), Policy::Daily);
        assert!(
            buckets
                .take(
                    &limits,
                    Bucket::Search,
                    &Caller::default(),
                    (now, 2 * DAY_MS)
                )
                .is_ok()
        );
    }

    #[test]
    fn oauth_has_a_limit_of_its_own_and_none_for_the_day() {
        let limits = Limits {
            daily: Some(1),
            ..Limits::default()
        };
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let oauth = caller(TokenKind::OAuth);
        let mut take = |caller| buckets.take(&limits, Bucket::General, caller, (now, DAY_MS));
        for left in (0..110).rev() {
            let allowance = take(&oauth).unwrap().unwrap();
            assert_eq!((allowance.max, allowance.remaining), (110, left));
            assert_eq!(allowance.daily, None);
        }
        assert_eq!(take(&oauth).unwrap_err(), Policy::TenSecondlyRolling);
        // The day's only request is still free for the private app.
        let private = caller(TokenKind::PrivateApp);
        let private = Caller {
            key: "u".to_owned(),
            ..private
        };
        assert_eq!(take(&private).unwrap().unwrap().daily, Some((1, 0)));
        assert_eq!(take(&private).unwrap_err(), Policy::Daily);
    }

    #[test]
    fn requests_of_a_service_key_are_in_the_headers_only() {
        let limits = Limits::default();
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let key = caller(TokenKind::ServiceKey);
        let allowance = buckets
            .take(&limits, Bucket::General, &key, (now, DAY_MS))
            .unwrap()
            .unwrap();
        assert_eq!(allowance.max, 190);
        assert_eq!(allowance.daily, Some((625_000, 624_999)));
        assert_eq!(buckets.used_today(&limits), 0);
    }
}
