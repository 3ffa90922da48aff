//! Whether a large portal is loaded as fast as a small one, in the same memory.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Scale;
use crate::{
    result::{Goal, Reading},
    system::{Servers, System},
};

/// When a sync is given up.
const LIMIT: Duration = Duration::from_mins(20);

pub(super) async fn run(servers: &Servers, scale: Scale) -> anyhow::Result<Vec<Reading>> {
    let sizes: &[u32] = scale.of(
        &[500, 2_000],
        &[100_000, 1_000_000],
        &[100_000, 1_000_000, 3_000_000],
    );
    let (mut readings, mut first) = (Vec::new(), None);
    for &contacts in sizes {
        let (rate, memory) = steady(servers, contacts).await?;
        let mut rate = Reading::new(format!("{contacts} contacts: records"), rate, "records/s");
        let mut memory = Reading::new(
            format!("{contacts} contacts: peak memory of worker and data-streams"),
            memory,
            "MiB",
        );
        if let Some((first_rate, first_memory)) = first {
            rate = rate.against(first_rate).goal(Goal::RatioAtLeast(0.75));
            memory = memory.against(first_memory).goal(Goal::RatioAtMost(1.25));
        } else {
            first = Some((rate.value, memory.value));
        }
        readings.extend([rate, memory]);
    }
    Ok(readings)
}

/// Records per second after the first tenth, and the peak memory in MiB.
async fn steady(servers: &Servers, contacts: u32) -> anyhow::Result<(f64, f64)> {
    let system = System::of(contacts)
        .simulator("HUBSPOT_SIM_DISTINCT", "50000")
        .start(servers)
        .await?;
    system.reset_peaks()?;
    let settings = json!({"streams": ["contacts"], "interval": "1h"});
    system.start_default(settings).await?;
    let stored = "SELECT count() FROM hubspot_raw.contacts";
    let until = Instant::now() + LIMIT;
    system.count_reaches(stored, contacts / 10, until).await?;
    let (began, there) = (Instant::now(), system.query(stored).await?);
    system.count_reaches(stored, contacts, until).await?;
    let seconds = began.elapsed().as_secs_f64();
    let memory = system.usages()?.services(|it| it.peak_mib);
    system.until_visible("contacts", contacts, LIMIT).await?;
    system.end().await?;
    let there: f64 = there.trim().parse()?;
    Ok(((f64::from(contacts) - there).max(0.0) / seconds, memory))
}
