//! The state of the assigned partitions, and how far their offsets may move past
//! transaction markers. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use super::batch::Batch;

/// A partition that is paused and will be read again.
#[derive(Debug, Clone, Copy)]
struct HeldPartition {
    /// Offset to read from.
    offset: i64,
    /// When to read it.
    until: Instant,
    /// Number of the hold.
    number: u64,
}

/// The state of the assigned partitions; replaced at each rebalance.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(super) assigned: Vec<i32>,
    /// By partition, the next offset to read.
    pub(super) positions: HashMap<i32, i64>,
    /// Partitions that wait to be read again.
    holding: HashMap<i32, HeldPartition>,
    /// By partition, the number of the last hold after which it is read.
    pub(super) sought: HashMap<i32, u64>,
    /// Time of the next check, while the committed offsets are not known to be
    /// this warehouse's.
    pub(super) suspended: Option<Instant>,
    /// Batches that the loader has not taken yet.
    pub(super) pending: VecDeque<Batch>,
    /// Since when the loader has been busy.
    pub(super) blocked_since: Option<Instant>,
    /// Whether the assigned partitions are paused for back pressure.
    pub(super) paused: bool,
    /// The ends reported when the queue was last found empty.
    earlier_ends: HashMap<i32, i64>,
    /// Partitions whose end was read, with nothing after it.
    reached: HashSet<i32>,
}

impl Progress {
    /// Lets a partition wait before it is read again from `offset`. The hold has a number.
    pub(super) fn hold(&mut self, partition: i32, offset: i64, wait: Duration, number: u64) {
        let held = HeldPartition {
            offset,
            until: Instant::now() + wait,
            number,
        };
        self.holding.insert(partition, held);
    }

    pub(super) fn is_held(&self, partition: i32) -> bool {
        self.holding.contains_key(&partition)
    }

    /// The assigned partitions that are not held.
    pub(super) fn not_held(&self) -> Vec<i32> {
        let assigned = self.assigned.iter().copied();
        assigned.filter(|it| !self.is_held(*it)).collect()
    }

    /// Ends the holds that are due. Returns from where to read.
    pub(super) fn end_due_holds(&mut self, now: Instant) -> Vec<(i32, i64)> {
        let due = self.holding.extract_if(|_, held| held.until <= now);
        let due: Vec<(i32, HeldPartition)> = due.collect();
        for (partition, held) in &due {
            self.sought.insert(*partition, held.number);
            self.positions.insert(*partition, held.offset);
        }
        due.into_iter()
            .map(|(it, held)| (it, held.offset))
            .collect()
    }

    /// The queue returned the end of a partition, so everything before it was
    /// read.
    pub(super) fn end_was_read(&mut self, partition: i32) {
        self.reached.insert(partition);
    }

    /// There is more to read: a record arrived, or the partition is read again.
    pub(super) fn has_more(&mut self, partition: i32) {
        self.reached.remove(&partition);
        self.earlier_ends.remove(&partition);
    }

    /// Moves positions past the transaction markers at the ends of partitions and
    /// returns the offsets to commit. The queue has to be empty.
    ///
    /// `ends` come from the client's statistics. They lag behind, and include
    /// messages that were fetched but not returned, or discarded by a pause or a
    /// rebalance. So an end counts only if it was also read, and only if it was
    /// reported at the previous call too.
    pub(super) fn skip_markers(&mut self, ends: HashMap<i32, i64>) -> BTreeMap<i32, i64> {
        let earlier_ends = std::mem::replace(&mut self.earlier_ends, ends);
        let mut next = BTreeMap::new();
        if self.suspended.is_some() || !self.pending.is_empty() {
            return next;
        }
        for (partition, end) in earlier_ends {
            let known = self.assigned.contains(&partition)
                && self.reached.contains(&partition)
                && !self.is_held(partition);
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
    fn an_end_that_was_read_is_committed_when_it_is_reported_twice() {
        let mut progress = assigned();
        progress.end_was_read(0);
        assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
        assert_eq!(progress.skip_markers(ends()), BTreeMap::from([(0, 100)]));
        assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
    }

    #[test]
    fn an_end_known_only_from_statistics_is_not_committed() {
        // Reported before a rebalance or a pause: 80 to 100 will be read again.
        let mut progress = assigned();
        for _ in 0..3 {
            assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
        }
    }

    #[test]
    fn an_end_is_not_committed_when_there_is_more_to_read() {
        let mut progress = assigned();
        progress.end_was_read(0);
        progress.skip_markers(ends());
        progress.has_more(0);
        progress.skip_markers(ends());
        assert_eq!(progress.skip_markers(ends()), BTreeMap::new());
    }
}
