//! Faults of HubSpot: random failures, rate limits, outages, expired tokens,
//! answers that never come.

use std::{sync::Arc, time::Duration};

use hubspot_sim::{Fault, FaultBody, Policy, Rule};
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{System, one_of};

/// Latency of an answer without a fault.
pub(crate) const LATENCY: Duration = Duration::from_millis(15);

/// Causes faults of HubSpot until the faults are over.
pub(crate) async fn run(system: Arc<System>) {
    let mut choices = system.timeline.choices("storms");
    while system.pause_between(&mut choices, 2.0, 15.0).await {
        cause_one(&system, &mut choices).await;
    }
}

async fn cause_one(system: &System, choices: &mut StdRng) {
    let (simulator, faults) = (&system.simulator, system.simulator.faults());
    let seconds = choices.random_range(2.0..20.0);
    let what = choices.random_range(0..9);
    let name = match what {
        0..3 => "hubspot: a share of requests fails",
        3 => "hubspot: a burst of 429",
        4 => "hubspot: 503",
        5 => "hubspot: answers stall",
        6 => "hubspot: slow",
        7 => "hubspot: tokens expire",
        _ => "hubspot: a burst of resets and cut bodies",
    };
    system.timeline.note(format!("{name}, {seconds:.1} s"));
    system.counters.count(name);
    match what {
        0..3 => faults.set_random_percent(*one_of(choices, &[5.0, 10.0, 20.0])),
        3 => faults.push(
            Rule::any(Fault::RateLimited {
                policy: *one_of(choices, &[Policy::TenSecondlyRolling, Policy::Secondly]),
                retry_after: *one_of(choices, &[None, Some(1), Some(3)]),
            })
            .times(choices.random_range(5..60)),
        ),
        4 => faults.push(
            Rule::any(Fault::Status {
                code: 503,
                body: FaultBody::Html,
                retry_after: None,
            })
            .times(u32::MAX),
        ),
        5 => faults.push(Rule::any(Fault::Stall).times(3)),
        6 => simulator.set_latency(Duration::from_millis(400)),
        7 => {
            for account in &system.accounts {
                simulator.expire_access_tokens(account.portal.id());
            }
        }
        _ => {
            faults.push(Rule::any(Fault::Reset).times(10));
            faults.push(Rule::any(Fault::CutBody { after: 700 }).times(10));
        }
    }
    let _over = system.pause(Duration::from_secs_f64(seconds)).await;
    faults.clear();
    simulator.set_latency(LATENCY);
}
