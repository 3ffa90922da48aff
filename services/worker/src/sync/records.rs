//! Turns what was read into records.

use std::collections::{HashMap, HashSet};

use schemas::{ContentHasher, deletion_hash};

use super::{Fetched, Object, Record};

impl Record {
    /// What its content hash has to be.
    pub(super) fn hash(&self, hasher: &mut ContentHasher) -> u64 {
        let object = &self.object;
        if self.deleted {
            deletion_hash(object.archived)
        } else {
            hasher.of_object(object.archived, &object.properties)
        }
    }
}

/// Turns the objects of one answer into records. Every id that was merged into one of
/// them is a suspect. If the answer still has that object, it is no record: HubSpot
/// lists it for a while.
pub(super) fn records(
    objects: Fetched<Vec<Object>>,
    out: &mut Vec<Record>,
    suspects: &mut Vec<i64>,
) {
    let sent_at = objects.sent_at;
    let merged = merged_in(&objects.value);
    out.reserve(objects.value.len());
    for object in objects.value {
        let is_merged = |id: &i64| merged.get(id).is_some_and(|winner| *winner == object.id);
        suspects.extend(others(&object).filter(is_merged));
        if merged.contains_key(&object.id) {
            continue;
        }
        out.push(Record {
            object,
            deleted: false,
            merged_into: None,
            fetched_at: sent_at,
            fetch_sequence: 0,
            content_hash: 0,
        });
    }
}

/// By id that was merged into an object of the answer, that object. An object that
/// another one names as merged is no winner here: of two that name each other, both
/// live.
fn merged_in(objects: &[Object]) -> HashMap<i64, i64> {
    let named: HashSet<i64> = objects.iter().flat_map(others).collect();
    let winners = objects.iter().filter(|it| !named.contains(&it.id));
    winners
        .flat_map(|winner| others(winner).map(|id| (id, winner.id)))
        .collect()
}

/// The ids that were merged into an object, without its own.
fn others(object: &Object) -> impl Iterator<Item = i64> {
    let ids = object.merged_ids.iter().copied();
    ids.filter(|id| *id != object.id)
}

#[cfg(test)]
mod tests {
    use schemas::PropertyMapBuilder;

    use super::*;

    fn record() -> Record {
        let mut properties = PropertyMapBuilder::default();
        properties.push("email", "a@example.com");
        Record {
            object: Object {
                id: 7,
                properties: properties.finish(),
                ..Object::default()
            },
            deleted: false,
            merged_into: None,
            fetched_at: 1,
            fetch_sequence: 2,
            content_hash: 0,
        }
    }

    #[test]
    fn a_deletion_has_the_hash_of_its_flags() {
        let mut hasher = ContentHasher::default();
        let deleted = Record {
            deleted: true,
            ..record()
        };
        assert_ne!(record().hash(&mut hasher), deleted.hash(&mut hasher));
        // The record that is sent has no properties.
        let without = Record {
            object: Object::default(),
            ..deleted.clone()
        };
        assert_eq!(deleted.hash(&mut hasher), without.hash(&mut hasher));
    }

    /// Ids of the records and of the suspects that an answer becomes.
    fn read(objects: &[(i64, &[i64])]) -> (Vec<i64>, Vec<i64>) {
        let value = objects.iter().map(|(id, merged)| Object {
            id: *id,
            merged_ids: merged.to_vec(),
            ..Object::default()
        });
        let (mut out, mut suspects) = (Vec::new(), Vec::new());
        let objects = Fetched {
            sent_at: 1,
            value: value.collect(),
        };
        records(objects, &mut out, &mut suspects);
        (out.iter().map(|it| it.object.id).collect(), suspects)
    }

    #[test]
    fn an_object_beside_the_one_it_was_merged_into_is_a_suspect_and_no_record() {
        let loser_first = read(&[(1, &[]), (2, &[1]), (3, &[])]);
        assert_eq!(loser_first, (vec![2, 3], vec![1]));
        assert_eq!(read(&[(2, &[1]), (1, &[])]), (vec![2], vec![1]));
        let chain = read(&[(1, &[]), (2, &[1]), (3, &[1, 2])]);
        assert_eq!(chain, (vec![3], vec![1, 2]));
    }

    #[test]
    fn of_two_objects_that_name_each_other_as_merged_neither_is_lost() {
        let (records, _) = read(&[(1, &[2]), (2, &[1])]);
        assert_eq!(records, [1, 2]);
    }

    #[test]
    fn only_content_is_hashed() {
        let mut hasher = ContentHasher::default();
        let later = Record {
            object: Object {
                updated_at: 9,
                created_at: 8,
                ..record().object
            },
            fetched_at: 10,
            fetch_sequence: 11,
            ..record()
        };
        assert_eq!(record().hash(&mut hasher), later.hash(&mut hasher));
    }
}
