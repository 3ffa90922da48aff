//! Collects messages in batches. A batch is due when it is full, old enough, or
//! the end of the log was reached. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::message::Message;

/// When a batch is due.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Maximum number of messages.
    pub rows: usize,
    /// Maximum bytes of keys and values. A larger message is a batch by itself.
    pub bytes: usize,
    /// Maximum time since its first message.
    pub age: Duration,
    /// Maximum time since the consumer reached the end of the log.
    pub quiet: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            rows: 10_000,
            bytes: 16 * 1024 * 1024,
            age: Duration::from_secs(1),
            quiet: Duration::from_millis(50),
        }
    }
}

/// Messages that are stored together, and the offsets to commit after that.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The assignment under which it was read.
    pub generation: u64,
    /// In the order in which they were read.
    pub messages: Vec<Message>,
    /// By partition, the offset to commit once all messages are stored.
    pub next: BTreeMap<i32, i64>,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// Builds one batch after another.
#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchLimits,
    open: Batch,
    opened_at: Option<Instant>,
    /// Partitions with messages after their last reported end.
    behind: BTreeSet<i32>,
    end_since: Option<Instant>,
}

impl Batcher {
    /// An empty batcher.
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            open: Batch::default(),
            opened_at: None,
            behind: BTreeSet::new(),
            end_since: None,
        }
    }

    /// Adds a message. Returns the open batch first if the message does not fit
    /// into it.
    pub(crate) fn push(&mut self, message: Message, now: Instant) -> Option<Batch> {
        let size = message.size();
        let full = !self.open.messages.is_empty() && self.open.bytes + size > self.limits.bytes;
        let before = if full { self.take() } else { None };
        self.opened_at.get_or_insert(now);
        self.end_since = None;
        self.behind.insert(message.partition);
        self.open.bytes += size;
        self.open.next.insert(message.partition, message.offset + 1);
        self.open.messages.push(message);
        before
    }

    /// The end of a partition was reached.
    pub(crate) fn end(&mut self, partition: i32, now: Instant) {
        self.behind.remove(&partition);
        if self.behind.is_empty() {
            self.end_since.get_or_insert(now);
        }
    }

    /// When the open batch is due, unless it fills earlier; `None` if there is
    /// none.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let opened_at = self.opened_at?;
        if self.is_full() {
            return Some(opened_at);
        }
        let by_age = opened_at + self.limits.age;
        Some(
            self.end_since
                .map_or(by_age, |end| by_age.min(end + self.limits.quiet)),
        )
    }

    /// The open batch, if it is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Batch> {
        if self.due_at()? <= now {
            self.take()
        } else {
            None
        }
    }

    /// The open batch, if there is one.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        self.opened_at.take()?;
        self.end_since = None;
        Some(std::mem::take(&mut self.open))
    }

    /// Whether there is no open batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.messages.is_empty()
    }

    /// Drops the messages of a partition that will be read again.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.behind.remove(&partition);
        self.open
            .messages
            .retain(|message| message.partition != partition);
        self.open.next.remove(&partition);
        self.open.bytes = self.open.messages.iter().map(Message::size).sum();
        if self.open.messages.is_empty() {
            self.opened_at = None;
        }
    }

    /// Drops all messages.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.limits);
    }

    fn is_full(&self) -> bool {
        self.open.messages.len() >= self.limits.rows || self.open.bytes >= self.limits.bytes
    }
}

#[cfg(test)]
mod tests {
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

    fn limits(rows: usize, bytes: usize) -> BatchLimits {
        BatchLimits {
            rows,
            bytes,
            ..BatchLimits::default()
        }
    }

    #[test]
    fn a_batch_is_due_shortly_after_the_end_of_every_partition_was_reached() {
        let start = Instant::now();
        let mut batcher = Batcher::new(BatchLimits::default());
        assert!(batcher.push(message(0, 5, 1), start).is_none());
        assert!(batcher.push(message(1, 7, 1), start).is_none());
        batcher.end(0, start);
        assert_eq!(batcher.due_at(), Some(start + Duration::from_secs(1)));
        batcher.end(1, start + Duration::from_millis(10));
        assert_eq!(batcher.due_at(), Some(start + Duration::from_millis(60)));
        let batch = batcher.take_due(start + Duration::from_millis(60)).unwrap();
        assert_eq!(batch.next, BTreeMap::from([(0, 6), (1, 8)]));
        assert!(batcher.due_at().is_none());
    }

    #[test]
    fn a_message_larger_than_a_batch_is_a_batch_of_its_own() {
        let now = Instant::now();
        let mut batcher = Batcher::new(limits(10, 100));
        assert!(batcher.push(message(0, 0, 10), now).is_none());
        assert_eq!(
            batcher
                .push(message(0, 1, 500), now)
                .unwrap()
                .messages
                .len(),
            1
        );
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
        assert_eq!(batch.bytes, 10);
    }

    proptest! {
        #[test]
        fn every_message_is_returned_once_in_order_within_the_limits(
            sizes in proptest::collection::vec((0..4i32, 1..400usize), 0..200),
            rows in 1..20usize,
        ) {
            let now = Instant::now();
            let mut batcher = Batcher::new(limits(rows, 1_000));
            let mut batches = Vec::new();
            for (offset, (partition, size)) in sizes.iter().enumerate() {
                let offset = i64::try_from(offset).unwrap();
                batches.extend(batcher.push(message(*partition, offset, *size), now));
                batches.extend(batcher.take_due(now));
            }
            batches.extend(batcher.take());
            let mut seen = Vec::new();
            for batch in &batches {
                prop_assert!(batch.messages.len() <= rows);
                prop_assert!(batch.bytes <= 1_000 || batch.messages.len() == 1);
                for (partition, next) in &batch.next {
                    let last = batch.messages.iter().rfind(|m| m.partition == *partition);
                    prop_assert_eq!(last.map(|m| m.offset + 1), Some(*next));
                }
                seen.extend(batch.messages.iter().map(|m| m.offset));
            }
            let all: Vec<i64> = (0..i64::try_from(sizes.len()).unwrap()).collect();
            prop_assert_eq!(seen, all);
        }
    }
}
