//! Reads partitions of one topic, assigned by hand, from given offsets to their
//! end, and beyond it where a caller keeps polling.

mod error;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    message::{BorrowedMessage, OwnedMessage},
};

pub use self::error::ReadError;

/// How long one poll waits, and so how soon a caller can stop.
const POLL: Duration = Duration::from_millis(100);
/// How long Kafka waits for a message before it answers a read to the end that there is
/// none.
const END_WAIT_MS: &str = "10";
/// Compressed bytes of a partition that such a read asks for at once. 32 MB of small messages
/// take 0.2 s with it, and 0.4 with a quarter of it.
const WHOLE_FETCH_BYTES: &str = "2097152";
/// How long one request to Kafka may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What one poll brought.
#[derive(Debug)]
pub enum Step<T> {
    /// A message, as the caller took it.
    Message(T),
    /// The end of this partition. More may follow.
    End(i32),
    /// Nothing within 100 ms.
    Idle,
    /// Kafka cannot be read now. librdkafka continues by itself once the broker
    /// is back.
    Unavailable(KafkaError),
}

/// A consumer of one topic outside any group. All its calls block.
pub struct TopicReader {
    consumer: BaseConsumer,
    topic: String,
    /// Partitions whose end was not reached since they were assigned.
    behind: BTreeSet<i32>,
    next: BTreeMap<i32, i64>,
}

impl std::fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicReader")
            .field("topic", &self.topic)
            .field("behind", &self.behind)
            .finish_non_exhaustive()
    }
}

