//! A share of the objects, chosen by a hash of the id.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// A share of all ids; the same ids each time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    /// Size of the share, in percent.
    pub(crate) percent: f64,
    /// Another seed chooses other ids.
    pub(crate) seed: u64,
}

impl Share {
    /// Whether an id belongs to the share.
    pub(crate) fn holds(self, id: u64) -> bool {
        self.drawn(id, 0)
    }

    /// As [`Share::holds`], with other ids for each number of a draw.
    pub(crate) fn drawn(self, id: u64, draw: u64) -> bool {
        let mut hasher = SipHasher13::new_with_keys(self.seed, draw);
        hasher.write_u64(id);
        // 2^24 outcomes are exact as a float.
        let outcome = u32::try_from(hasher.finish() >> 40).unwrap_or(u32::MAX);
        f64::from(outcome) * 100.0 < self.percent * f64::from(1_u32 << 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_size_and_depends_on_the_seed() {
        let ids = |percent, seed| {
            let share = Share { percent, seed };
            let held = (0..10_000_u64).filter(|id| share.holds(*id));
            held.collect::<Vec<_>>()
        };
        assert!((900..1_100).contains(&ids(10.0, 1).len()));
        assert_ne!(ids(10.0, 1), ids(10.0, 2));
        assert_eq!((ids(0.0, 1).len(), ids(100.0, 1).len()), (0, 10_000));
    }
}
