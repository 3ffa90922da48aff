//! Tests of the whole ingest over librdkafka's mock cluster. It has no
//! transactions; the scenarios over real servers cover those.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use chassis::{Clock, Health, kafka::KafkaArgs};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer as _,
    mocking::MockCluster,
    producer::{DefaultProducerContext, FutureProducer, FutureRecord},
};
use schemas::crm_record::SCHEMA;

use super::*;
use crate::{
    config,
    ingest::{
        BatchLimits, PurgedEnd, RebuildPhase, WaitLimits,
        conditions::WAREHOUSE,
        fakes::{FakeControlState, FakeRegistry, FakeStore, Fault, OWN, record},
        poll::message::Message,
    },
};

struct ClusterBench {
    _cluster: MockCluster<'static, DefaultProducerContext>,
    kafka: KafkaArgs,
    store: Arc<FakeStore>,
    registry: Arc<FakeRegistry>,
}

impl ClusterBench {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let servers = cluster.bootstrap_servers();
        let kafka = config::tests::parse(&["--kafka-bootstrap", &servers]).kafka;
        for (topic, partitions) in [
            ("hubspot.records", 2),
            ("hubspot.definitions", 1),
            ("hubspot.dead-letters", 1),
        ] {
            cluster.create_topic(topic, partitions, 1).unwrap();
        }
        Self {
            _cluster: cluster,
            kafka,
            store: Arc::default(),
            registry: Arc::default(),
        }
    }

    fn start(&self) -> Running {
        let context = Context::new(Clock::from_fn(|| 0), Health::without_metrics());
        let settings = IngestSettings {
            kafka: self.kafka.clone(),
            limits: BatchLimits::default(),
            wait_limits: WaitLimits::default(),
            record_schema_id: OWN,
        };
        let ingest = Ingest::new(
            settings,
            Arc::<FakeStore>::clone(&self.store),
            Arc::new(FakeControlState),
            Arc::<FakeRegistry>::clone(&self.registry),
            context.clone(),
        );
        let ended = context.spawn_owned(ingest.clone().run());
        Running {
            ingest,
            context,
            ended,
        }
    }

    async fn produce(&self, messages: impl IntoIterator<Item = Message>) {
        let producer: FutureProducer = self.kafka.client("test").create().unwrap();
        for message in messages {
            let record = FutureRecord::to("hubspot.records")
                .partition(message.partition)
                .key(message.key.as_deref().unwrap())
                .payload(message.value.as_deref().unwrap());
            producer
                .send(record, Duration::from_secs(10))
                .await
                .unwrap();
        }
    }

    fn stored(&self) -> usize {
        self.store.rows.lock().unwrap().len()
    }

    fn committed(&self) -> Vec<(i64, String)> {
        let consumer: BaseConsumer = self
            .kafka
            .consumer("test", "hubspot.warehouse")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range("hubspot.records", 0, 1);
        let list = consumer
            .committed_offsets(list, Duration::from_secs(10))
            .unwrap();
        list.elements()
            .iter()
            .map(|element| match element.offset() {
                Offset::Offset(offset) => (offset, element.metadata().to_owned()),
                _ => (-1, String::new()),
            })
            .collect()
    }
}

struct Running {
    ingest: Ingest,
    context: Context,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn stop(self) {
        self.context.shut_down();
        self.ended.await.unwrap().unwrap();
    }

    fn fails(&self, condition: &str) -> bool {
        self.context
            .health()
            .failures()
            .iter()
            .any(|(name, _)| *name == condition)
    }
}

/// Waits up to 30 s until a condition holds that other threads bring about.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .is_ok(),
        "{what}"
    );
}

fn records(ids: std::ops::Range<i64>) -> impl Iterator<Item = Message> {
    ids.map(|id| {
        let partition = i32::try_from(id % 2).unwrap();
        Message {
            partition,
            ..record(id, OWN)
        }
    })
}

