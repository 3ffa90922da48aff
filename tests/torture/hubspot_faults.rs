//! Faults of HubSpot: random failures, rate limits, outages, expired tokens,
//! answers that never come, and answers that hide objects.

use std::{sync::Arc, time::Duration};

use hubspot_sim::{Fault, FaultBody, Kind, Policy, Rule};
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{System, one_of};

/// Latency of an answer without a fault.
pub(crate) const LATENCY: Duration = Duration::from_millis(15);
/// How many ids in a hundred a batch read misses. An object that is not gone is deleted
/// only if three reads in a row miss it.
const MISSES_PERCENT: f64 = 1.0;
/// The share of its contacts that the token of the first account still sees. It hides
/// more than the thousand that are deleted without a further proof.
const VIEW_PERCENT: f64 = 10.0;

/// A fault, as often as it is to be chosen.
const STORMS: [Storm; 14] = [
    Storm::RandomFailures,
    Storm::RandomFailures,
    Storm::RandomFailures,
    Storm::RateLimits,
    Storm::Outage,
    Storm::Stall,
    Storm::Slow,
    Storm::ExpiredTokens,
    Storm::Cuts,
    Storm::ShortLists,
    Storm::ShortLists,
    Storm::Misses,
    Storm::Misses,
    Storm::PartialView,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storm {
    RandomFailures,
    RateLimits,
    Outage,
    Stall,
    Slow,
    ExpiredTokens,
    Cuts,
    ShortLists,
    Misses,
    PartialView,
}

impl Storm {
    fn name(self) -> &'static str {
        match self {
            Self::RandomFailures => "hubspot: a share of requests fails",
            Self::RateLimits => "hubspot: a burst of 429",
            Self::Outage => "hubspot: 503",
            Self::Stall => "hubspot: answers stall",
            Self::Slow => "hubspot: slow",
            Self::ExpiredTokens => "hubspot: tokens expire",
            Self::Cuts => "hubspot: a burst of resets and cut bodies",
            Self::ShortLists => "hubspot: lists end early or repeat a page",
            Self::Misses => "hubspot: reads miss objects",
            Self::PartialView => "hubspot: a token sees a share",
        }
    }

    /// Whether lists, searches or reads lack objects that the portal has.
    fn hides(self) -> bool {
        matches!(self, Self::ShortLists | Self::Misses | Self::PartialView)
    }
}

/// Causes faults of HubSpot until the faults are over.
pub(crate) async fn run(system: Arc<System>) {
    let mut choices = system.timeline.choices("storms");
    while system.pause_between(&mut choices, 2.0, 15.0).await {
        cause_one(&system, &mut choices).await;
    }
}

async fn cause_one(system: &System, choices: &mut StdRng) {
    let seconds = choices.random_range(2.0..20.0);
    let storm = *one_of(choices, &STORMS);
    let name = storm.name();
    system.timeline.note(format!("{name}, {seconds:.1} s"));
    system.counters.count(name);
    let began = system.simulator.portal().now_ms();
    begin(storm, system, choices);
    let _over = system.pause(Duration::from_secs_f64(seconds)).await;
    system.simulator.faults().clear();
    system.simulator.set_latency(LATENCY);
    let ended = system.simulator.portal().now_ms();
    if storm.hides() {
        for history in &system.histories {
            history.lock().unwrap().answers_were_wrong(began, ended);
        }
    }
    if storm == Storm::PartialView {
        system.partial_views.lock().unwrap().push((began, ended));
    }
}

fn begin(storm: Storm, system: &System, choices: &mut StdRng) {
    let (simulator, faults) = (&system.simulator, system.simulator.faults());
    match storm {
        Storm::RandomFailures => faults.set_random_percent(*one_of(choices, &[5.0, 10.0, 20.0])),
        Storm::RateLimits => faults.push(
            Rule::any(Fault::RateLimited {
                policy: *one_of(choices, &[Policy::TenSecondlyRolling, Policy::Secondly]),
                retry_after: *one_of(choices, &[None, Some(1), Some(3)]),
            })
            .times(choices.random_range(5..60)),
        ),
        Storm::Outage => faults.push(
            Rule::any(Fault::Status {
                code: 503,
                body: FaultBody::Html,
                retry_after: None,
            })
            .always(),
        ),
        Storm::Stall => faults.push(Rule::any(Fault::Stall).times(3)),
        Storm::Slow => simulator.set_latency(Duration::from_millis(400)),
        Storm::ExpiredTokens => {
            for account in &system.accounts {
                simulator.expire_access_tokens(account.portal.id());
            }
        }
        Storm::Cuts => {
            faults.push(Rule::any(Fault::Reset).times(10));
            faults.push(Rule::any(Fault::CutBody { after: 700 }).times(10));
        }
        Storm::ShortLists => {
            let after_rows = *one_of(choices, &[0, 30, 150, 700]);
            let short = [
                Fault::ListEnds { after_rows },
                Fault::NoPaging { holding: None },
                Fault::RepeatPage { holding: None },
            ];
            let kind = *one_of(choices, &[Kind::List, Kind::ListArchived]);
            let rule = Rule::next(kind, one_of(choices, &short).clone());
            faults.push(rule.times(*one_of(choices, &[1, 3, u32::MAX])));
        }
        Storm::Misses => {
            let missing = Fault::RandomMisses {
                percent: MISSES_PERCENT,
                seed: choices.random(),
            };
            faults.push(Rule::next(Kind::BatchRead, missing).always());
        }
        Storm::PartialView => {
            let view = Fault::PartialView {
                percent: VIEW_PERCENT,
                seed: choices.random(),
            };
            let mut rule = Rule::any(view).of("contacts").always();
            rule.portal_id = Some(system.accounts[0].portal.id());
            faults.push(rule);
        }
    }
}
