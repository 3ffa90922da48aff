//! Compares what the log has of a stream, as the worker's verdict says, with what the
//! warehouse has. Pure.

use std::collections::BTreeMap;

use schemas::{DigestRange, Millis, Verdict};

/// The outcome of a comparison of a verdict with the warehouse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Name of the connection.
    pub(crate) connection: String,
    /// Object type.
    pub(crate) stream: String,
    /// The pass that the verdict is of.
    pub(crate) run_id: String,
    /// The one-time request that the pass carried out.
    pub(crate) request_id: Option<String>,
    /// HubSpot's time of its first request.
    pub(crate) started_at: Millis,
    /// HubSpot's time when the objects that seemed to be gone were decided.
    pub(crate) finished_at: Millis,
    /// When the two were compared, by this machine's clock.
    pub(crate) compared_at: Millis,
    /// Live objects by the verdict.
    pub(crate) in_hubspot: i64,
    /// Live objects in the warehouse, as of the verdict.
    pub(crate) in_warehouse: i64,
    /// Records that the pass wrote, without deletions.
    pub(crate) changed: i64,
    /// Objects that the pass found to be gone.
    pub(crate) deleted: i64,
    /// Objects that HubSpot did not give.
    pub(crate) unreadable: i64,
    /// See [`still_different`].
    pub(crate) still_different: i64,
}

impl Comparison {
    /// The outcome for a verdict.
    pub(crate) fn new(connection: &str, verdict: &Verdict) -> Self {
        Self {
            connection: connection.to_owned(),
            stream: verdict.stream.clone(),
            run_id: verdict.run_id.clone(),
            request_id: verdict.request_id.clone(),
            started_at: verdict.started_at,
            finished_at: verdict.finished_at,
            in_hubspot: verdict.objects,
            changed: verdict.changed,
            deleted: verdict.deleted,
            unreadable: verdict.unreadable,
            ..Self::default()
        }
    }
}

/// What the warehouse has of the objects in a range of ids, without the deleted ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StoredRange {
    /// Live and archived objects.
    pub(crate) objects: i64,
    /// Live objects.
    pub(crate) live: i64,
    /// The sum of the digests of all of them; the bits of a `u64`.
    pub(crate) digest: i64,
    /// Objects whose content hash is not known: their digest says nothing.
    pub(crate) unverified: i64,
}

/// What the warehouse has, by the first id of each range; a range without objects may
/// be left out.
pub(crate) type StoredRanges = BTreeMap<i64, StoredRange>;

/// A range of ids of which the log and the warehouse have different objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DifferentRange {
    /// Its first id.
    pub(crate) first_id: i64,
    /// The first id after it; `None` for the last range.
    pub(crate) end_id: Option<i64>,
    /// Live and archived objects in the log.
    pub(crate) in_log: i64,
    /// Those in the warehouse.
    pub(crate) in_warehouse: i64,
}

impl DifferentRange {
    /// Whether an id belongs to it.
    pub(crate) fn has(&self, id: i64) -> bool {
        self.first_id <= id && self.end_id.is_none_or(|end| id < end)
    }
}

/// The ranges of a verdict in the order of their ids, at least one. The first one
/// holds all ids below the second.
pub(crate) fn ranges(verdict: &Verdict) -> Vec<DigestRange> {
    let mut ranges = verdict.ranges.clone();
    if ranges.is_empty() {
        ranges.push(DigestRange::default());
    }
    ranges.sort_by_key(|range| range.first_id);
    if let Some(first) = ranges.first_mut() {
        first.first_id = 0;
    }
    ranges
}

