//! A message as it came from the log.
//!
//! It must not know what its bytes mean.

use bytes::{Bytes, BytesMut};
use rdkafka::message::{BorrowedMessage, Message as _};

/// A message of the records topic, detached from the consumer's buffers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When the broker appended it, in ms.
    pub timestamp: i64,
    /// How often its partition has been read again from a held place.
    pub round: u64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
}

impl Message {
    /// Takes a message out of the consumer's buffer.
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
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Room that one allocation makes for the messages that follow each other.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where the bytes of many messages lie beside each other: they come and go by
/// the batch, and a small piece of memory for each leaves holes.
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
