//! How far apart the ids of a list are.

use super::super::Object;

/// The mean distance of ids, in ids per 1,000 records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Spacing(i64);

impl Spacing {
    /// Of that many records, the first and last of which have these ids. `None` for
    /// fewer than two.
    pub(super) fn between(first: i64, last: i64, records: i64) -> Option<Self> {
        let distances = records.checked_sub(1).filter(|it| *it > 0)?;
        let span = i128::from(last) - i128::from(first);
        Some(Self(
            narrow(span * 1_000 / i128::from(distances)).max(1_000),
        ))
    }

    /// Of the ids ahead of a page: of its longest end that is like its last quarter,
    /// as ids of two origins can meet in a page.
    pub(super) fn after_page(objects: &[Object]) -> Option<Self> {
        let last = objects.last()?.id;
        let of_last = |count: usize| {
            let first = objects.get(objects.len().checked_sub(count)?)?.id;
            Self::between(first, last, i64::try_from(count).ok()?)
        };
        let whole = of_last(objects.len())?;
        let Some(quarter) = of_last(objects.len() / 4) else {
            return Some(whole);
        };
        let longer = [Some(whole), of_last(objects.len() / 2)];
        let near = longer.into_iter().flatten().find(|it| it.is_near(quarter));
        Some(near.unwrap_or(quarter))
    }

    /// Of ids in any order.
    pub(in super::super) fn of_ids(ids: &[i64]) -> Option<Self> {
        let (first, last) = (ids.iter().min()?, ids.iter().max()?);
        Self::between(*first, *last, i64::try_from(ids.len()).ok()?)
    }

    /// Whether the two differ by less than a factor of two.
    pub(super) fn is_near(self, other: Self) -> bool {
        let (a, b) = (self.0.min(other.0), self.0.max(other.0));
        i128::from(a) * 2 > i128::from(b)
    }

    /// Records to expect in that many ids.
    pub(super) fn records(self, width: i64) -> i64 {
        narrow(i128::from(width.max(0)) * 1_000 / i128::from(self.0))
    }

    /// Ids that have that many records.
    pub(super) fn width(self, records: i64) -> i64 {
        narrow(i128::from(records) * i128::from(self.0) / 1_000)
    }
}

fn narrow(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_which_two_origins_meet_counts_by_its_last_ids() {
        let object = |id| Object {
            id,
            ..Object::default()
        };
        let old = (1..=50).map(|n| object(n * 50));
        let new = (0..50).map(|n| object(20_000_000_000 + n * 1_000));
        let page: Vec<_> = old.chain(new).collect();
        let spacing = Spacing::after_page(&page).unwrap();
        assert_eq!(spacing.records(100_000), 100);
        assert_eq!(spacing.width(100), 100_000);
        assert_eq!(Spacing::after_page(&page[..1]), None);
    }
}
