//! Packs of entries: how they are cut, compacted and restored.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The messages of a compacted topic, in its order.
#[derive(Debug, Default)]
struct Topic {
    messages: Vec<Write>,
}

impl Topic {
    fn write(&mut self, writes: Vec<Write>) {
        self.messages.extend(writes);
    }

    /// Only the last message of each key stays, tombstones too.
    fn compact(&mut self) {
        self.compact_after(0);
    }

    /// What a reader gets that has read so many messages when the topic is compacted.
    fn compact_after(&mut self, read: usize) {
        let mut last = BTreeMap::new();
        for (index, message) in self.messages.iter().enumerate() {
            last.insert(message.key, index);
        }
        let mut index = 0;
        self.messages.retain(|message| {
            index += 1;
            index <= read || last.get(&message.key) == Some(&(index - 1))
        });
    }

    fn restored(&self) -> StreamIndex {
        let mut index = StreamIndex::default();
        for message in &self.messages {
            index
                .restore(message.key, message.entries.as_deref())
                .unwrap();
        }
        index
    }
}

fn all(index: &StreamIndex) -> Vec<Entry> {
    let mut entries = index.range(i64::MIN..=i64::MAX);
    for entry in &mut entries {
        entry.loose = false;
    }
    entries
}

fn entry(id: i64, sequence: i64) -> Entry {
    Entry {
        id,
        sequence,
        updated_at: sequence / 2,
        content_hash: sequence.cast_unsigned(),
        archived: id % 7 == 0,
        absence: if (id + sequence) % 5 == 0 {
            Absence::Suspected
        } else {
            Absence::None
        },
        deleted: sequence % 11 == 0,
        loose: false,
    }
}

fn page(ids: impl IntoIterator<Item = i64>, sequence: i64) -> Vec<Entry> {
    ids.into_iter().map(|id| entry(id, sequence)).collect()
}

#[test]
fn each_page_of_a_backfill_is_one_message() {
    let mut index = StreamIndex::default();
    for number in 0..50 {
        let writes = index.put(page(number * 100..(number + 1) * 100, number + 1));
        assert_eq!(writes.len(), 1, "page {number}");
    }
    assert_eq!(all(&index).len(), 5_000);
}

#[test]
fn a_few_changes_of_a_pack_are_messages_of_their_own_until_they_are_many() {
    let mut index = StreamIndex::default();
    index.put(page(0..100, 1));
    for id in 0..25 {
        let writes = index.put(page([id], 2));
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].key, IndexKey::Object(id));
    }
    let writes = index.put(page([60], 2));
    assert_eq!(writes[0].key, IndexKey::Pack(0));
    let gone = writes.iter().filter(|it| it.entries.is_none()).count();
    assert_eq!((gone, writes.len()), (25, 26));
}

#[test]
fn what_a_stream_has_in_the_log_is_gone_after_a_tombstone_of_each_key() {
    let mut index = StreamIndex::default();
    let mut topic = Topic::default();
    for number in 0..20 {
        topic.write(index.put(page((number * 37)..(number * 37 + 60), number)));
        topic.write(index.put(page([number * 5], number + 100)));
    }
    let tombstones = index.keys().into_iter();
    topic.write(tombstones.map(|key| Write { key, entries: None }).collect());
    assert_eq!(all(&topic.restored()), []);
    topic.compact();
    assert!(topic.messages.iter().all(|it| it.entries.is_none()));
}

#[test]
fn counts_and_suspects_are_those_of_the_entries() {
    let mut index = StreamIndex::default();
    for round in 0..30 {
        index.put(page(
            (0..200).step_by(1 + round % 9),
            i64::try_from(round).unwrap(),
        ));
    }
    let entries = all(&index);
    let mut counts = Counts::default();
    for entry in &entries {
        counts.add(entry);
    }
    assert_eq!(index.counts(), counts);
    let suspects = entries.iter().filter(|it| it.is_suspect()).count();
    assert_eq!(index.suspects().len(), suspects);
    assert_eq!(suspects, counts.live_suspects + counts.archived_suspects);
}

proptest! {
    #[test]
    fn an_index_is_what_was_put_last_and_its_log_restores_it(
        steps in proptest::collection::vec(
            (proptest::collection::vec(0i64..600, 1..120), any::<bool>()),
            1..30,
        ),
        read in any::<proptest::sample::Index>(),
    ) {
        let mut index = StreamIndex::default();
        let mut topic = Topic::default();
        let mut expected: BTreeMap<i64, Entry> = BTreeMap::new();
        for (number, (ids, compacts)) in steps.into_iter().enumerate() {
            let changes = page(ids, i64::try_from(number).unwrap());
            expected.extend(changes.iter().map(|it| (it.id, *it)));
            topic.write(index.put(changes));
            if compacts {
                topic.compact();
            }
        }
        let expected: Vec<_> = expected.into_values().collect();
        prop_assert_eq!(&all(&index), &expected);
        let found = index.find(expected.iter().map(|it| it.id).chain([-1, 700]));
        prop_assert_eq!(found.len(), expected.len());
        let restored = topic.restored();
        prop_assert_eq!(&all(&restored), &expected);
        prop_assert_eq!(restored.counts(), index.counts());
        // What is put after a restore is written under the same keys.
        let (mut before, mut after) = (index.keys(), restored.keys());
        before.sort_unstable();
        after.sort_unstable();
        prop_assert_eq!(&before, &after);

        topic.compact_after(read.index(topic.messages.len() + 1));
        let restored = topic.restored();
        prop_assert_eq!(&all(&restored), &expected);
        let mut after = restored.keys();
        after.sort_unstable();
        prop_assert_eq!(before, after);
    }
}
