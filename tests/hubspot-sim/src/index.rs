//! The search index of an object type, which shows changes with a lag.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// How many windows are kept: a client pages through one or two at a time.
const KEPT: usize = 8;

/// Ids and last-modified times (ms) of a window, ordered by id.
pub(crate) type Window = Arc<[(u64, i64)]>;

/// The indexed objects, and changes that are not visible yet.
#[derive(Debug, Default)]
pub(crate) struct SearchIndex {
    by_time: BTreeSet<(i64, u64)>,
    by_id: HashMap<u64, i64>,
    /// Changes by the time at which they become visible.
    pending: BTreeMap<(i64, u64), (u64, Option<i64>)>,
    sequence: u64,
    /// When the last pending change of an object becomes visible.
    last_pending: HashMap<u64, i64>,
    /// Windows read before, so that not every page sorts its window again.
    windows: RefCell<Vec<(i64, i64, Window)>>,
}

impl SearchIndex {
    /// Adds a change: the object's new last-modified, or `None` if it is gone.
    pub(crate) fn note(&mut self, visible_at_ms: i64, id: u64, modified_ms: Option<i64>) {
        // The lag may have become shorter; an older change must not undo this one.
        let last = self.last_pending.entry(id).or_insert(visible_at_ms);
        *last = visible_at_ms.max(*last);
        let visible_at_ms = *last;
        self.sequence += 1;
        self.pending
            .insert((visible_at_ms, self.sequence), (id, modified_ms));
    }

    /// Makes the changes visible that are due.
    pub(crate) fn catch_up(&mut self, now_ms: i64) {
        while let Some(entry) = self.pending.first_entry() {
            let visible_at_ms = entry.key().0;
            if visible_at_ms > now_ms {
                break;
            }
            let (id, modified_ms) = entry.remove();
            if self.last_pending.get(&id) == Some(&visible_at_ms) {
                self.last_pending.remove(&id);
            }
            self.put(id, modified_ms);
        }
    }

    /// Makes a change visible at once.
    pub(crate) fn put(&mut self, id: u64, modified_ms: Option<i64>) {
        let before = self.by_id.remove(&id);
        if let Some(before) = before {
            self.by_time.remove(&(before, id));
        }
        let touches = |low, high| {
            before
                .into_iter()
                .chain(modified_ms)
                .any(|ms| (low..=high).contains(&ms))
        };
        self.windows
            .get_mut()
            .retain(|(low, high, _)| !touches(*low, *high));
        if let Some(ms) = modified_ms {
            self.by_id.insert(id, ms);
            self.by_time.insert((ms, id));
        }
    }

    /// Objects last modified in `[low, high]`, ordered by id.
    pub(crate) fn window(&self, low: i64, high: i64) -> Window {
        let mut windows = self.windows.borrow_mut();
        if let Some((_, _, kept)) = windows.iter().find(|it| (it.0, it.1) == (low, high)) {
            return Arc::clone(kept);
        }
        let mut rows: Vec<(u64, i64)> = self.range(low, high).map(|(ms, id)| (id, ms)).collect();
        rows.sort_unstable();
        let window = Window::from(rows);
        if windows.len() >= KEPT {
            windows.remove(0);
        }
        windows.push((low, high, Arc::clone(&window)));
        window
    }

    /// Times and ids with a last-modified time in `[low, high]`.
    fn range(&self, low: i64, high: i64) -> impl Iterator<Item = (i64, u64)> {
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
    fn a_kept_window_is_dropped_by_a_change_in_it() {
        let mut index = SearchIndex::default();
        index.put(9, Some(50));
        index.put(7, Some(60));
        assert_eq!(*index.window(40, 60), [(7, 60), (9, 50)]);
        index.put(8, Some(61));
        index.put(9, Some(70));
        assert_eq!(*index.window(40, 60), [(7, 60)]);
        index.put(7, None);
        assert!(index.window(40, 60).is_empty());
    }

    #[test]
    fn changes_of_an_object_become_visible_in_their_order() {
        let mut index = SearchIndex::default();
        index.note(500, 7, Some(90));
        index.note(200, 7, Some(95));
        index.note(200, 8, Some(95));
        index.catch_up(200);
        assert_eq!(*index.window(0, 100), [(8, 95)]);
        index.catch_up(500);
        assert_eq!(*index.window(0, 100), [(7, 95), (8, 95)]);
        assert!(index.last_pending.is_empty());
    }

    #[test]
    fn a_change_is_visible_after_the_lag_only() {
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
