//! The reader against a cluster that librdkafka simulates.

use rdkafka::{
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};

use super::*;

const TOPIC: &str = "read";
const SILENCE: Duration = Duration::from_secs(20);

struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    config: ClientConfig,
    producer: BaseProducer,
}

/// A topic of three partitions with these values.
fn bench(messages: &[(i32, &str)]) -> Bench {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    let kafka = crate::kafka::tests::args(&cluster.bootstrap_servers());
    let bench = Bench {
        config: kafka.consumer("test", "unused"),
        producer: kafka.client("test").create().unwrap(),
        cluster,
    };
    bench.produce(messages);
    bench
}

impl Bench {
    fn produce(&self, messages: &[(i32, &str)]) {
        for (partition, value) in messages {
            let record = BaseRecord::<(), _>::to(TOPIC)
                .partition(*partition)
                .payload(*value);
            self.producer.send(record).unwrap();
        }
        self.producer.flush(SILENCE).unwrap();
    }
}

fn partition_and_value(message: &BorrowedMessage<'_>) -> (i32, String) {
    let value = message.payload_view::<str>().unwrap().unwrap();
    (message.partition(), value.to_owned())
}

fn read(reader: &mut TopicReader) -> Vec<(i32, String)> {
    let mut values = Vec::new();
    reader
        .read_to_end(SILENCE, |message| {
            values.push(partition_and_value(message));
            Ok::<_, ReadError>(ControlFlow::Continue(()))
        })
        .unwrap();
    values.sort();
    values
}

#[test]
fn every_message_of_every_partition_is_read() {
    let bench = bench(&[(0, "a"), (2, "b"), (2, "c")]);
    let mut reader = TopicReader::whole(&bench.config, TOPIC).unwrap();
    assert!(!reader.is_at_end());
    let expected = [(0, "a"), (2, "b"), (2, "c")].map(|(it, value)| (it, value.to_owned()));
    assert_eq!(read(&mut reader), expected);
    assert!(reader.is_at_end());
    assert_eq!(
        reader.next_offsets(),
        &BTreeMap::from([(0, 1), (1, 0), (2, 2)])
    );
    assert_eq!(
        reader.ends().unwrap(),
        BTreeMap::from([(0, 1), (1, 0), (2, 2)])
    );
}

#[test]
fn all_that_was_committed_is_read_of_the_partitions_asked_for() {
    let bench = bench(&[(0, "a"), (1, "x"), (2, "b"), (2, "c")]);
    let mut values = Vec::new();
    let mut read = |partitions: &[i32]| {
        values.clear();
        let partitions = partitions.iter().copied();
        TopicReader::read_all_committed(&bench.config, TOPIC, partitions, SILENCE, |message| {
            values.push(partition_and_value(message));
            Ok::<_, ReadError>(ControlFlow::Continue(()))
        })
        .unwrap();
        values.sort();
        values.clone()
    };
    assert_eq!(read(&[]), []);
    let expected = [(0, "a"), (2, "b"), (2, "c")].map(|(it, value)| (it, value.to_owned()));
    assert_eq!(read(&[0, 2]), expected);
}

#[test]
fn only_the_assigned_partitions_are_read_and_from_their_offsets() {
    let bench = bench(&[(0, "a"), (2, "b"), (2, "c")]);
    let mut reader = TopicReader::new(&bench.config, TOPIC).unwrap();
    reader.assign([(1, 0), (2, 1)]).unwrap();
    assert_eq!(read(&mut reader), [(2, "c".to_owned())]);
    reader.assign([(0, 0)]).unwrap();
    assert_eq!(read(&mut reader), [(0, "a".to_owned())]);
}

#[test]
fn a_break_ends_the_reading_of_one_partition() {
    let bench = bench(&[(0, "a"), (0, "b"), (1, "c"), (1, "d")]);
    let mut reader = TopicReader::from_beginning(&bench.config, TOPIC, 0..2).unwrap();
    let mut values = Vec::new();
    reader
        .read_to_end(SILENCE, |message| {
            values.push(partition_and_value(message));
            Ok::<_, ReadError>(match message.partition() {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        })
        .unwrap();
    values.sort();
    let expected = [(0, "a"), (1, "c"), (1, "d")].map(|(it, value)| (it, value.to_owned()));
    assert_eq!(values, expected);
}

#[test]
fn a_message_after_the_end_is_read_by_polling_on() {
    let bench = bench(&[(0, "a")]);
    let mut reader = TopicReader::whole(&bench.config, TOPIC).unwrap();
    assert_eq!(read(&mut reader), [(0, "a".to_owned())]);
    bench.produce(&[(1, "b")]);
    let deadline = Instant::now() + SILENCE;
    let later = loop {
        assert!(Instant::now() < deadline, "nothing came");
        if let Step::Message(message) = reader.step(partition_and_value) {
            break message;
        }
    };
    assert_eq!(later, (1, "b".to_owned()));
    assert_eq!(reader.next_offsets().get(&1), Some(&1));
}

#[test]
fn a_broker_that_is_away_ends_the_reading_after_the_silence() {
    let bench = bench(&[(0, "a")]);
    let mut reader = TopicReader::whole(&bench.config, TOPIC).unwrap();
    bench.cluster.broker_down(1).unwrap();
    let outcome = reader.read_to_end(Duration::from_millis(500), |_| {
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    });
    assert!(
        matches!(outcome, Err(ReadError::Silent { .. })),
        "{outcome:?}"
    );
    assert!(!reader.is_at_end());
    assert!(!reader.is_answered_within(Duration::from_millis(200)));
}

#[test]
fn an_error_of_the_caller_ends_the_reading() {
    let bench = bench(&[(0, "a")]);
    let mut reader = TopicReader::whole(&bench.config, TOPIC).unwrap();
    let outcome: anyhow::Result<()> = reader.read_to_end(SILENCE, |_| anyhow::bail!("not wanted"));
    assert_eq!(outcome.unwrap_err().to_string(), "not wanted");
}
