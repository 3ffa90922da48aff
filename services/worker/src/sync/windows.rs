//! Which last-modified times a search reads, and what of its answers counts.
//! Pure.
//!
//! It must not know how a search is made.

use schemas::{Millis, SearchPosition};

/// Where an incremental run starts: one window from the cursor on, read in the
/// order of ids, open at its end, so that fresh and ever-changing records
/// arrive too. The cursor will move to the lag before now, never back.
pub(super) fn since_cursor(cursor: Millis, now: Millis, lag: Millis) -> SearchPosition {
    SearchPosition {
        from: cursor,
        to: (now - lag).max(cursor),
        window_to: None,
        last_id: 0,
    }
}

/// Where a late run starts: the window of that span before the cursor. What
/// lies behind the cursor is the next incremental run's.
pub(super) fn before_cursor(cursor: Millis, span: Millis) -> SearchPosition {
    let from = cursor.saturating_sub(span).max(0);
    SearchPosition {
        from,
        to: cursor,
        window_to: Some(cursor),
        last_id: 0,
    }
}

/// Whether an object, as read, belongs to the window. The read shows its
/// newest state: one that has changed since it was searched for has left a
/// closed window, and whoever reads behind the window will meet it there.
pub(super) fn contains(position: &SearchPosition, updated_at: Millis) -> bool {
    position.window_to.is_none_or(|end| updated_at < end)
}

/// Whether whoever reads this window or behind it meets an object of that time.
pub(super) fn is_ahead(position: &SearchPosition, updated_at: Millis) -> bool {
    updated_at >= position.from
}

/// Ids as a keyset needs them: ascending, once each, above `after`.
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
        fn runs_one_after_the_other_leave_no_gap(
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
                let late = before_cursor(cursor, 7_200_000);
                prop_assert!(contains(&late, cursor - 1) && !contains(&late, cursor));
                cursor = position.to;
            }
        }

        #[test]
        fn a_keyset_ascends_above_its_start(
            ids in proptest::collection::vec(0i64..50, 0..40),
            after in 0i64..50,
        ) {
            let expected: std::collections::BTreeSet<_> =
                ids.iter().copied().filter(|id| *id > after).collect();
            prop_assert_eq!(keyset(ids, after), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
