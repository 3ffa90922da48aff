//! Tests of the loader over a store with scripted faults.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chassis::{Clock, Context, Health};
use schemas::{Definitions, crm_record::SCHEMA};
use tokio::sync::watch;

use super::*;
use crate::ingest::{
    Store, TableSet,
    decode::{decoders::Decoders, definitions::KnownDefinitions, router::WaitLimits},
    fakes::{FakeControlState, FakeRegistry, FakeStore, Fault, OWN, Recorder, record, record_of},
    poll::{guard::AssignmentGuard, handover, message::Message},
    store::{
        inserter::Inserter,
        preparer::TablePreparer,
        waiting::{WaitingReasons, WaitingTargets},
    },
};

mod waiting;

fn batch(messages: Vec<Message>) -> Batch {
    let next = messages
        .iter()
        .map(|message| (message.partition, message.offset + 1))
        .collect();
    Batch {
        messages,
        next,
        ..Batch::default()
    }
}

struct LoaderBench {
    store: Arc<FakeStore>,
    recorder: Arc<Recorder>,
    registry: FakeRegistry,
    known: watch::Sender<KnownDefinitions>,
    guard: Arc<AssignmentGuard>,
    holds: Vec<PartitionHold>,
}

impl LoaderBench {
    fn new() -> Self {
        Self {
            store: Arc::default(),
            recorder: Arc::default(),
            registry: FakeRegistry::default(),
            known: watch::Sender::new(KnownDefinitions::default()),
            guard: Arc::default(),
            holds: Vec::new(),
        }
    }

    async fn load(&mut self, batches: Vec<Batch>) {
        self.load_during(batches, async {}).await;
    }

    /// Loads the batches, and ends when `meanwhile` has ended.
    async fn load_during(&mut self, batches: Vec<Batch>, meanwhile: impl Future<Output = ()>) {
        let context = Context::new(Clock::from_fn(|| 0), Health::without_metrics());
        let wait_limits = WaitLimits::default();
        let store: Arc<dyn Store> = Arc::<FakeStore>::clone(&self.store);
        let preparer = Arc::new(TablePreparer::new(
            Arc::clone(&store),
            self.known.subscribe(),
            wait_limits,
        ));
        let inserter = Arc::new(Inserter {
            store,
            preparer,
            health: context.health().clone(),
            stop: context.draining().clone(),
            expected: watch::Sender::new("this one".to_owned()).subscribe(),
        });
        let registry = Arc::new(std::mem::take(&mut self.registry));
        let decoders = Decoders::new(registry, OWN);
        let (sender, receiver) = handover::batches(batches.len().max(1));
        let (holds, mut held) = mpsc::unbounded_channel();
        let loader = Loader {
            topic: "records".to_owned(),
            router: TargetRouter::new(
                decoders,
                Arc::new(FakeControlState),
                TableSet::Live,
                wait_limits,
            ),
            delivery: Delivery {
                inserter,
                control: Arc::new(FakeControlState),
                waiting: WaitingTargets::new(context.health().clone(), WaitingReasons::default()),
                letters: Arc::<Recorder>::clone(&self.recorder),
                commits: Arc::<Recorder>::clone(&self.recorder),
                guard: Arc::clone(&self.guard),
                context,
            },
            batches: receiver,
            holds,
            positions: Positions::default(),
            notes: LoadedNotes::new(Arc::<FakeStore>::clone(&self.store), "records"),
            purged_at: None,
        };
        for batch in batches {
            assert!(sender.send(batch).await);
        }
        let end = async {
            meanwhile.await;
            drop(sender);
        };
        let (ran, ()) = tokio::join!(loader.run(), end);
        ran.unwrap();
        while let Ok(hold) = held.try_recv() {
            self.holds.push(hold);
        }
    }

