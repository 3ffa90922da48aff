//! Dead letters: the original bytes of messages that could not be stored, with the
//! reason and the log position.

use std::{collections::HashMap, fmt, time::Duration};

use async_trait::async_trait;
use chassis::kafka::producer::SingleProducer;
use rdkafka::{
    Message as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Header, Headers as _, OwnedHeaders},
    producer::FutureRecord,
};

use crate::ingest::{LogPosition, poll::message::Message};

/// How long a dead letter waits for place in the client's queue.
const QUEUE_LIMIT: Duration = Duration::from_secs(30);

/// A message that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its position in the log.
    pub position: LogPosition,
    /// Stable code, in `snake_case`.
    pub reason: String,
    /// What is wrong with it.
    pub error: String,
    /// When the broker appended the message, in ms.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl DeadLetter {
    /// The dead letter of a message.
    pub(crate) fn new(topic: &str, message: &Message, reason: &str, error: String) -> Self {
        Self {
            position: LogPosition {
                topic: topic.to_owned(),
                partition: message.partition,
                offset: message.offset,
            },
            reason: reason.to_owned(),
            error,
            timestamp: message.timestamp,
            key: message.key.as_deref().map(<[u8]>::to_vec),
            value: message.value.as_deref().map(<[u8]>::to_vec),
        }
    }

    /// Reads a dead letter. If it does not name the position of the original
    /// message, it gets its own position.
    pub(crate) fn read(message: &BorrowedMessage<'_>) -> Self {
        let own = LogPosition {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
        };
        let headers: HashMap<String, String> = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .filter_map(|header| {
                let value = String::from_utf8_lossy(header.value?).into_owned();
                Some((header.key.to_owned(), value))
            })
            .collect();
        let text = |name: &str| headers.get(name).cloned();
        let position = text("topic").and_then(|topic| {
            let partition = text("partition")?.parse().ok()?;
            Some(LogPosition {
                topic,
                partition,
                offset: text("offset")?.parse().ok()?,
            })
        });
        Self {
            position: position.unwrap_or(own),
            reason: text("reason").unwrap_or_else(|| "unknown".to_owned()),
            error: text("error").unwrap_or_default(),
            timestamp: text("timestamp")
                .and_then(|timestamp| timestamp.parse().ok())
                .or_else(|| message.timestamp().to_millis())
                .unwrap_or_default(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
        }
    }

    /// The dead letter of a message that is above the size limit of their topic.
    fn without_value(&self) -> Self {
        let bytes = self.value.as_ref().map_or(0, Vec::len);
        let error = format!(
            "{}; its {bytes} bytes are above the size limit of the dead letters, so they are \
             only at its position in the log",
            self.error
        );
        Self {
            error,
            value: None,
            ..self.clone()
        }
    }

    fn headers(&self) -> OwnedHeaders {
        [
            ("reason", self.reason.clone()),
            ("error", self.error.clone()),
            ("topic", self.position.topic.clone()),
            ("partition", self.position.partition.to_string()),
            ("offset", self.position.offset.to_string()),
            ("timestamp", self.timestamp.to_string()),
        ]
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
    }
}

/// Writes dead letters.
#[async_trait]
pub(crate) trait DeadLetterSink: fmt::Debug + Send + Sync + 'static {
    /// Returns once the dead letter is acknowledged.
    async fn write(&self, letter: &DeadLetter) -> Result<(), String>;
}

/// Writes to the dead-letters topic.
pub(crate) struct KafkaDeadLetters {
    pub(crate) producer: SingleProducer,
    pub(crate) topic: String,
}

#[async_trait]
impl DeadLetterSink for KafkaDeadLetters {
    async fn write(&self, letter: &DeadLetter) -> Result<(), String> {
        let mut record: FutureRecord<'_, Vec<u8>, Vec<u8>> =
            FutureRecord::to(&self.topic).headers(letter.headers());
        record.key = letter.key.as_ref();
        record.payload = letter.value.as_ref();
        match self.producer.send(record, QUEUE_LIMIT).await {
            Ok(_) => Ok(()),
            // It would never be written, and the partition would wait for it.
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge))
                if letter.value.is_some() =>
            {
                self.write(&letter.without_value()).await
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Debug for KafkaDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaDeadLetters")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
