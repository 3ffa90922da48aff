//! The first and the last messages of topics, without reading what is between.

use std::{ops::ControlFlow, time::Duration};

use rdkafka::{Message as _, message::BorrowedMessage};

use super::{
    KafkaArgs,
    reader::{ReadError, TopicReader},
};

/// Reading fails after this time without a message.
const SILENCE: Duration = Duration::from_secs(15);
/// How many offsets before its end a partition is read. More than one, as
/// transaction markers also take offsets.
const TAIL: i64 = 16;

/// Key and value of a message; the key is empty where it has none.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// The first committed message of each partition, and the last ones. Blocks.
pub(crate) fn ends(
    kafka: &KafkaArgs,
    topic: &str,
    partitions: i32,
) -> Result<Vec<Sample>, ReadError> {
    // The group is never joined: partitions are assigned by hand.
    let mut config = kafka.consumer("log-sample", &format!("{}log-sample", kafka.topic_prefix));
    config
        // Messages in between are not needed. The broker sends at least one
        // message, of any size.
        .set("fetch.message.max.bytes", "16384")
        .set("queued.max.messages.kbytes", "1024");
    let mut reader = TopicReader::new(&config, topic)?;
    let mut starts = Vec::new();
    let mut tails = Vec::new();
    for partition in 0..partitions {
        let (low, high) = reader.watermarks(partition)?;
        if low < high {
            starts.push((partition, low));
            tails.push((partition, low.max(high - TAIL)));
        }
    }
    let mut messages = Vec::new();
    reader.assign(starts)?;
    reader.read_to_end(SILENCE, |message| {
        let Some(first) = sample(message) else {
            return Ok(ControlFlow::Continue(()));
        };
        messages.push(first);
        Ok::<_, ReadError>(ControlFlow::Break(()))
    })?;
    reader.assign(tails)?;
    reader.read_to_end(SILENCE, |message| {
        messages.extend(sample(message));
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    })?;
    Ok(messages)
}

/// `None` for a tombstone.
fn sample(message: &BorrowedMessage<'_>) -> Option<Sample> {
    Some(Sample {
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload()?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, Producer as _},
    };

    use super::*;

    #[test]
    fn the_first_and_the_last_messages_are_read_and_none_between() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("sampled", 2, 1).unwrap();
        let kafka = crate::kafka::tests::args(&cluster.bootstrap_servers());
        let producer: BaseProducer = kafka.client("test").create().unwrap();
        for number in 0..40_u8 {
            let record = BaseRecord::to("sampled").partition(1).key(b"k");
            // The first is a tombstone.
            let value = [number];
            let record = if number == 0 {
                record
            } else {
                record.payload(&value)
            };
            producer.send(record).unwrap();
        }
        producer.flush(SILENCE).unwrap();
        let values: Vec<_> = ends(&kafka, "sampled", 2)
            .unwrap()
            .into_iter()
            .flat_map(|it| it.value)
            .collect();
        let expected: Vec<_> = std::iter::once(1).chain(24..40).collect();
        assert_eq!(values, expected);
    }
}
