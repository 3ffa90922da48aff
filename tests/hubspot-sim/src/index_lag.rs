//! How late search shows a change.

use crate::{
    config::{LateRows, Quirks},
    share::Share,
};

/// The lag of the search index for one object type.
#[derive(Debug, Default, Clone)]
pub(crate) struct IndexLag {
    usual_ms: i64,
    late: Vec<(Share, i64)>,
}

impl IndexLag {
    /// The lag of a type.
    pub(crate) fn of(quirks: &Quirks, object_type: &str) -> Self {
        let applies = |rows: &&LateRows| {
            let only = rows.object_type.as_deref();
            only.is_none_or(|name| name == object_type)
        };
        let late = quirks.late_rows.iter().filter(applies).map(|rows| {
            let share = Share {
                percent: rows.percent,
                seed: rows.seed,
            };
            (share, rows.ms)
        });
        Self {
            usual_ms: quirks.index_lag_ms,
            late: late.collect(),
        }
    }

    /// The lag of an object, in ms.
    pub(crate) fn of_object(&self, id: u64) -> i64 {
        let late = self.late.iter().filter(|(share, _)| share.holds(id));
        late.map(|(_, ms)| *ms).fold(self.usual_ms, i64::max)
    }

    /// The longest lag of any object, in ms.
    pub(crate) fn longest_ms(&self) -> i64 {
        self.late
            .iter()
            .map(|(_, ms)| *ms)
            .fold(self.usual_ms, i64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_rows_are_those_of_their_type_and_share() {
        let late = |object_type: Option<&str>, percent, ms| LateRows {
            object_type: object_type.map(str::to_owned),
            percent,
            ms,
            seed: 0,
        };
        let quirks = Quirks {
            index_lag_ms: 5,
            late_rows: vec![late(Some("contacts"), 50.0, 900), late(None, 100.0, 7)],
            ..Quirks::default()
        };
        let contacts = IndexLag::of(&quirks, "contacts");
        let lags: std::collections::BTreeSet<i64> =
            (0..100).map(|id| contacts.of_object(id)).collect();
        assert_eq!(lags.into_iter().collect::<Vec<_>>(), [7, 900]);
        assert_eq!(contacts.longest_ms(), 900);
        assert_eq!(IndexLag::of(&quirks, "deals").of_object(1), 7);
    }
}
