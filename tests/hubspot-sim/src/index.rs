//! The search index: what search sees of an object type, some time after it
//! happened.
//!
//! It must not know the values of objects; search looks those up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Ids by time of last change, as far as indexed.
#[derive(Debug, Default)]
pub(crate) struct SearchIndex {
    by_time: BTreeSet<(i64, u64)>,
    by_id: HashMap<u64, i64>,
    /// Changes by the time at which they become visible.
    pending: BTreeMap<(i64, u64), (u64, Option<i64>)>,
    sequence: u64,
}

impl SearchIndex {
    /// Notes a change: the object's last-modified time, or that it is gone.
    pub(crate) fn note(&mut self, visible_at_ms: i64, id: u64, modified_ms: Option<i64>) {
        self.sequence += 1;
        self.pending
            .insert((visible_at_ms, self.sequence), (id, modified_ms));
    }

    /// Makes visible what is due.
    pub(crate) fn catch_up(&mut self, now_ms: i64) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let (id, modified_ms) = entry.remove();
            self.put(id, modified_ms);
        }
    }

    /// Makes a change visible at once.
    pub(crate) fn put(&mut self, id: u64, modified_ms: Option<i64>) {
        if let Some(before) = self.by_id.remove(&id) {
            self.by_time.remove(&(before, id));
        }
        if let Some(ms) = modified_ms {
            self.by_id.insert(id, ms);
            self.by_time.insert((ms, id));
        }
    }

    /// Times and ids with a last-modified time in `[low, high]`.
    pub(crate) fn range(&self, low: i64, high: i64) -> impl Iterator<Item = (i64, u64)> {
        // A range that ends before it begins would panic.
        let most = if high < low { 0 } else { usize::MAX };
        self.by_time
            .range((low, 0)..=(high.max(low), u64::MAX))
            .copied()
            .take(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_only_after_the_lag() {
        let mut index = SearchIndex::default();
        index.note(100, 7, Some(90));
        index.catch_up(99);
        assert_eq!(index.range(i64::MIN, i64::MAX).count(), 0);
        index.catch_up(100);
        assert_eq!(index.range(90, 90).collect::<Vec<_>>(), [(90, 7)]);
        index.note(200, 7, None);
        index.catch_up(200);
        assert_eq!(index.range(i64::MIN, i64::MAX).count(), 0);
    }
}
