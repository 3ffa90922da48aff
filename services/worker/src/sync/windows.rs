//! The window of last-modified times that a search reads, and which objects belong
//! to it. Pure.

use schemas::{Millis, SearchPosition};

/// The window of an incremental run: from the cursor, without an end, so that the
/// newest changes are read as well. The cursor then moves to `now - lag`, as the
/// search index can lag that far, and never back.
pub(super) fn since_cursor(cursor: Millis, now: Millis, lag: Millis) -> SearchPosition {
    SearchPosition {
        from: cursor,
        to: (now - lag).max(cursor),
        window_to: None,
        last_id: 0,
    }
}

/// The window of a late run: from `span` before the start of the last one up to the
/// cursor. The next incremental run reads what comes after the cursor.
pub(super) fn before_cursor(cursor: Millis, last: Millis, span: Millis) -> SearchPosition {
    let from = cursor.min(last).saturating_sub(span).max(0);
    SearchPosition {
        from,
        to: cursor,
        window_to: Some(cursor),
        last_id: 0,
    }
}

/// Whether an object, as read, belongs to the window. The read returns its newest
/// state: an object that changed after the search has left a window with an end,
/// and the run that reads the later window gets it.
pub(super) fn contains(position: &SearchPosition, updated_at: Millis) -> bool {
    position.window_to.is_none_or(|end| updated_at < end)
}

/// The ids above `after`, ascending and without duplicates.
pub(super) fn keyset(mut ids: Vec<i64>, after: i64) -> Vec<i64> {
    if !ids.is_sorted_by(|a, b| a < b) {
        ids.sort_unstable();
        ids.dedup();
    }
    if ids.first().is_some_and(|first| *first <= after) {
        ids.retain(|id| *id > after);
    }
    ids
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn consecutive_runs_leave_no_gap(
            start in 1_000_000i64..2_000_000,
            steps in proptest::collection::vec(-30_000i64..60_000, 1..20),
        ) {
            let mut cursor = start;
            let mut now = start;
            for step in steps {
                now += step;
                let position = since_cursor(cursor, now, 15_000);
                prop_assert_eq!(position.from, cursor);
                prop_assert!(position.to >= cursor);
                prop_assert!(contains(&position, Millis::MAX));
                let late = before_cursor(cursor, cursor, 7_200_000);
                prop_assert!(contains(&late, cursor - 1) && !contains(&late, cursor));
                cursor = position.to;
            }
        }

        #[test]
        fn a_keyset_is_ascending_unique_and_above_its_start(
            ids in proptest::collection::vec(0i64..50, 0..40),
            after in 0i64..50,
        ) {
            let expected: std::collections::BTreeSet<_> =
                ids.iter().copied().filter(|id| *id > after).collect();
            prop_assert_eq!(keyset(ids, after), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