/// The ranges in which the warehouse has other objects than the log. A range with
/// objects whose hash is not known is compared by the number of objects only.
pub(crate) fn differences(ranges: &[DigestRange], stored: &StoredRanges) -> Vec<DifferentRange> {
    let ends = ranges.iter().skip(1).map(|next| Some(next.first_id));
    let with_ends = ranges.iter().zip(ends.chain([None]));
    with_ends
        .filter_map(|(range, end_id)| {
            let found = stored.get(&range.first_id).copied().unwrap_or_default();
            let same = found.objects == range.objects
                && (found.unverified > 0 || found.digest == range.digest);
            (!same).then_some(DifferentRange {
                first_id: range.first_id,
                end_id,
                in_log: range.objects,
                in_warehouse: found.objects,
            })
        })
        .collect()
}

/// At least so many objects differ: a digest does not tell how many.
pub(crate) fn still_different(differences: &[DifferentRange]) -> i64 {
    let least = |it: &DifferentRange| (it.in_log - it.in_warehouse).abs().max(1);
    differences.iter().map(least).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(objects: &[(i64, u64)], per_range: usize) -> Verdict {
        let of_range = |some: &[(i64, u64)]| {
            let mut range = DigestRange {
                first_id: some[0].0,
                ..DigestRange::default()
            };
            for (id, hash) in some {
                range.add(*id, *hash);
            }
            range
        };
        Verdict {
            ranges: objects.chunks(per_range).map(of_range).collect(),
            ..Verdict::default()
        }
    }

    /// What the SQL of the warehouse answers.
    fn stored(objects: &[(i64, u64)], ranges: &[DigestRange]) -> StoredRanges {
        let mut stored = StoredRanges::new();
        for (id, hash) in objects {
            let range = ranges.iter().rev().find(|range| range.first_id <= *id);
            let found = stored.entry(range.unwrap().first_id).or_default();
            let mut sum = DigestRange {
                digest: found.digest,
                ..DigestRange::default()
            };
            sum.add(*id, *hash);
            found.objects += 1;
            found.digest = sum.digest;
            found.unverified += i64::from(*hash == 0);
        }
        stored
    }

    #[test]
    fn a_stream_without_objects_is_one_range() {
        let ranges = ranges(&Verdict::default());
        assert_eq!(differences(&ranges, &StoredRanges::new()), []);
        let extra = stored(&[(7, 1)], &ranges);
        let found = differences(&ranges, &extra);
        assert_eq!((found.len(), still_different(&found)), (1, 1));
    }

    #[test]
    fn unknown_hashes_are_compared_by_number() {
        let ranges = ranges(&verdict(&[(1, 10), (2, 20), (3, 30)], 2));
        let found = stored(&[(1, 0), (2, 21), (3, 30)], &ranges);
        assert_eq!(differences(&ranges, &found), []);
        let found = differences(&ranges, &stored(&[(1, 0), (3, 30)], &ranges));
        assert_eq!(
            found,
            [DifferentRange {
                first_id: 0,
                end_id: Some(3),
                in_log: 2,
                in_warehouse: 1,
            }]
        );
        assert!(found[0].has(0) && found[0].has(2) && !found[0].has(3));
    }

    proptest! {
        /// One object lost, added or changed is in exactly the range that differs.
        #[test]
        fn one_wrong_object_is_found_in_its_range(
            objects in prop::collection::btree_map(1i64..5_000, 1u64.., 2..60),
            per_range in 1usize..9,
            which in any::<prop::sample::Index>(),
            wrong in 0..3,
            extra in 5_000i64..6_000,
        ) {
            let objects: Vec<_> = objects.into_iter().collect();
            let ranges = ranges(&verdict(&objects, per_range));
            prop_assert_eq!(differences(&ranges, &stored(&objects, &ranges)), []);
            let mut held = objects;
            let index = which.index(held.len());
            let id = match wrong {
                0 => held.remove(index).0,
                1 => {
                    held[index].1 = held[index].1.wrapping_add(1).max(1);
                    held[index].0
                }
                _ => {
                    held.push((extra, 9));
                    extra
                }
            };
            let found = differences(&ranges, &stored(&held, &ranges));
            prop_assert_eq!(found.len(), 1);
            prop_assert!(found[0].has(id));
            prop_assert_eq!(still_different(&found), 1);
        }
    }
}
