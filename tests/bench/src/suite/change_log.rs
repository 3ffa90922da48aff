//! The log as a change log, over a portal of a million contacts: what a pass over it at
//! rest writes, what the index takes, and whether increments start on their schedule
//! while a pass uses HubSpot's limit.

mod increments;
mod index;
mod rest;
mod share;
mod verdict;

use std::time::Duration;

use serde_json::json;

use super::Scale;
use crate::{
    result::Reading,
    system::{Servers, System},
};

/// When a sync or a pass is given up.
const LIMIT: Duration = Duration::from_mins(20);

/// Contacts of the portal whose index takes next to nothing.
const SMALL: u32 = 1_000;

/// An interval of runs that are not to be made.
const NEVER: &str = "30d";

/// Settings of the worker: how often it makes which runs, beside the increments.
type Schedule<'a> = [(&'a str, &'a str); 3];

const fn schedule<'a>(late: &'a str, archived: &'a str, full: &'a str) -> Schedule<'a> {
    [
        ("LATE_INTERVAL", late),
        ("ARCHIVED_INTERVAL", archived),
        ("FULL_INTERVAL", full),
    ]
}

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let contacts: u32 = scale.of(2_000, 1_000_000, 1_000_000);
    let small = scale.of(200, SMALL, SMALL);
    let mut system = filled(servers, small).await?;
    let without = index::restarted(&mut system).await?;
    system.end().await?;

    let mut system = filled(servers, contacts).await?;
    let mut readings = index::measure(&mut system, contacts, &without).await?;
    readings.extend(rest::measure(&mut system, contacts, scale).await?);
    readings.extend(verdict::measure(&mut system, contacts).await?);
    readings.extend(increments::measure(&mut system, scale).await?);
    system.end().await?;
    for _ in 0..scale.runs {
        readings.extend(share::measure(servers, scale).await?);
    }
    Ok(readings)
}

/// A system that has made the first sync of a portal, without limits.
async fn filled(servers: &Servers, contacts: u32) -> anyhow::Result<System<'_>> {
    let mut builder = System::of(contacts)
        .simulator("HUBSPOT_SIM_DISTINCT", "50000")
        .simulator("HUBSPOT_SIM_KEEP_REQUESTS", "true")
        .worker("RUST_LOG", "worker::ownership=trace,info");
    for (name, interval) in schedule(NEVER, NEVER, NEVER) {
        builder = builder.worker(name, interval);
    }
    let system = builder.start(servers).await?;
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    system.start_default(settings).await?;
    system.until_succeeded("backfill", &[], LIMIT).await?;
    system.until_visible("contacts", contacts, LIMIT).await?;
    Ok(system)
}
