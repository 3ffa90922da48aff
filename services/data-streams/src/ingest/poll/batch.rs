//! Collects messages in batches. A batch is due when it is full or old enough, or when
//! no more messages come and it does not follow another small one too closely. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
/// [`age`](Self::age), which is also the longest that a message waits. For the same reason
/// a batch of many tables is larger than that of one: it would be as many small inserts.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Maximum number of messages of one table.
    pub rows: usize,
    /// Maximum bytes that the messages take in memory; one table has a quarter of them at
    /// most. A larger message is a batch by itself.
    pub bytes: usize,
    /// Maximum time since its first message, and minimum time since the last batch that
    /// was not full.
    pub age: Duration,
    /// Time without a message after which no more are expected soon.
    pub quiet: Duration,
}

impl BatchLimits {
    const fn bytes_of_table(&self) -> usize {
        self.bytes / 4
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            rows: 10_000,
            bytes: 64 * 1024 * 1024,
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
    /// By partition, the number of the hold after which it was read.
    pub sought: HashMap<i32, u64>,
    /// Bytes that the messages take in memory.
    pub bytes: usize,
    /// The spans that wrote its messages.
    pub traces: BTreeSet<TraceParent>,
}

/// Builds one batch after another.
#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchLimits,
    open: Batch,
    tables: Tables,
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
            tables: Tables::default(),
            opened_at: None,
            last_message_at: None,
            last_small_at: None,
        }
    }

    /// Adds a message. Returns the open batch first if the message does not fit
    /// into it.
    pub(crate) fn push(&mut self, mut message: Message, now: Instant) -> Option<Batch> {
        let size = memory(&message);
        let of_table = self.tables.bytes(&message);
        let fits = self.open.bytes + size <= self.limits.bytes
            && of_table + size <= self.limits.bytes_of_table();
        let before = if fits || self.is_empty() {
            None
        } else {
            self.take()
        };
        self.opened_at.get_or_insert(now);
        self.last_message_at = Some(now);
        self.open.bytes += size;
        self.tables.add(&message);
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
        self.tables = Tables::default();
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
        self.open.bytes = self.open.messages.iter().map(memory).sum();
        self.tables = Tables::default();
        for message in &self.open.messages {
            self.tables.add(message);
        }
        if self.open.messages.is_empty() {
            self.opened_at = None;
        }
    }

    /// Drops all messages.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.limits);
    }

    fn is_full(&self) -> bool {
        self.open.bytes >= self.limits.bytes
            || self.tables.most_rows >= self.limits.rows
            || self.tables.most_bytes >= self.limits.bytes_of_table()
    }
}

/// Bytes that a message takes in memory.
fn memory(message: &Message) -> usize {
    size_of::<Message>() + message.size()
}

/// What the open batch has of each table.
#[derive(Debug, Default)]
struct Tables {
    /// Rows and bytes, by what their keys have before the object's id.
    shares: HashMap<Box<[u8]>, (usize, usize)>,
    /// Rows of the table that has most.
    most_rows: usize,
    /// Bytes of the table that has most.
    most_bytes: usize,
}

impl Tables {
    fn table(message: &Message) -> &[u8] {
        let key = message.key.as_deref().unwrap_or_default();
        let end = key.iter().rposition(|it| *it == b'/').unwrap_or_default();
        key.get(..end).unwrap_or_default()
    }

    /// Bytes of the messages of the same table.
    fn bytes(&self, message: &Message) -> usize {
        let share = self.shares.get(Self::table(message));
        share.map_or(0, |(_, bytes)| *bytes)
    }

    fn add(&mut self, message: &Message) {
        let table = Self::table(message);
        let (rows, bytes) = match self.shares.get_mut(table) {
            Some(share) => share,
            None => self.shares.entry(table.into()).or_default(),
        };
        *rows += 1;
        *bytes += memory(message);
        self.most_rows = self.most_rows.max(*rows);
        self.most_bytes = self.most_bytes.max(*bytes);
    }
}

#[cfg(test)]
mod tests;
