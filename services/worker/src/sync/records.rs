//! Turns what was read into records.

use std::collections::{HashMap, HashSet};

use schemas::{ContentHasher, Millis, deletion_hash};

use super::{Fetched, Object, Record};

/// The object that another one was merged into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Winner {
    id: i64,
    updated_at: Millis,
}

impl From<&Object> for Winner {
    fn from(object: &Object) -> Self {
        Self {
            id: object.id,
            updated_at: object.updated_at,
        }
    }
}

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

/// Turns the objects of one answer into records, with a deletion for every id that
/// was merged into one of them. It has the winner's last-modified time, which is not
/// before the merge and so newer than any version of the loser. If the answer still
/// has the loser, the deletion is all that is written of it: two versions of one
/// object must not have one fetch sequence.
pub(super) fn records(objects: Fetched<Vec<Object>>, sequence: i64, out: &mut Vec<Record>) {
    let sent_at = objects.sent_at;
    let merged = merged_in(&objects.value);
    out.reserve(objects.value.len() + merged.len());
    for object in objects.value {
        for id in others(&object) {
            if merged.get(&id).is_some_and(|winner| *winner != object.id) {
                continue;
            }
            let mut record = deletion(id, Some(Winner::from(&object)), sent_at, sequence);
            // So that the deletions differ if the winner is read in both lists.
            record.object.archived = object.archived;
            out.push(record);
        }
        if merged.contains_key(&object.id) {
            continue;
        }
        out.push(Record {
            object,
            deleted: false,
            merged_into: None,
            fetched_at: sent_at,
            fetch_sequence: sequence,
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

/// A deletion. A merged object gets the winner's last-modified time. For one that is
/// gone that time is unknown, so it gets the time of the read, which is newer than
/// any version of it. A time too old would make consumers ignore the deletion; one
/// too new is harmless, as neither an erased nor a merged object comes back (an
/// archived one is not gone).
pub(super) fn deletion(
    id: i64,
    winner: Option<Winner>,
    fetched_at: Millis,
    fetch_sequence: i64,
) -> Record {
    Record {
        object: Object {
            id,
            updated_at: winner.map_or(fetched_at, |winner| winner.updated_at),
            ..Object::default()
        },
        deleted: true,
        merged_into: winner.map(|winner| winner.id),
        fetched_at,
        fetch_sequence,
        content_hash: 0,
    }
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

    fn written(objects: &[(i64, &[i64])]) -> Vec<(i64, bool)> {
        let value = objects.iter().map(|(id, merged)| Object {
            id: *id,
            merged_ids: merged.to_vec(),
            ..Object::default()
        });
        let mut out = Vec::new();
        let objects = Fetched {
            sent_at: 1,
            value: value.collect(),
        };
        records(objects, 2, &mut out);
        out.iter().map(|it| (it.object.id, it.deleted)).collect()
    }

    #[test]
    fn an_object_has_one_record_in_an_answer_that_has_it_and_the_one_it_was_merged_into() {
        let loser_first = written(&[(1, &[]), (2, &[1]), (3, &[])]);
        assert_eq!(loser_first, [(1, true), (2, false), (3, false)]);
        let loser_last = written(&[(2, &[1]), (1, &[])]);
        assert_eq!(loser_last, [(1, true), (2, false)]);
        let chain = written(&[(1, &[]), (2, &[1]), (3, &[1, 2])]);
        assert_eq!(chain, [(1, true), (2, true), (3, false)]);
    }

    #[test]
    fn of_two_objects_that_name_each_other_as_merged_neither_is_lost() {
        let lives = |id| written(&[(1, &[2]), (2, &[1])]).contains(&(id, false));
        assert!(lives(1) && lives(2));
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
