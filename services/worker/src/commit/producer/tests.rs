//! Transactions in which Kafka rejects something, over a cluster of librdkafka's.

use clap::Parser as _;
use rdkafka::{
    mocking::MockCluster, producer::DefaultProducerContext, types::RDKafkaApiKey,
    types::RDKafkaRespErr,
};

use super::*;

/// Messages of a transaction, more than are sent at once.
const MESSAGES: usize = 400;
/// Less than the time after which the client gives a message up.
const SOON: Duration = Duration::from_secs(6);

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// A cluster with the topic `t` of two partitions, and a producer.
fn start() -> (MockCluster<'static, DefaultProducerContext>, KafkaLog) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 2, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let flags = Flags::parse_from(["test", "--kafka-bootstrap", &brokers]);
    let log = fence(&flags.kafka, "test", 0).unwrap();
    (cluster, log)
}

/// The outcome of handing over so many messages.
fn send(log: &mut KafkaLog, messages: usize) -> Result<(), Failure> {
    log.begin().unwrap();
    let payload = vec![7_u8; 20_000];
    for index in 0..messages {
        let message = Outgoing {
            topic: "t",
            partition: Some(i32::from(index % 2 == 0)),
            key: "k",
            payload: Some(&payload),
            trace: None,
            dead: None,
        };
        log.send(index, &message)?;
    }
    Ok(())
}

fn refuse_next(cluster: &MockCluster<'_, DefaultProducerContext>) {
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    cluster.request_errors(RDKafkaApiKey::Produce, &refused);
}

/// Makes a transaction. The client notices only in the next one that an abort has left
/// out messages, and wants that to be aborted as well.
fn commit(log: &mut KafkaLog) {
    for _ in 0..3 {
        match send(log, MESSAGES).and_then(|()| log.drain()) {
            Ok(()) => return log.commit().unwrap(),
            Err(Failure::Abort(_)) => log.abort().unwrap(),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("aborted three times");
}

#[test]
fn a_rejected_message_does_not_hold_up_those_beside_it() {
    let began = Instant::now();
    // The first one is noticed while further messages are handed over.
    for messages in [MESSAGES, 20] {
        let (cluster, mut log) = start();
        refuse_next(&cluster);
        let outcome = send(&mut log, messages).and_then(|()| log.drain());
        assert!(matches!(outcome, Err(Failure::Rejected(_))), "{outcome:?}");
        log.abort().unwrap();
        commit(&mut log);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn a_transaction_is_aborted_while_its_messages_are_being_sent() {
    let (_cluster, mut log) = start();
    let began = Instant::now();
    send(&mut log, MESSAGES).unwrap();
    log.abort().unwrap();
    commit(&mut log);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
