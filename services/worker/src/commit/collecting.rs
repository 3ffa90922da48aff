//! How long a transaction collects pages before it is written. Pure.

use std::time::{Duration, Instant};

use schemas::Run;

use super::Item;
use crate::{
    schedule::{Reason, Slot},
    sync::Change,
};

/// Pages of the backfill: from one transaction to the next. Until it has ended the tables
/// lack objects anyway, so servers that are not kept busy by small transactions count more.
const BACKFILL: Duration = Duration::from_secs(3);
/// Pages of other passes over the lists: from one transaction to the next. With as long a wait
/// of the loader, its insert and two commits, such a page is visible within a second.
const PASSES: Duration = Duration::from_millis(600);
/// Other pages within a run: a burst of changes.
const CHANGES: Duration = Duration::from_millis(200);

impl Item {
    /// Minimum time from the last transaction to the one that has this item. Zero where
    /// somebody waits for it: only a page in the middle of a run has more to follow.
    pub(super) fn interval(&self) -> Duration {
        let Self::Page(submitted) = self else {
            return Duration::ZERO;
        };
        match &submitted.page.change {
            Change::Run(run) if run.end.is_none() => match run.reason.slot() {
                Slot::Pass if run.reason == Reason::Backfill && !has_read_all(&run.run) => BACKFILL,
                Slot::Pass => PASSES,
                Slot::Increments | Slot::Check => CHANGES,
            },
            _ => Duration::ZERO,
        }
    }
}

/// Whether nothing of the live list is left, which is read last.
fn has_read_all(run: &Run) -> bool {
    let list = run.list.as_ref().filter(|list| !list.archived);
    list.is_some_and(|list| !list.lanes.is_empty() && list.lanes.iter().all(|it| it.done))
}

/// When the open transaction is written.
///
/// A transaction costs the servers about the same whether it has 1 record or 1,000, and
/// the loader makes an insert of it. So the first one after a pause is written at once,
/// and those that follow it at intervals, each as early as its most urgent item wants.
#[derive(Debug, Default)]
pub(super) struct Collecting {
    /// When the last transaction was written.
    last: Option<Instant>,
    /// Of the open transaction; `None` before its first item.
    interval: Option<Duration>,
}

impl Collecting {
    /// The open transaction takes an item with this interval.
    pub(super) fn take(&mut self, interval: Duration) {
        self.interval = Some(self.interval.map_or(interval, |it| it.min(interval)));
    }

    /// How long the open transaction waits for another item.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let (Some(last), Some(interval)) = (self.last, self.interval) else {
            return Duration::ZERO;
        };
        (last + interval).saturating_duration_since(now)
    }

    /// The open transaction is written now.
    pub(super) fn written(&mut self, now: Instant) {
        self.last = Some(now);
        self.interval = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The transactions that items make, by the times in ms at which they come: when
    /// each is written, and the times of its items.
    fn transactions(items: &[(u64, Duration)]) -> Vec<(u64, Vec<u64>)> {
        let start = Instant::now();
        let mut collecting = Collecting::default();
        let mut items = items.iter().peekable();
        let mut open = Vec::new();
        let mut written = Vec::new();
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            while let Some((at, interval)) = items.next_if(|it| it.0 == ms) {
                collecting.take(*interval);
                open.push(*at);
            }
            if !open.is_empty() && collecting.wait(now).is_zero() {
                collecting.written(now);
                written.push((ms, std::mem::take(&mut open)));
            }
        }
        written
    }

    #[test]
    fn pages_of_a_pass_share_transactions() {
        let pages: Vec<_> = (0..20).map(|it| (it * 50, PASSES)).collect();
        let times: Vec<u64> = transactions(&pages).iter().map(|it| it.0).collect();
        assert_eq!(times, [0, 600, 1_200]);
    }

    #[test]
    fn what_somebody_waits_for_is_written_at_once_with_all_before_it() {
        let items = [
            (0, PASSES),
            (50, PASSES),
            (70, Duration::ZERO),
            (80, PASSES),
            (90, CHANGES),
        ];
        let expected = [(0, vec![0]), (70, vec![50, 70]), (270, vec![80, 90])];
        assert_eq!(transactions(&items), expected);
    }

    #[test]
    fn a_page_after_a_pause_does_not_wait() {
        let items = [(0, PASSES), (1_000, PASSES), (3_000, CHANGES)];
        assert_eq!(transactions(&items).len(), 3);
        assert!(transactions(&items).iter().all(|it| it.1 == [it.0]));
    }

    proptest! {
        #[test]
        fn no_item_waits_longer_than_its_interval_and_none_is_lost(
            mut items in proptest::collection::vec(
                (0..9_000u64, prop_oneof![Just(PASSES), Just(CHANGES), Just(Duration::ZERO)]),
                0..200,
            ),
        ) {
            items.sort_unstable();
            let written = transactions(&items);
            let mut waited = written.iter().flat_map(|(at, items)| items.iter().map(move |it| at - it));
            for (at, interval) in &items {
                let waited = waited.next().unwrap();
                prop_assert!(u128::from(waited) <= interval.as_millis(), "{at}: {waited} ms");
            }
            prop_assert!(waited.next().is_none());
        }
    }
}
