//! Slows down those who guess tokens. A right token is never slowed down, unless many
//! wrong ones from the same address are not answered yet.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::network;

/// The pause before the answer to the first wrong token; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After this time without a wrong token, an address begins anew.
const FORGET: Duration = Duration::from_mins(1);

/// Wrong tokens of an address that may wait for their answers. A caller that hangs up
/// does not get another try earlier.
const WAITING: usize = 16;

/// Addresses that are known at a time. All further ones share one entry.
const ADDRESSES: usize = 1_024;

/// The wrong tokens of the last minute, by address.
#[derive(Debug, Default)]
pub(super) struct FailedTries {
    by_address: Mutex<HashMap<IpAddr, Tries>>,
}

#[derive(Debug)]
struct Tries {
    failed: u32,
    last: Instant,
    /// When those that are not answered yet will be.
    answers: Vec<Instant>,
}

impl FailedTries {
    /// Whether no token of this address is looked at now.
    pub(super) fn are_too_many(&self, peer: IpAddr) -> bool {
        let mut known = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = key(peer, &known);
        let Some(tries) = known.get_mut(&key) else {
            return false;
        };
        let now = Instant::now();
        tries.answers.retain(|at| *at > now);
        tries.answers.len() >= WAITING
    }

    /// Notes a wrong token; the pause before it is answered.
    pub(super) fn failed(&self, peer: IpAddr) -> Duration {
        let mut known = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if known.len() >= ADDRESSES {
            known.retain(|_, tries| now.duration_since(tries.last) < FORGET);
        }
        let key = key(peer, &known);
        let tries = known.entry(key).or_insert_with(|| Tries {
            failed: 0,
            last: now,
            answers: Vec::new(),
        });
        if now.duration_since(tries.last) >= FORGET {
            tries.failed = 0;
        }
        let pause = FIRST_PAUSE * 2_u32.pow(tries.failed.min(10));
        let pause = pause.min(LONGEST_PAUSE);
        tries.failed = tries.failed.saturating_add(1);
        tries.last = now;
        tries.answers.push(now + pause);
        pause
    }
}

/// The entry of this address.
fn key(peer: IpAddr, known: &HashMap<IpAddr, Tries>) -> IpAddr {
    let key = network(peer);
    if known.len() >= ADDRESSES && !known.contains_key(&key) {
        return Ipv6Addr::UNSPECIFIED.into();
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn each_wrong_token_waits_longer_and_a_minute_later_it_begins_anew() {
        let tries = FailedTries::default();
        let pauses: Vec<_> = (0..8)
            .map(|_| tries.failed(address(1)).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(tries.failed(address(2)), FIRST_PAUSE);
        tokio::time::sleep(FORGET).await;
        assert_eq!(tries.failed(address(1)), FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_tokens_are_looked_at_while_many_wrong_ones_wait() {
        let tries = FailedTries::default();
        for _ in 0..WAITING {
            assert!(!tries.are_too_many(address(1)));
            tries.failed(address(1));
        }
        assert!(tries.are_too_many(address(1)));
        assert!(!tries.are_too_many(address(2)));
        tokio::time::sleep(LONGEST_PAUSE).await;
        assert!(!tries.are_too_many(address(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_known_addresses_is_bounded() {
        let tries = FailedTries::default();
        for number in 0..10_000 {
            tries.failed(address(number));
        }
        let known = |tries: &FailedTries| tries.by_address.lock().unwrap().len();
        assert_eq!(known(&tries), ADDRESSES + 1);
        // Those that are not known share their pauses.
        assert_eq!(tries.failed(address(20_000)), LONGEST_PAUSE);
        tokio::time::sleep(FORGET).await;
        tries.failed(address(1));
        assert_eq!(known(&tries), 1);
    }
}
