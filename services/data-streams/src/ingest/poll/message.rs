//! A message as it was read from Kafka, not decoded.

use bytes::{Bytes, BytesMut};
use rdkafka::message::{BorrowedMessage, Message as _};

/// A message of the records topic, detached from the consumer's buffers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When the broker appended it, in ms.
    pub timestamp: i64,
    /// The poller's round in which it was read. A round begins whenever reading
    /// restarts at an earlier offset, so a message of an older round was read
    /// before the restart.
    pub round: u64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
}

impl Message {
    /// Copies a message out of the consumer's buffer.
    pub(crate) fn detach(message: &BorrowedMessage<'_>, round: u64, arena: &mut Arena) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            round,
            key: message.key().map(|key| arena.copy(key)),
            value: message.payload().map(|value| arena.copy(value)),
        }
    }

    /// Bytes of key and value.
    pub(crate) fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Bytes of one allocation, shared by consecutive messages.
const CHUNK_BYTES: usize = 256 * 1024;

/// Stores the bytes of consecutive messages in shared chunks. Messages are freed
/// a batch at a time; an allocation for each would fragment the heap.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    chunk: BytesMut,
}

impl Arena {
    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.chunk.capacity() < bytes.len() {
            self.chunk = BytesMut::with_capacity(bytes.len().max(CHUNK_BYTES));
        }
        self.chunk.extend_from_slice(bytes);
        self.chunk.split().freeze()
    }
}
