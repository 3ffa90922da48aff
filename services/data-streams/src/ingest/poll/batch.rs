//! Collects messages in batches. A batch is due when it is full or old enough, or when
//! no more messages come and it does not follow another small one too closely. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use chassis::traces::TraceParent;

use super::message::Message;

/// Spans that a batch remembers at most; a batch has more only if it has more than that
/// many pages.
const MAX_TRACES: usize = 256;

/// When a batch is due.
///
/// A batch costs the store about the same whether it has 1 row or 1,000. So the first
/// one after a pause goes out at once, and small ones that follow go out at intervals of
/// [`age`](Self::age), which is also the longest that a message waits.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Maximum number of messages.
    pub rows: usize,
    /// Maximum bytes of keys and values. A larger message is a batch by itself.
    pub bytes: usize,
    /// Maximum time since its first message, and minimum time since the last batch that
    /// was not full.
    pub age: Duration,
    /// Time without a message after which no more are expected soon.
    pub quiet: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            rows: 10_000,
            bytes: 16 * 1024 * 1024,
            age: Duration::from_millis(400),
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
    /// The spans that wrote its messages.
    pub traces: BTreeSet<TraceParent>,
}

/// Builds one batch after another.
#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchLimits,
    open: Batch,
    opened_at: Option<Instant>,
    /// When the last message came.
    last_message_at: Option<Instant>,
    /// When the last batch was taken, if it was not full.
    last_small_at: Option<Instant>,
}

impl Batcher {
    /// An empty batcher.
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            open: Batch::default(),
            opened_at: None,
            last_message_at: None,
            last_small_at: None,
        }
    }

    /// Adds a message. Returns the open batch first if the message does not fit
    /// into it.
    pub(crate) fn push(&mut self, mut message: Message, now: Instant) -> Option<Batch> {
        let size = message.size();
        let full = !self.open.messages.is_empty() && self.open.bytes + size > self.limits.bytes;
        let before = if full { self.take() } else { None };
        self.opened_at.get_or_insert(now);
        self.last_message_at = Some(now);
        self.open.bytes += size;
        if let Some(trace) = message.trace.take()
            && self.open.traces.len() < MAX_TRACES
        {
            self.open.traces.insert(trace);
        }
        self.open.next.insert(message.partition, message.offset + 1);
        self.open.messages.push(message);
        before
    }

    /// When the open batch is due, unless it fills earlier; `None` if there is
    /// none.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let opened_at = self.opened_at?;
        if self.is_full() {
            return Some(opened_at);
        }
        let quiet = self.last_message_at.unwrap_or(opened_at) + self.limits.quiet;
        let due = self
            .last_small_at
            .map_or(quiet, |last| quiet.max(last + self.limits.age));
        Some(due.min(opened_at + self.limits.age))
    }

    /// The open batch, if it is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Batch> {
        if self.due_at()? > now {
            return None;
        }
        let is_small = !self.is_full();
        let batch = self.take();
        self.last_small_at = is_small.then_some(now);
        batch
    }

    /// The open batch, if there is one.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        self.opened_at.take()?;
        self.last_small_at = None;
        Some(std::mem::take(&mut self.open))
    }

    /// Whether there is no open batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.messages.is_empty()
    }

    /// Drops the messages of a partition that will be read again.
    pub(crate) fn forget(&mut self, partition: i32) {
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
        let full_by_two = limits(2, 1_000);
        let taken = taken(full_by_two, &[0, 500, 510, 600]);
        assert_eq!(times(&taken), [50, 510, 650]);
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

        #[test]
        fn a_message_waits_for_the_age_at_most_and_small_batches_are_that_far_apart(
            mut messages in proptest::collection::vec(0..9_000u64, 0..200),
            rows in 1..20usize,
        ) {
            messages.sort_unstable();
            let taken = taken(limits(rows, 1_000), &messages);
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
}
