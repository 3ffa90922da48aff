//! What the poller knows of its partitions, and how far their offsets may be
//! moved over what is no record. Pure.
//!
//! It must not know Kafka's client.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Instant,
};

use super::batch::Batch;

/// A partition that is read again.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldPartition {
    /// From where.
    pub(super) offset: i64,
    /// Not before.
    pub(super) until: Instant,
}

/// What the poller knows of its partitions; made anew with each assignment.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(super) assigned: Vec<i32>,
    /// By partition, where to go on reading.
    pub(super) positions: HashMap<i32, i64>,
    /// Partitions that are read again later.
    pub(super) holding: HashMap<i32, HeldPartition>,
    pub(super) round: u64,
    /// While the offsets are not known to be this warehouse's: the next look.
    pub(super) suspended: Option<Instant>,
    pub(super) pending: VecDeque<Batch>,
    pub(super) blocked_since: Option<Instant>,
    pub(super) paused: bool,
    /// Ends that were reported before the queue was last seen empty.
    earlier_ends: HashMap<i32, i64>,
    /// Partitions whose end was read, and nothing behind it.
    reached: HashSet<i32>,
}

impl Progress {
    /// Of an assignment that is new.
    pub(super) fn of_round(round: u64) -> Self {
        Self {
            round,
            ..Self::default()
        }
    }

    /// The end of a partition came out of the queue: all before it has.
    pub(super) fn end_was_read(&mut self, partition: i32) {
        self.reached.insert(partition);
    }

    /// There is more to read: a record came, or the partition is read anew.
    pub(super) fn has_more(&mut self, partition: i32) {
        self.reached.remove(&partition);
        self.earlier_ends.remove(&partition);
    }

    /// The queue is empty. Moves positions over the marks of transactions at
    /// the ends of partitions; returns the offsets to be committed.
    ///
    /// `ends` are the client's statistics, which lag behind, and count what was
    /// fetched but not handed over, or thrown away by a pause or a rebalance.
    /// So they count only where the end itself was read since, and then once
    /// they have stood from one look to the next.
    pub(super) fn skip_markers(&mut self, ends: HashMap<i32, i64>) -> BTreeMap<i32, i64> {
        let earlier_ends = std::mem::replace(&mut self.earlier_ends, ends);
        let mut next = BTreeMap::new();
        if self.suspended.is_some() || !self.pending.is_empty() {
            return next;
        }
        for (partition, end) in earlier_ends {
            let known = self.assigned.contains(&partition)
                && self.reached.contains(&partition)
                && !self.holding.contains_key(&partition);
            let position = self.positions.get(&partition).copied().unwrap_or_default();
            if known && end > position {
                self.positions.insert(partition, end);
                next.insert(partition, end);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned() -> Progress {
        Progress {
            assigned: vec![0],
            positions: HashMap::from([(0, 80)]),
            ..Progress::default()
        }
    }

    fn ends() -> HashMap<i32, i64> {
        HashMap::from([(0, 100)])
    }

    #[test]
    fn an_end_that_was_read_is_committed_at_the_second_look() {
        let mut progress = assigned();
        progress.end_was_read(0);
        assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
        assert_eq!(progress.skip_markers(ends()), BTreeMap::from([(0, 100)]));
        assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
    }

    #[test]
    fn an_end_that_only_the_statistics_know_is_not_committed() {
        // From before a rebalance or a pause: 80 to 100 are to be read again.
        let mut progress = assigned();
        for _ in 0..3 {
            assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
        }
    }

    #[test]
    fn an_end_is_not_committed_once_there_is_more_to_read() {
        let mut progress = assigned();
        progress.end_was_read(0);
        progress.skip_markers(ends());
        progress.has_more(0);
        progress.skip_markers(ends());
        assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
    }
}
