//! Many stops that race with requests: no request may start after the answer to
//! a stop.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::system::{Account, System};

/// The longest time from a start to its stop, in ms: a stop comes before the
/// worker has begun, or while it sends requests.
const LATEST_MS: u64 = 400;
/// How long after a stop requests are watched.
const WATCHED: Duration = Duration::from_millis(100);

/// Runs that many races, shared among the accounts.
pub(crate) async fn run(system: &System, races: u64) {
    let mut left = races;
    let each = races.div_ceil(system.accounts.len() as u64);
    let shares = system.accounts.iter().map(|account| {
        let share = each.min(left);
        left -= share;
        of(system, account, share)
    });
    futures::future::join_all(shares.collect::<Vec<_>>()).await;
}

async fn of(system: &System, account: &Account, races: u64) {
    let name = account.connection;
    let mut choices = system.timeline.choices(&format!("races of {name}"));
    for _ in 0..races {
        system.api.start(name, account.settings.clone()).await;
        let wait = Duration::from_millis(choices.random_range(0..LATEST_MS));
        // The stop comes at a random moment.
        tokio::time::sleep(wait).await;
        system.api.stop(name).await;
        let stopped = Instant::now();
        tokio::time::sleep(WATCHED).await;
        let span = (account.portal.id(), stopped, Instant::now());
        system.stopped.lock().unwrap().push(span);
        system.counters.count("races of stop and requests");
    }
}
