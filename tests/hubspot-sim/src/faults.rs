//! Faults: scripted ones, and random ones.

use std::sync::{Mutex, PoisonError};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{limits::Policy, route::Kind};

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// An answer with this status.
    Status {
        /// The status code.
        code: u16,
        /// The form of its body.
        #[serde(default)]
        body: FaultBody,
        /// `Retry-After` in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// A 429 with this policy.
    RateLimited {
        /// The limit that the answer names.
        policy: Policy,
        /// `Retry-After` in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The connection is reset before the answer.
    Reset,
    /// The answer breaks off after that many bytes of its body.
    CutBody {
        /// Bytes that are sent.
        after: usize,
    },
    /// The body is sent in pieces.
    SlowBody {
        /// Number of pieces.
        pieces: usize,
        /// Pause between two pieces, in ms.
        pause_ms: u64,
    },
    /// The answer is delayed.
    Delay {
        /// By how many ms.
        ms: u64,
    },
    /// The answer is never sent.
    Stall,
    /// 401: the token has expired. An OAuth token stays expired.
    ExpireToken,
    /// 401: the token is not known.
    UnknownToken,
    /// 403: a scope is missing.
    MissingScope,
    /// 200 with something that is not JSON.
    NotJson,
}

/// The body of an error.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultBody {
    /// HubSpot's error body.
    #[default]
    Json,
    /// The HTML page of a proxy.
    Html,
    /// No body.
    Empty,
}

/// A fault, and the requests that get it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only requests of that kind.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// Only requests for that object type.
    #[serde(default)]
    pub object_type: Option<String>,
    /// Only requests of that portal.
    #[serde(default)]
    pub portal_id: Option<u64>,
    /// Matching requests to answer normally first.
    #[serde(default)]
    pub skip: u32,
    /// Matching requests that then get the fault; 1 by default.
    #[serde(default = "once")]
    pub times: u32,
    /// The fault.
    pub fault: Fault,
}

fn once() -> u32 {
    1
}

impl Rule {
    /// The next request of that kind gets the fault.
    pub fn next(kind: Kind, fault: Fault) -> Self {
        Self {
            kind: Some(kind),
            ..Self::any(fault)
        }
    }

    /// The next request of any kind gets the fault.
    pub fn any(fault: Fault) -> Self {
        Self {
            kind: None,
            object_type: None,
            portal_id: None,
            skip: 0,
            times: 1,
            fault,
        }
    }

    /// Only requests for that object type.
    #[must_use]
    pub fn of(mut self, object_type: &str) -> Self {
        self.object_type = Some(object_type.to_owned());
        self
    }

    /// That many requests get the fault.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// That many requests are answered normally first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }
}

/// The rules, and the share of random faults.
#[derive(Debug)]
pub struct Faults {
    inner: Mutex<(Vec<Rule>, StdRng, f64)>,
}

impl Faults {
    pub(crate) fn new(random_percent: f64, seed: u64) -> Self {
        Self {
            inner: Mutex::new((Vec::new(), StdRng::seed_from_u64(seed), random_percent)),
        }
    }

    /// Adds a rule after the others.
    pub fn push(&self, rule: Rule) {
        self.lock().0.push(rule);
    }

    /// Removes all rules and ends random faults.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.0.clear();
        inner.2 = 0.0;
    }

    /// Sets the share of requests that get a random fault, in percent.
    pub fn set_random_percent(&self, percent: f64) {
        self.lock().2 = percent;
    }

    /// Rules that are not used up.
    pub fn waiting(&self) -> Vec<Rule> {
        self.lock().0.clone()
    }

    /// The fault of a request, if it gets one.
    pub(crate) fn for_request(
        &self,
        kind: Kind,
        object_type: &str,
        portal_id: u64,
    ) -> Option<Fault> {
        let mut inner = self.lock();
        let (rules, rng, percent) = &mut *inner;
        let hit = rules.iter_mut().find(|rule| {
            rule.kind.is_none_or(|it| it == kind)
                && rule
                    .object_type
                    .as_deref()
                    .is_none_or(|it| it == object_type)
                && rule.portal_id.is_none_or(|it| it == portal_id)
        });
        if let Some(rule) = hit {
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            rule.times = rule.times.saturating_sub(1);
            let fault = rule.fault.clone();
            rules.retain(|rule| rule.times > 0);
            return Some(fault);
        }
        let faulty = *percent > 0.0 && rng.random_bool((*percent / 100.0).clamp(0.0, 1.0));
        faulty.then(|| random(rng, kind))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<Rule>, StdRng, f64)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A random transient fault.
fn random(rng: &mut StdRng, kind: Kind) -> Fault {
    match rng.random_range(0..8) {
        0 => Fault::Status {
            code: 500,
            body: FaultBody::Json,
            retry_after: None,
        },
        1 => Fault::Status {
            code: 502,
            body: FaultBody::Html,
            retry_after: None,
        },
        2 => Fault::Status {
            code: 503,
            body: FaultBody::Empty,
            retry_after: Some(1),
        },
        3 if kind == Kind::Search => Fault::RateLimited {
            policy: Policy::Secondly,
            retry_after: None,
        },
        3 => Fault::RateLimited {
            policy: Policy::TenSecondlyRolling,
            retry_after: None,
        },
        4 => Fault::Reset,
        5 => Fault::CutBody {
            after: rng.random_range(0..2_000),
        },
        6 => Fault::SlowBody {
            pieces: 5,
            pause_ms: 50,
        },
        _ => Fault::Delay {
            ms: rng.random_range(10..800),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_apply_in_order_and_are_used_up() {
        let faults = Faults::new(0.0, 1);
        faults.push(Rule::next(Kind::List, Fault::Reset).after(1).of("contacts"));
        faults.push(Rule::any(Fault::Stall));
        assert_eq!(faults.for_request(Kind::List, "contacts", 1), None);
        assert_eq!(
            faults.for_request(Kind::Search, "contacts", 1),
            Some(Fault::Stall)
        );
        assert_eq!(faults.for_request(Kind::List, "companies", 1), None);
        assert_eq!(
            faults.for_request(Kind::List, "contacts", 1),
            Some(Fault::Reset)
        );
        assert!(faults.waiting().is_empty());
    }
}