fn garbage(schema_id: u32) -> Message {
    // Its key is not the record's own, so it does not count as ours.
    Message {
        key: Some(b"other".to_vec().into()),
        ..record(1_000, schema_id)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_restored_from_a_backup_is_loaded_from_where_it_was() {
    let bench = ClusterBench::new();
    bench.produce(records(0..50)).await;
    let first = bench.start();
    eventually("50 rows", || bench.stored() == 50).await;
    first.stop().await;
    assert_eq!(
        *bench.store.loaded.lock().unwrap(),
        BTreeMap::from([(0, 25), (1, 25)])
    );

    // The backup is older than the first note of the second partition.
    bench.store.clear();
    bench.store.loaded.lock().unwrap().insert(0, 20);
    let second = bench.start();
    eventually("the rows since", || bench.stored() == 5 + 25).await;
    second.stop().await;
    assert_eq!(bench.stored(), 5 + 25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_goes_back_while_nothing_comes_is_loaded_again() {
    let bench = ClusterBench::new();
    bench.produce(records(0..50)).await;
    let first = bench.start();
    eventually("50 rows", || bench.stored() == 50).await;
    first.stop().await;
    let noted = *bench.store.notes.lock().unwrap();
    let second = bench.start();
    eventually("the offsets are noted", || {
        *bench.store.notes.lock().unwrap() > noted
    })
    .await;
    bench.store.rows.lock().unwrap().clear();
    bench.store.tokens.lock().unwrap().clear();
    let backup = BTreeMap::from([(0, 20), (1, 10)]);
    *bench.store.loaded.lock().unwrap() = backup;
    eventually("the rows since", || bench.stored() == 5 + 15).await;
    second.stop().await;
    assert_eq!(bench.stored(), 5 + 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_continues_at_the_committed_offsets() {
    let bench = ClusterBench::new();
    bench.produce(records(0..50)).await;
    let first = bench.start();
    eventually("50 rows", || bench.stored() == 50).await;
    first.stop().await;
    let signed = (25, "this one".to_owned());
    assert_eq!(bench.committed(), [signed.clone(), signed]);

    bench.produce(records(50..60)).await;
    let second = bench.start();
    eventually("10 more rows", || bench.stored() >= 60).await;
    second.stop().await;
    let rows = bench.store.rows.lock().unwrap();
    let distinct: HashSet<_> = rows.iter().collect();
    assert_eq!((rows.len(), distinct.len()), (60, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_revoked_while_paused_are_read_when_they_are_assigned_again() {
    let bench = ClusterBench::new();
    // Nine failures take some seconds, because the pauses double.
    bench.store.faults.lock().unwrap().extend([Fault::Away; 9]);
    let first = bench.start();
    // More batches than fit between poller and loader, so the consumer pauses.
    for id in 0..4 {
        bench.produce(records(id..id + 1)).await;
        tokio::time::sleep(BatchLimits::default().age).await;
    }
    eventually("the store has failed for some time", || {
        bench.store.faults.lock().unwrap().len() <= 2
    })
    .await;
    let second = bench.start();
    eventually("loading continues", || bench.stored() > 0).await;
    bench.produce(records(4..40)).await;
    let distinct = || {
        let rows = bench.store.rows.lock().unwrap();
        rows.iter().collect::<HashSet<_>>().len()
    };
    eventually("all rows", || distinct() == 40).await;
    second.stop().await;
    bench.produce(records(40..50)).await;
    eventually("the rest", || distinct() == 50).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_stored_at_its_log_position_when_its_schema_is_known() {
    let bench = ClusterBench::new();
    bench.produce([garbage(9)]).await;
    bench.produce(records(0..4)).await;
    let running = bench.start();
    eventually("the other rows", || bench.stored() == 4).await;
    // Rows are stored before the dead letter is written; offsets are committed
    // only after it.
    eventually("all offsets are committed", || {
        bench
            .committed()
            .iter()
            .map(|(offset, _)| offset.max(&0))
            .sum::<i64>()
            == 5
    })
    .await;
    let letters = running.ingest.dead_letters(10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "unknown_schema");
    assert_eq!(letters[0].position.offset, 0);
    assert_eq!(Some(letters[0].bytes), garbage(9).value.map(|it| it.len()));

    let nothing = running.ingest.reprocess().await.unwrap();
    assert_eq!(nothing, Reprocessed { stored: 0, left: 1 });
    bench.registry.insert(9, SCHEMA.to_owned());
    let all = running.ingest.reprocess().await.unwrap();
    assert_eq!(all, Reprocessed { stored: 1, left: 0 });
    assert!(running.ingest.dead_letters(10).await.unwrap().is_empty());
    assert_eq!(bench.stored(), 5);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_of_a_purged_connection_is_never_stored() {
    let bench = ClusterBench::new();
    bench.produce([garbage(9)]).await;
    bench.produce(records(0..4)).await;
    let running = bench.start();
    eventually("the other rows", || bench.stored() == 4).await;
    let end = PurgedEnd {
        offset: 1,
        at: i64::MAX / 2,
    };
    let purged = HashMap::from([("default".to_owned(), BTreeMap::from([(0, end)]))]);
    *bench.store.purged.lock().unwrap() = purged;
    bench.registry.insert(9, SCHEMA.to_owned());
    let settled = running.ingest.reprocess().await.unwrap();
    assert_eq!(settled, Reprocessed { stored: 0, left: 0 });
    assert!(running.ingest.dead_letters(10).await.unwrap().is_empty());
    assert_eq!(bench.stored(), 4);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warehouse_emptied_before_a_rebalance_is_noticed() {
    let bench = ClusterBench::new();
    bench.produce(records(0..20)).await;
    let running = bench.start();
    eventually("20 rows", || bench.stored() == 20).await;

    *bench.store.id.lock().unwrap() = Some("another one");
    bench.store.clear();
    let second = bench.start();
    eventually("the mismatch is seen", || running.fails(WAREHOUSE)).await;
    running.stop().await;
    second.stop().await;
    assert_eq!(bench.stored(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_warehouse_loads_nothing_until_it_is_rebuilt() {
    let bench = ClusterBench::new();
    bench.produce(records(0..20)).await;
    let running = bench.start();
    eventually("20 rows", || bench.stored() == 20).await;
    running.stop().await;

    *bench.store.id.lock().unwrap() = Some("another one");
    bench.store.clear();
    bench.produce(records(20..30)).await;
    let running = bench.start();
    eventually("the mismatch is seen", || running.fails(WAREHOUSE)).await;
    assert_eq!(bench.stored(), 0);

    running.ingest.start_rebuild(false).await.unwrap();
    let last = || bench.store.rebuilds.lock().unwrap()[0].state.clone();
    eventually("the rebuild ends", || last().ended_at.is_some()).await;
    let state = last();
    assert_eq!(
        (state.phase, state.records),
        (RebuildPhase::Done, 30),
        "{state:?}"
    );
    assert_eq!(*bench.store.rebuilt.lock().unwrap(), 1);

    bench.produce(records(30..40)).await;
    eventually("live loading continues", || bench.stored() >= 40).await;
    assert!(!running.fails(WAREHOUSE));
    running.stop().await;
    let rows = bench.store.rows.lock().unwrap();
    let distinct: HashSet<_> = rows.iter().collect();
    assert_eq!((rows.len(), distinct.len()), (40, 40));
}