impl TopicReader {
    /// A reader without partitions. `config` comes from
    /// [`KafkaArgs::consumer`](super::KafkaArgs::consumer): the end of a
    /// partition has to be reported.
    ///
    /// One topic a reader: the client names the partition that ended, not its
    /// topic, and needs a second for the metadata of a second topic.
    pub fn new(config: &ClientConfig, topic: &str) -> Result<Self, ReadError> {
        let consumer = config.create().map_err(|source| ReadError::Kafka {
            topic: topic.to_owned(),
            source,
        })?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            behind: BTreeSet::new(),
            next: BTreeMap::new(),
        })
    }

    /// A reader of these partitions, from their beginning.
    pub fn from_beginning(
        config: &ClientConfig,
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<Self, ReadError> {
        let mut reader = Self::new(config, topic)?;
        // Not `Offset::Beginning`: the client would ask for that offset first,
        // and again only half a second later while it knows no leader. Where
        // the log starts later, the offset is reset to the earliest.
        reader.assign(partitions.into_iter().map(|partition| (partition, 0)))?;
        Ok(reader)
    }

    /// A reader of all partitions that the topic has now, from their beginning.
    pub fn whole(config: &ClientConfig, topic: &str) -> Result<Self, ReadError> {
        let mut reader = Self::new(config, topic)?;
        let partitions = partition_count(&reader.consumer, topic)?;
        reader.assign((0..partitions).map(|partition| (partition, 0)))?;
        Ok(reader)
    }

    /// Starts again, with these partitions at these offsets.
    pub fn assign(
        &mut self,
        starts: impl IntoIterator<Item = (i32, i64)>,
    ) -> Result<(), ReadError> {
        self.next = starts.into_iter().collect();
        self.behind = self.next.keys().copied().collect();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &self.next {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))
                .map_err(|error| self.failed(error))?;
        }
        self.consumer
            .assign(&list)
            .map_err(|error| self.failed(error))
    }

    /// Polls once; `take` gets the message, if one came.
    pub fn step<T>(&mut self, take: impl FnOnce(&BorrowedMessage<'_>) -> T) -> Step<T> {
        match self.consumer.poll(POLL) {
            None => Step::Idle,
            Some(Ok(message)) => {
                self.next.insert(message.partition(), message.offset() + 1);
                Step::Message(take(&message))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.behind.remove(&partition);
                Step::End(partition)
            }
            Some(Err(error)) => Step::Unavailable(error),
        }
    }

    /// As [`step`](Self::step), with a copy of the message.
    pub fn step_owned(&mut self) -> Step<OwnedMessage> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone has one lifetime, not any"
        )]
        self.step(|message| message.detach())
    }

    /// Hands over every message up to the end of each partition. `Break` ends
    /// the reading of that message's partition.
    ///
    /// Fails if neither a message nor an end comes for `silence`, or with the
    /// first error of `take`.
    pub fn read_to_end<E: From<ReadError>>(
        &mut self,
        silence: Duration,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut heard_at = Instant::now();
        while !self.is_at_end() {
            let wanted = std::mem::take(&mut self.behind);
            let step = self.step(|message| {
                let partition = message.partition();
                let outcome = wanted.contains(&partition).then(|| take(message));
                (partition, outcome)
            });
            self.behind = wanted;
            match step {
                Step::Message((partition, outcome)) => {
                    heard_at = Instant::now();
                    if outcome.transpose()?.is_some_and(|it| it.is_break()) {
                        self.behind.remove(&partition);
                    }
                }
                Step::End(partition) => {
                    heard_at = Instant::now();
                    self.behind.remove(&partition);
                }
                Step::Idle => {}
                Step::Unavailable(error) => {
                    tracing::warn!(%error, topic = self.topic, "topic cannot be read now");
                }
            }
            if heard_at.elapsed() > silence {
                return Err(E::from(ReadError::Silent {
                    topic: self.topic.clone(),
                    silence,
                }));
            }
        }
        Ok(())
    }

    /// Hands over every message that was committed before the call, and what
    /// follows up to the end of each partition.
    ///
    /// [`read_to_end`](Self::read_to_end) ends before the first transaction that
    /// is open, which hides what other producers have committed after it. This
    /// waits until such transactions have ended, for up to `silence`. So it is
    /// for topics whose partitions have several writers.
    pub fn read_all_committed<E: From<ReadError>>(
        config: &ClientConfig,
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
        silence: Duration,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let started = Instant::now();
        let mut next: BTreeMap<i32, i64> = partitions.into_iter().map(|it| (it, 0)).collect();
        if next.is_empty() {
            return Ok(());
        }
        let mut config = config.clone();
        config.set("fetch.wait.max.ms", END_WAIT_MS);
        config.set("fetch.message.max.bytes", WHOLE_FETCH_BYTES);
        let mut uncommitted = config.clone();
        uncommitted.set("isolation.level", "read_uncommitted");
        // Two clients, as one has one isolation level. They connect at the same time.
        let (wanted, reader) = std::thread::scope(|scope| {
            let wanted = scope.spawn(|| {
                let reader = Self::new(&uncommitted, topic)?;
                let wanted = reader.latest(next.keys());
                reader.close();
                wanted
            });
            let reader = Self::new(&config, topic).and_then(|it| Ok((it.latest(next.keys())?, it)));
            (wanted.join(), reader)
        });
        let wanted = wanted.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (mut readable, mut reader) = reader?;
        loop {
            // `readable` was asked for before the reading begins, so it reads as far.
            reader.assign(next)?;
            reader.read_to_end(silence, &mut take)?;
            let behind = wanted.iter().find_map(|(partition, end)| {
                let offset = *readable.get(partition)?;
                (offset < *end).then_some((*partition, offset))
            });
            let Some((partition, offset)) = behind else {
                reader.close();
                return Ok(());
            };
            if started.elapsed() > silence {
                return Err(E::from(ReadError::OpenTransaction {
                    topic: topic.to_owned(),
                    partition,
                    offset,
                    silence,
                }));
            }
            tracing::debug!(topic, "waiting for the end of an open transaction");
            #[expect(clippy::disallowed_methods, reason = "all its calls block")]
            std::thread::sleep(POLL);
            next = reader.next.clone();
            readable = reader.latest(next.keys())?;
        }
    }

    /// Closes the reader without waiting for it, which takes the client 0.1 s.
    fn close(self) {
        let Self { consumer, .. } = self;
        std::thread::spawn(move || drop(consumer));
    }

    /// By partition, the offset after the last message that this reader could
    /// read now. One request to each broker.
    fn latest<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a i32>,
    ) -> Result<BTreeMap<i32, i64>, ReadError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            // In place of a time, it asks for the end.
            list.add_partition_offset(&self.topic, *partition, Offset::End)
                .map_err(|error| self.failed(error))?;
        }
        let found = self
            .consumer
            .offsets_for_times(list, REQUEST_LIMIT)
            .map_err(|error| self.failed(error))?;
        let mut latest = BTreeMap::new();
        for element in found.elements() {
            element.error().map_err(|error| self.failed(error))?;
            let Offset::Offset(offset) = element.offset() else {
                return Err(ReadError::UnknownTopic {
                    topic: self.topic.clone(),
                });
            };
            latest.insert(element.partition(), offset);
        }
        Ok(latest)
    }

    /// Whether the end of every partition was reached since it was assigned.
    pub fn is_at_end(&self) -> bool {
        self.behind.is_empty()
    }

    /// By partition, the offset of the next message.
    pub fn next_offsets(&self) -> &BTreeMap<i32, i64> {
        &self.next
    }

    /// The first offset of a partition and the one after its last message.
    pub(crate) fn watermarks(&self, partition: i32) -> Result<(i64, i64), ReadError> {
        self.consumer
            .fetch_watermarks(&self.topic, partition, REQUEST_LIMIT)
            .map_err(|error| self.failed(error))
    }

    /// By assigned partition, the offset after its last message now.
    pub fn ends(&self) -> Result<BTreeMap<i32, i64>, ReadError> {
        self.next
            .keys()
            .map(|partition| Ok((*partition, self.watermarks(*partition)?.1)))
            .collect()
    }

    /// By partition of a topic, the offset after its last message now, be that committed
    /// or not. Blocks.
    pub fn ends_of(config: &ClientConfig, topic: &str) -> Result<BTreeMap<i32, i64>, ReadError> {
        let mut config = config.clone();
        // An open transaction hides what others have committed behind it.
        config.set("isolation.level", "read_uncommitted");
        let reader = Self::new(&config, topic)?;
        let partitions = 0..partition_count(&reader.consumer, topic)?;
        let ends = partitions
            .map(|partition| Ok((partition, reader.watermarks(partition)?.1)))
            .collect();
        reader.close();
        ends
    }

    /// Whether Kafka answers within `limit`. An idle reader hears nothing from
    /// a broker that is back.
    pub fn is_answered_within(&self, limit: Duration) -> bool {
        self.consumer
            .fetch_metadata(Some(&self.topic), limit)
            .is_ok()
    }

    fn failed(&self, source: KafkaError) -> ReadError {
        ReadError::Kafka {
            topic: self.topic.clone(),
            source,
        }
    }
}

/// How many partitions a topic has. Blocks for 10 s at most.
pub fn partition_count<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
) -> Result<i32, ReadError> {
    let metadata = consumer
        .fetch_metadata(Some(topic), REQUEST_LIMIT)
        .map_err(|source| ReadError::Kafka {
            topic: topic.to_owned(),
            source,
        })?;
    match metadata
        .topics()
        .first()
        .map_or(0, |it| it.partitions().len())
    {
        0 => Err(ReadError::UnknownTopic {
            topic: topic.to_owned(),
        }),
        count => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
    }
}

#[cfg(test)]
mod tests;
