//! A message as it was read from Kafka, not decoded.

use bytes::Bytes;
use chassis::traces::TraceParent;
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
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// The span that wrote it, where traces are on. The batch takes it.
    pub trace: Option<TraceParent>,
}

impl Message {
    /// Copies a message out of the consumer's buffer.
    pub(crate) fn detach(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            trace: TraceParent::of_message(message),
        }
    }

    /// Bytes of key and value.
    pub(crate) fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}
