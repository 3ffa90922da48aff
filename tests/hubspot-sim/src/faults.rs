//! Which request gets which fault: scripted ones, and random ones.

mod fault;
mod refusal;
mod rule;
pub(crate) mod scripted;

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

pub use fault::{Fault, FaultBody};
pub use refusal::Refusal;
pub(crate) use rule::Asked;
pub use rule::Rule;

use crate::{limits::Policy, route::Kind};

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

    /// Adds a rule after the others. One for several missed ids becomes one for each.
    pub fn push(&self, rule: Rule) {
        let rules = &mut self.lock().0;
        match &rule.fault {
            Fault::MissedIds { ids } => rules.extend(ids.iter().map(|id| Rule {
                fault: Fault::MissedIds { ids: vec![*id] },
                ..rule.clone()
            })),
            _ => rules.push(rule),
        }
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

    /// The fault of a request, if it gets one that replaces or damages the answer.
    pub(crate) fn of_request(&self, asked: Asked<'_>) -> Option<Fault> {
        let mut inner = self.lock();
        let (rules, rng, percent) = &mut *inner;
        let hit = rules
            .iter_mut()
            .find(|rule| rule.matches(asked) && !rule.fault.is_of_endpoint());
        if let Some(rule) = hit {
            let fault = rule.count().then(|| rule.fault.clone());
            rules.retain(|rule| rule.times > 0);
            return fault;
        }
        let faulty = *percent > 0.0 && rng.random_bool((*percent / 100.0).clamp(0.0, 1.0));
        faulty.then(|| random(rng, asked.kind))
    }

    /// The first effect of the faults that an endpoint applies itself. Where `effect`
    /// returns `None`, the request does not count for that rule. Its second argument
    /// is the number of a draw, for random effects.
    pub(crate) fn of_endpoint<T>(
        &self,
        asked: Asked<'_>,
        mut effect: impl FnMut(&Fault, u64) -> Option<T>,
    ) -> Option<T> {
        let mut inner = self.lock();
        let rules = &mut inner.0;
        let mut found = None;
        for rule in rules.iter_mut().filter(|rule| rule.fault.is_of_endpoint()) {
            if !rule.matches(asked) {
                continue;
            }
            rule.draws += 1;
            if let Some(wrong) = effect(&rule.fault, rule.draws)
                && rule.count()
            {
                found = Some(wrong);
                break;
            }
        }
        rules.retain(|rule| rule.times > 0);
        found
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Rule>, StdRng, f64)> {
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

    fn asked(kind: Kind, object_type: &str) -> Asked<'_> {
        Asked {
            kind,
            object_type,
            portal_id: 1,
            token: "t",
        }
    }

    #[test]
    fn rules_apply_in_order_and_are_used_up() {
        let faults = Faults::new(0.0, 1);
        faults.push(Rule::next(Kind::List, Fault::Reset).after(1).of("contacts"));
        faults.push(Rule::any(Fault::Stall));
        let fault = |kind, name| faults.of_request(asked(kind, name));
        assert_eq!(fault(Kind::List, "contacts"), None);
        assert_eq!(fault(Kind::Search, "contacts"), Some(Fault::Stall));
        assert_eq!(fault(Kind::List, "companies"), None);
        assert_eq!(fault(Kind::List, "contacts"), Some(Fault::Reset));
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn a_fault_of_the_endpoint_counts_only_requests_that_it_changes() {
        let faults = Faults::new(0.0, 1);
        let no_paging = Fault::NoPaging { holding: None };
        faults.push(Rule::any(no_paging).after(1).with_token("t"));
        let list = asked(Kind::List, "contacts");
        let hit = |asked, effect: Option<()>| faults.of_endpoint(asked, |_, _| effect).is_some();
        assert_eq!(faults.of_request(list), None);
        assert!(!hit(asked(Kind::Search, "contacts"), Some(())));
        assert!(!hit(Asked { token: "u", ..list }, Some(())));
        assert!(!hit(list, None));
        assert!(!hit(list, Some(())));
        assert!(hit(list, Some(())));
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn each_missed_id_has_a_rule_of_its_own() {
        let faults = Faults::new(0.0, 1);
        faults.push(Rule::any(Fault::MissedIds { ids: vec![5, 6] }));
        let ids: Vec<Fault> = faults.waiting().into_iter().map(|it| it.fault).collect();
        let missed = |id| Fault::MissedIds { ids: vec![id] };
        assert_eq!(ids, [missed(5), missed(6)]);
    }

    #[test]
    fn a_rule_for_always_stays_until_it_is_cleared() {
        let faults = Faults::new(0.0, 1);
        faults.push(Rule::any(Fault::Reset).always());
        for _ in 0..5 {
            let fault = faults.of_request(asked(Kind::List, "contacts"));
            assert_eq!(fault, Some(Fault::Reset));
        }
        faults.clear();
        assert!(faults.waiting().is_empty());
    }
}