    fn committed(&self) -> BTreeMap<i32, i64> {
        self.recorder
            .commits
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn rows_are_stored_once_when_the_answer_to_an_insert_is_lost() {
    let mut bench = LoaderBench::new();
    bench.store.faults.lock().unwrap().extend([
        Fault::Away,
        Fault::AwayAfterWrite,
        Fault::Away,
        Fault::AwayAfterWrite,
    ]);
    bench
        .load(vec![batch(vec![record(0, OWN), record(1, OWN)])])
        .await;
    assert_eq!(bench.store.offsets(), [0, 1]);
    assert_eq!(*bench.store.inserts.lock().unwrap(), 5);
    assert_eq!(bench.committed(), BTreeMap::from([(0, 2)]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_before_the_store_has_answered() {
    let mut bench = LoaderBench::new();
    bench
        .store
        .faults
        .lock()
        .unwrap()
        .extend(std::iter::repeat_n(Fault::Away, 10_000));
    let load = bench.load(vec![batch(vec![record(0, OWN)])]);
    assert!(
        tokio::time::timeout(Duration::from_mins(10), load)
            .await
            .is_err()
    );
    assert!(*bench.store.inserts.lock().unwrap() > 100);
    assert!(bench.recorder.commits.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rows_are_encoded_again_when_their_table_has_changed() {
    let mut bench = LoaderBench::new();
    bench
        .store
        .faults
        .lock()
        .unwrap()
        .extend([Fault::Changed, Fault::Changed]);
    bench.load(vec![batch(vec![record(0, OWN)])]).await;
    assert_eq!(bench.store.offsets(), [0]);
    assert_eq!(bench.store.applied.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_a_record_goes_to_the_dead_letters_and_the_rest_is_stored() {
    let mut bench = LoaderBench::new();
    bench
        .registry
        .insert(9, SCHEMA.replace("CrmRecord", "Other"));
    let garbage = |offset, value: Option<&[u8]>| Message {
        offset,
        key: Some(b"key".to_vec().into()),
        value: value.map(|value| value.to_vec().into()),
        ..Message::default()
    };
    let messages = vec![
        record(0, OWN),
        garbage(1, None),
        garbage(2, Some(b"{}")),
        garbage(3, Some(&[0, 0, 0, 0, 99, 1, 2])),
        garbage(4, Some(&[0, 0, 0, 0, 9, 1, 2])),
        garbage(5, Some(&[0, 0, 0, 0, 7, 1, 2])),
        record(6, OWN),
    ];
    bench.load(vec![batch(messages)]).await;
    assert_eq!(bench.store.offsets(), [0, 6]);
    let letters = bench.recorder.letters.lock().unwrap();
    let seen: Vec<(i64, &str)> = letters
        .iter()
        .map(|it| (it.position.offset, it.reason.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (1, "no_value"),
            (2, "not_framed"),
            (3, "unknown_schema"),
            (4, "other_schema"),
            (5, "undecodable"),
        ]
    );
    assert_eq!(letters[1].value.as_deref(), Some(&b"{}"[..]));
    drop(letters);
    assert_eq!(bench.committed(), BTreeMap::from([(0, 7)]));
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_store_rejects_are_found_and_the_others_stored() {
    let mut bench = LoaderBench::new();
    bench.store.poison.lock().unwrap().extend([3, 17]);
    bench.store.unfit.lock().unwrap().extend([4, 18]);
    bench
        .load(vec![batch(
            (0..20).map(|offset| record(offset, OWN)).collect(),
        )])
        .await;
    let stored: HashSet<i64> = bench.store.offsets().into_iter().collect();
    let refused = HashSet::from([3, 4, 17, 18]);
    assert_eq!(
        stored,
        (0..20).filter(|offset| !refused.contains(offset)).collect()
    );
    let letters = bench.recorder.letters.lock().unwrap();
    assert!(
        letters
            .iter()
            .all(|letter| letter.reason == "refused_by_store")
    );
    let offsets: HashSet<i64> = letters
        .iter()
        .map(|letter| letter.position.offset)
        .collect();
    assert_eq!((letters.len(), offsets), (4, refused));
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_held_without_loss_while_the_registry_does_not_answer() {
    let mut bench = LoaderBench::new();
    bench.registry = FakeRegistry::away();
    let mut other = record(5, OWN);
    other.partition = 1;
    bench
        .load(vec![
            batch(vec![record(0, OWN), record(1, 3), record(2, OWN), other]),
            // Read before the poller restarted at the held message.
            batch(vec![record(3, OWN)]),
        ])
        .await;
    assert_eq!(
        bench.holds,
        [PartitionHold {
            generation: 0,
            number: 1,
            partition: 0,
            offset: 1
        }]
    );
    let stored: HashSet<i64> = bench.store.offsets().into_iter().collect();
    assert_eq!(stored, HashSet::from([0, 5]));
    let commits = bench.recorder.commits.lock().unwrap();
    assert_eq!(commits.as_slice(), [BTreeMap::from([(0, 1), (1, 6)])]);
    assert!(bench.recorder.letters.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_of_ours_whose_schema_the_registry_lacks_is_not_poison() {
    let mut bench = LoaderBench::new();
    bench.load(vec![batch(vec![record(0, 3)])]).await;
    assert_eq!(bench.holds.len(), 1);
    assert!(bench.recorder.letters.lock().unwrap().is_empty());
    assert_eq!(bench.committed(), BTreeMap::from([(0, 0)]));
}

#[tokio::test(start_paused = true)]
async fn a_held_partition_is_loaded_when_it_is_read_again() {
    let mut bench = LoaderBench::new();
    let again = Batch {
        sought: HashMap::from([(0, 1)]),
        ..batch(vec![record(1, OWN)])
    };
    bench.registry = FakeRegistry::away();
    bench.load(vec![batch(vec![record(1, 3)]), again]).await;
    assert_eq!(bench.store.offsets(), [1]);
    assert_eq!(bench.committed(), BTreeMap::from([(0, 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_revoked_assignment_is_dropped() {
    let mut bench = LoaderBench::new();
    bench.guard.revoke(Duration::ZERO);
    bench.load(vec![batch(vec![record(0, OWN)])]).await;
    assert!(bench.store.offsets().is_empty());
    assert!(bench.recorder.commits.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_rows_commits_its_offsets() {
    let mut bench = LoaderBench::new();
    let next = BTreeMap::from([(2, 40)]);
    bench
        .load(vec![Batch {
            next: next.clone(),
            ..Batch::default()
        }])
        .await;
    assert_eq!(bench.committed(), next);
}

#[tokio::test(start_paused = true)]
async fn records_wait_for_the_definitions_that_they_name() {
    let mut bench = LoaderBench::new();
    let known = bench.known.clone();
    let later = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        known.send_modify(|known| {
            known.insert(Definitions {
                portal_id: 1,
                object_type: "contacts".to_owned(),
                version: 4,
                fetched_at: 0,
                properties: Vec::new(),
            });
        });
    };
    let began = tokio::time::Instant::now();
    tokio::join!(
        later,
        bench.load(vec![batch(vec![record_of(0, OWN, "named", 4)])])
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    let applied = bench.store.applied.lock().unwrap();
    assert_eq!(
        applied
            .iter()
            .map(|(_, version)| *version)
            .collect::<Vec<_>>(),
        [4]
    );
    assert_eq!(bench.store.rows.lock().unwrap()[0].0, "elsewhere.contacts");
}

#[tokio::test(start_paused = true)]
async fn definitions_that_do_not_arrive_delay_only_one_batch() {
    let mut bench = LoaderBench::new();
    let began = tokio::time::Instant::now();
    let late = |offset| batch(vec![record_of(offset, OWN, "named", 4)]);
    bench.load(vec![late(0), late(1), late(2)]).await;
    assert_eq!(bench.store.offsets(), [0, 1, 2]);
    assert!(began.elapsed() < Duration::from_secs(12));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_no_command_names_goes_to_the_default_destination() {
    let mut bench = LoaderBench::new();
    bench
        .load(vec![batch(vec![
            record_of(0, OWN, "named", 0),
            record_of(1, OWN, "lost", 0),
            record_of(2, OWN, "default", 0),
        ])])
        .await;
    let rows = bench.store.rows.lock().unwrap();
    let tables: HashSet<&str> = rows.iter().map(|(table, _, _)| table.as_str()).collect();
    assert_eq!(
        tables,
        HashSet::from([
            "elsewhere.contacts",
            "hubspot_lost.contacts",
            "hubspot.contacts"
        ])
    );
}
