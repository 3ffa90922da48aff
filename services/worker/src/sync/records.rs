//! Turns what was read into records.

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
/// before the merge and so newer than any version of the loser.
pub(super) fn records(objects: Fetched<Vec<Object>>, sequence: i64, out: &mut Vec<Record>) {
    out.reserve(objects.value.len());
    for object in objects.value {
        for id in &object.merged_ids {
            if *id != object.id {
                let mut record =
                    deletion(*id, Some(Winner::from(&object)), objects.sent_at, sequence);
                // So that the deletions differ if the winner is read in both lists.
                record.object.archived = object.archived;
                out.push(record);
            }
        }
        out.push(Record {
            object,
            deleted: false,
            merged_into: None,
            fetched_at: objects.sent_at,
            fetch_sequence: sequence,
            content_hash: 0,
        });
    }
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
