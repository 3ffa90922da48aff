//! The work that the index adds to a first pass, for the benchmark.

use super::{Entry, StreamIndex};

/// Objects of a page.
const PAGE: i64 = 100;
/// Distance of two ids.
const STRIDE: i64 = 137;

/// Makes the messages that the index adds to a first pass over that many objects, page
/// by page, as the owner of a stream does: looks up what is known of the page's objects
/// and of their range, and puts their entries.
pub fn first_pass(objects: u32) -> Vec<Vec<u8>> {
    let mut index = StreamIndex::default();
    let mut messages = Vec::new();
    let ids: Vec<i64> = (0..i64::from(objects)).map(|it| it * STRIDE).collect();
    for (number, page) in (1..).zip(ids.chunks(usize::try_from(PAGE).unwrap_or(1))) {
        let known = index.find(page.iter().copied());
        let bounds = page.first().zip(page.last());
        let there = bounds.map(|(first, last)| index.range(*first..=*last));
        let is_new = |id: &i64| {
            let in_range = there.iter().flatten().any(|it| it.id == *id);
            !known.contains_key(id) && !in_range
        };
        let entries = page.iter().filter(|id| is_new(id)).map(|id| Entry {
            id: *id,
            updated_at: 1_790_000_000_000 + id % 86_400_000,
            content_hash: id.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15),
            sequence: 1_800_000_000_000 + number,
            ..Entry::default()
        });
        let writes = index.put(entries.collect());
        messages.extend(writes.into_iter().filter_map(|it| it.entries));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_a_message() {
        assert_eq!(first_pass(1_000).len(), 10);
    }
}
