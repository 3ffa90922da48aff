//! Batches keep their limits, and no message waits too long or is lost.

use proptest::prelude::*;

use super::*;

fn message(partition: i32, offset: i64, size: usize) -> Message {
    Message {
        partition,
        offset,
        value: Some(vec![0; size].into()),
        ..Message::default()
    }
}

/// Bytes that an empty message takes.
const EMPTY: usize = size_of::<Message>();

fn of_table(table: usize, offset: i64, size: usize) -> Message {
    Message {
        key: Some(format!("1/type{table}/{offset}").into()),
        ..message(0, offset, size)
    }
}

#[test]
fn rows_are_counted_by_table_and_a_table_has_a_quarter_of_the_bytes() {
    let now = Instant::now();
    let mut batcher = Batcher::new(limits(3, 1 << 20));
    for (offset, table) in [0, 1, 2, 0, 1, 2, 0].into_iter().enumerate() {
        assert!(batcher.take_due(now).is_none());
        let message = of_table(table, i64::try_from(offset).unwrap(), 1);
        assert!(batcher.push(message, now).is_none());
    }
    assert_eq!(batcher.take_due(now).unwrap().messages.len(), 7);

    let mut batcher = Batcher::new(limits(100, 8 * (EMPTY + 100)));
    assert!(batcher.push(of_table(0, 0, 60), now).is_none());
    assert!(batcher.push(of_table(1, 1, 60), now).is_none());
    assert!(batcher.push(of_table(0, 2, 60), now).is_none());
    // A third one of the same table does not fit.
    let before = batcher.push(of_table(0, 3, 60), now).unwrap();
    assert_eq!(before.messages.len(), 3);
    assert_eq!(batcher.take().unwrap().messages.len(), 1);
}

#[test]
fn what_is_forgotten_does_not_count() {
    let now = Instant::now();
    let mut batcher = Batcher::new(limits(2, 1 << 20));
    assert!(batcher.push(message(0, 0, 1), now).is_none());
    batcher.forget(0);
    assert!(batcher.push(message(1, 0, 1), now).is_none());
    assert!(batcher.take_due(now).is_none());
}

fn limits(rows: usize, bytes: usize) -> BatchLimits {
    BatchLimits {
        rows,
        bytes,
        ..BatchLimits::default()
    }
}

#[test]
fn a_batch_is_due_shortly_after_its_last_message_or_at_its_age() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut batcher = Batcher::new(BatchLimits::default());
    assert!(batcher.push(message(0, 5, 1), start).is_none());
    assert_eq!(batcher.due_at(), Some(ms(50)));
    assert!(batcher.push(message(1, 7, 1), ms(40)).is_none());
    assert_eq!(batcher.due_at(), Some(ms(90)));
    assert!(batcher.push(message(0, 6, 1), ms(380)).is_none());
    assert_eq!(batcher.due_at(), Some(ms(400)));
    let batch = batcher.take_due(ms(400)).unwrap();
    assert_eq!(batch.next, BTreeMap::from([(0, 7), (1, 8)]));
    assert!(batcher.due_at().is_none());
}

/// When batches are taken, in ms, if a message comes at each of these times.
fn taken(limits: BatchLimits, messages: &[u64]) -> Vec<(u64, Batch)> {
    let start = Instant::now();
    let mut batcher = Batcher::new(limits);
    let mut messages = messages.iter().peekable();
    let mut taken = Vec::new();
    for ms in 0..10_000 {
        let now = start + Duration::from_millis(ms);
        while messages.next_if_eq(&&ms).is_some() {
            // Its offset is its time.
            let offset = i64::try_from(ms).unwrap();
            let before = batcher.push(message(0, offset, 1), now);
            taken.extend(before.map(|it| (ms, it)));
        }
        taken.extend(batcher.take_due(now).map(|it| (ms, it)));
    }
    taken
}

fn times(taken: &[(u64, Batch)]) -> Vec<u64> {
    taken.iter().map(|it| it.0).collect()
}

