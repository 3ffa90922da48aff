//! Stories to tell: how large a portal is, how it changes, where it breaks off.

use proptest::{collection::vec, prelude::*};

use super::portal::{Portal, Unrest};

pub(super) struct Story {
    pub(super) portal: Portal,
    pub(super) lanes: usize,
    pub(super) crashes: Vec<usize>,
    pub(super) rounds: usize,
}

/// The seed that made the portal says more than its content.
impl std::fmt::Debug for Story {
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

/// Stories with creations and changes, and where `moves` is set with
/// archiving, restoring, merging and erasing as well.
pub(super) fn stories(moves: bool) -> impl Strategy<Value = Story> {
    let portal = (
        any::<u64>(),
        0usize..160,
        3usize..30,
        3usize..40,
        prop::bool::weighted(0.2),
    );
    let unrest = (0u32..250, 0u32..3, 1i64..12_000);
    (portal, unrest, 1usize..9, vec(0usize..12, 0..8), 1usize..5).prop_map(
        move |((seed, count, page_size, search_size, opaque), unrest, lanes, crashes, rounds)| {
            let mut portal = Portal::quiet(seed, count);
            (portal.opaque, portal.page_size) = (opaque, page_size);
            portal.search_size = search_size;
            portal.origin = format!(
                "seed {seed}, {count} objects, pages of {page_size} and {search_size}, {unrest:?}"
            );
            let (changes, new_properties, lag) = unrest;
            portal.be_unquiet(Unrest {
                changes,
                moves,
                new_properties,
                lag,
            });
            Story {
                portal,
                lanes,
                crashes,
                rounds,
            }
        },
    )
}
