//! How densely the ids of a table are packed, learned from the pages that are
//! read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A whole range of ids is read when at least one in this many of its objects is
/// needed.
const SPARSE_FACTOR: u64 = 4;

/// Fewer objects than this say too little about the distance between ids.
const MIN_SAMPLE: u64 = 11;

/// The ids of some objects, in ascending order: the first, the last, and how
/// many there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
}

/// The average distance between neighbouring ids of a table, on the page read
/// last; zero before the first page.
#[derive(Debug, Default)]
pub(crate) struct Spacing(AtomicU64);

impl Spacing {
    /// Learns from a page without gaps: one whose query matches nearly every
    /// object.
    pub(crate) fn learn(&self, page: IdRange) {
        if page.count >= MIN_SAMPLE {
            let distance = page.last.saturating_sub(page.first) / (page.count - 1);
            self.0.store(distance.max(1), Ordering::Relaxed);
        }
    }

    /// Whether the range holds so many other objects that reading all of it would
    /// be a waste.
    pub(crate) fn is_sparse(&self, found: IdRange) -> bool {
        let distance = self.0.load(Ordering::Relaxed).max(1);
        let objects = found.last.saturating_sub(found.first) / distance;
        objects > found.count.saturating_mul(SPARSE_FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64, count: u64) -> IdRange {
        IdRange { first, last, count }
    }

    #[test]
    fn a_range_is_sparse_when_it_has_over_four_times_the_objects_needed() {
        let spacing = Spacing::default();
        spacing.learn(range(0, 990, 100));
        assert!(!spacing.is_sparse(range(0, 400, 10)), "40 objects for 10");
        assert!(spacing.is_sparse(range(0, 410, 10)), "41 objects for 10");
    }

    #[test]
    fn a_short_page_teaches_nothing() {
        let spacing = Spacing::default();
        spacing.learn(range(0, 1_000, 10));
        assert!(
            spacing.is_sparse(range(0, 50, 10)),
            "ids one apart, as before"
        );
    }
}