#[test]
fn small_batches_that_follow_one_another_are_kept_apart() {
    let each_100_ms: Vec<u64> = (0..10).map(|it| it * 100).collect();
    let taken = taken(BatchLimits::default(), &each_100_ms);
    assert_eq!(times(&taken), [50, 450, 850, 1_250]);
}

#[test]
fn a_batch_after_a_pause_or_after_a_full_one_does_not_wait() {
    let full_by_two = limits(2, 1 << 20);
    let taken = taken(full_by_two, &[0, 500, 510, 600]);
    assert_eq!(times(&taken), [50, 510, 650]);
}

#[test]
fn a_message_larger_than_a_batch_is_a_batch_of_its_own() {
    let now = Instant::now();
    let mut batcher = Batcher::new(limits(10, 8 * (EMPTY + 50)));
    assert!(batcher.push(message(0, 0, 10), now).is_none());
    let before = batcher.push(message(0, 1, 5_000), now);
    assert_eq!(before.unwrap().messages.len(), 1);
    assert_eq!(batcher.take_due(now).unwrap().messages.len(), 1);
}

#[test]
fn a_forgotten_partition_has_nothing_to_commit() {
    let now = Instant::now();
    let mut batcher = Batcher::new(BatchLimits::default());
    assert!(batcher.push(message(0, 0, 10), now).is_none());
    assert!(batcher.push(message(1, 0, 10), now).is_none());
    batcher.forget(0);
    let batch = batcher.take().unwrap();
    assert_eq!(batch.next, BTreeMap::from([(1, 1)]));
    assert_eq!(batch.bytes, EMPTY + 10);
}

proptest! {
    #[test]
    fn every_message_is_returned_once_in_order_within_the_limits(
        sizes in proptest::collection::vec((0..4i32, 0..3usize, 1..400usize), 0..200),
        rows in 1..20usize,
    ) {
        let now = Instant::now();
        let most = 4_000 + 10 * EMPTY;
        let mut batcher = Batcher::new(limits(rows, most));
        let mut batches = Vec::new();
        for (offset, (partition, table, size)) in sizes.iter().enumerate() {
            let offset = i64::try_from(offset).unwrap();
            let message = Message {
                partition: *partition,
                ..of_table(*table, offset, *size)
            };
            batches.extend(batcher.push(message, now));
            batches.extend(batcher.take_due(now));
        }
        batches.extend(batcher.take());
        let mut seen = Vec::new();
        for batch in &batches {
            let mut tables = Tables::default();
            batch.messages.iter().for_each(|message| tables.add(message));
            prop_assert!(tables.most_rows <= rows);
            prop_assert!(tables.most_bytes <= most / 4 || batch.messages.len() == 1);
            prop_assert_eq!(batch.bytes, batch.messages.iter().map(memory).sum::<usize>());
            prop_assert!(batch.bytes <= most);
            for (partition, next) in &batch.next {
                let last = batch.messages.iter().rfind(|m| m.partition == *partition);
                prop_assert_eq!(last.map(|m| m.offset + 1), Some(*next));
            }
            seen.extend(batch.messages.iter().map(|m| m.offset));
        }
        let all: Vec<i64> = (0..i64::try_from(sizes.len()).unwrap()).collect();
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn a_message_waits_for_the_age_at_most_and_small_batches_are_that_far_apart(
        mut messages in proptest::collection::vec(0..9_000u64, 0..200),
        rows in 1..20usize,
    ) {
        messages.sort_unstable();
        let taken = taken(limits(rows, 1 << 20), &messages);
        let mut last_small = None;
        for (at, batch) in &taken {
            let first = u64::try_from(batch.messages[0].offset).unwrap();
            prop_assert!(at - first <= 400, "{} ms", at - first);
            let is_small = batch.messages.len() < rows;
            if let (true, Some(last)) = (is_small, last_small) {
                prop_assert!(at - last >= 400, "{} ms", at - last);
            }
            last_small = is_small.then_some(*at);
        }
    }
}
