//! Generated scenarios: the size of a portal, how it changes, when the log fails.

use proptest::{collection::vec, prelude::*};

use super::fake_portal::{Churn, FakePortal};

pub(super) struct Scenario {
    pub(super) portal: FakePortal,
    pub(super) lanes: usize,
    pub(super) crashes: Vec<usize>,
    pub(super) rounds: usize,
}

/// Shows the seed of the portal instead of its content.
impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            portal,
            lanes,
            crashes,
            rounds,
        } = self;
        write!(
            f,
            "{}, {lanes} lanes, crashes {crashes:?}, {rounds} rounds",
            portal.origin
        )
    }
}

/// Scenarios with creations and changes, and with `moves` also archiving, restoring,
/// merging and erasing.
pub(super) fn scenarios(moves: bool) -> impl Strategy<Value = Scenario> {
    let portal = (
        any::<u64>(),
        0usize..160,
        3usize..30,
        3usize..40,
        prop::bool::weighted(0.2),
    );
    let churn = (0u32..250, 0u32..3, 1i64..12_000);
    (portal, churn, 1usize..9, vec(0usize..12, 0..8), 1usize..5).prop_map(
        move |((seed, count, page_size, search_size, opaque), churn, lanes, crashes, rounds)| {
            let mut portal = FakePortal::new(seed, count);
            (portal.opaque, portal.page_size) = (opaque, page_size);
            portal.search_size = search_size;
            portal.origin = format!(
                "seed {seed}, {count} objects, pages of {page_size} and {search_size}, {churn:?}"
            );
            let (changes, new_properties, lag) = churn;
            portal.set_churn(Churn {
                changes,
                moves,
                new_properties,
                lag,
            });
            Scenario {
                portal,
                lanes,
                crashes,
                rounds,
            }
        },
    )
}
