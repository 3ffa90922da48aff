//! The search index: what search sees of an object type, some time after it
//! happened.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Windows that are kept: a client pages through one or two at a time.
const KEPT: usize = 8;

/// Ids and last-modified times of a window, by id.
pub(crate) type Window = Arc<[(u64, i64)]>;

/// Ids by time of last change, as far as indexed.
#[derive(Debug, Default)]
pub(crate) struct SearchIndex {
    by_time: BTreeSet<(i64, u64)>,
    by_id: HashMap<u64, i64>,
    /// Changes by the time at which they become visible.
    pending: BTreeMap<(i64, u64), (u64, Option<i64>)>,
    sequence: u64,
    /// Windows that were read, so that not each page of one sorts it anew.
    windows: RefCell<Vec<(i64, i64, Window)>>,
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

    /// What was last modified in `[low, high]`, by id.
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
    fn a_window_that_is_kept_follows_what_happens_in_it() {
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
