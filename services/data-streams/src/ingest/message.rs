//! A message as it came from the log.
//!
//! It must not know what its bytes mean.

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
    pub turn: u64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl Message {
    /// Takes a message out of the consumer's buffer.
    pub(crate) fn detach(message: &BorrowedMessage<'_>, turn: u64) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            turn,
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
        }
    }

    /// Bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len)
    }
}
