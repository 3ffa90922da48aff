//! Stops that race with requests under way, many times: none may start after
//! the answer to a stop, at whatever moment it comes.
//!
//! It must not know how a worker stops.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::system::{Account, System};

/// From a start to its stop, at most, in ms: from a connection that was not
/// even taken up to one in the middle of its requests.
const LATEST_MS: u64 = 400;
/// How long requests are looked for behind a stop.
const WATCHED: Duration = Duration::from_millis(100);

/// So many races, shared among the accounts.
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
        // The moment is what is random here.
        tokio::time::sleep(wait).await;
        system.api.stop(name).await;
        let stopped = Instant::now();
        tokio::time::sleep(WATCHED).await;
        let span = (account.portal.id(), stopped, Instant::now());
        system.stopped.lock().unwrap().push(span);
        system.counters.count("races of stop and requests");
    }
}
