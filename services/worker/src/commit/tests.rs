//! The commit loop against a log whose failures are scripted.

mod scripted_log;
mod unwritable_checkpoints;

use std::sync::Arc;

use proptest::prelude::*;
use schemas::{Checkpoint, Definitions, Run, Topics};

use self::scripted_log::Scripted;
use super::{CommitContext, Committer, log::Failure};
use crate::{
    config::CommitArgs,
    index::StreamIndex,
    messages::{self, Messages, SchemaIds, SchemaTexts},
    schedule::Reason,
    sync::{Change, End, Object, Page, Record, RunChange, Sink as _, SinkClosed},
};

fn context(schemas: SchemaTexts<'_>) -> Arc<CommitContext> {
    let ids = SchemaIds {
        commands: 1,
        checkpoints: 2,
        status: 3,
        definitions: 4,
        records: 5,
        index: 6,
    };
    Arc::new(CommitContext {
        messages: Messages::new(Topics::with_prefix("t."), ids, schemas).unwrap(),
        limits: CommitArgs {
            transaction_records: 1_000,
            transaction_bytes: 1_000_000,
            pending_bytes: 100_000,
        },
        clock: chassis::Clock::from_fn(|| 0),
    })
}

fn page(first_id: i64, count: i64) -> Page {
    let record = |id| Record {
        object: Object {
            id,
            created_at: 1,
            updated_at: 2,
            ..Object::default()
        },
        deleted: false,
        merged_into: None,
        fetched_at: 3,
        fetch_sequence: 4,
        content_hash: 5,
    };
    Page {
        records: (first_id..first_id + count).map(record).collect(),
        ..Page::default()
    }
}

fn checkpoint(stream: &str) -> Checkpoint {
    Checkpoint {
        connection: "c".to_owned(),
        stream: stream.to_owned(),
        portal_id: 1,
        ..Checkpoint::default()
    }
}

/// A page after which a run has succeeded.
fn last_page(reason: Reason, request_id: Option<&str>, cursor: Option<i64>) -> Page {
    let run = Run {
        run_id: "r".to_owned(),
        request_id: request_id.map(ToOwned::to_owned),
        ..Run::default()
    };
    let end = End::Succeeded {
        at: 8,
        confirm_at: 9,
    };
    Page {
        change: Change::Run(Box::new(RunChange {
            learnt: Vec::new(),
            reason,
            run,
            last_started_at: None,
            cursor,
            single_lane: false,
            end: Some(end),
        })),
        ..Page::default()
    }
}

fn start(log: &Scripted) -> (Committer, super::StreamSink) {
    start_with(log, messages::OWN)
}

fn start_with(log: &Scripted, schemas: SchemaTexts<'_>) -> (Committer, super::StreamSink) {
    let committer = Committer::start(0, Box::new(log.clone()), context(schemas)).unwrap();
    let definitions = Definitions {
        portal_id: 1,
        object_type: "contacts".to_owned(),
        version: 0,
        fetched_at: 0,
        properties: Vec::new(),
    };
    let sink = committer.sink(
        checkpoint("contacts"),
        Arc::new(definitions),
        StreamIndex::default(),
    );
    (committer, sink)
}

fn expected(ids: std::ops::Range<i64>) -> Vec<String> {
    ids.map(|id| format!("1/contacts/{id}")).collect()
}

#[tokio::test]
async fn pages_are_committed_in_order_with_their_checkpoint() {
    let log = Scripted::default();
    let (_committer, sink) = start(&log);
    for page_number in 0..10 {
        sink.submit(page(page_number * 10, 10)).await.unwrap();
    }
    sink.settle().await.unwrap();
    assert_eq!(log.keys("t.records"), expected(0..100));
    assert_eq!(
        log.keys("t.checkpoints").len(),
        log.transactions(),
        "one checkpoint a transaction"
    );
    assert!(log.keys("t.index").len() >= 10, "what was written is noted");
}

#[tokio::test]
async fn a_commit_is_repeated_until_it_settles() {
    let retries = (0..3).map(|_| Failure::Retry("timed out".to_owned()));
    let log = Scripted::default().fail("commit", retries);
    let (_committer, sink) = start(&log);
    sink.submit(page(0, 5)).await.unwrap();
    sink.settle().await.unwrap();
    assert_eq!(log.keys("t.records"), expected(0..5));
    assert_eq!(log.transactions(), 1);
}

#[tokio::test]
async fn pages_of_an_aborted_transaction_are_sent_again() {
    let log = Scripted::default()
        .fail("drain", [Failure::Abort("delivery failed".to_owned())])
        .fail(
            "commit",
            [Failure::Abort("timed out at the coordinator".to_owned())],
        );
    let (_committer, sink) = start(&log);
    sink.submit(page(0, 5)).await.unwrap();
    sink.settle().await.unwrap();
    assert_eq!(
        log.keys("t.records"),
        expected(0..5),
        "once, and all of them"
    );
}

#[tokio::test]
async fn a_record_that_can_never_be_sent_goes_to_dead_letters_and_the_others_are_committed() {
    let log = Scripted::default();
    log.0.lock().unwrap().refused = Some("1/contacts/2".to_owned());
    let (_committer, sink) = start(&log);
    sink.submit(page(0, 5)).await.unwrap();
    sink.settle().await.unwrap();
    let mut rest = expected(0..5);
    rest.remove(2);
    assert_eq!(log.keys("t.records"), rest);
    assert_eq!(log.keys("t.dead-letters"), ["1/contacts/2"]);
    assert_eq!(log.transactions(), 1, "in the same transaction");
}

#[tokio::test]
async fn a_dead_letter_that_can_never_be_sent_goes_without_its_value() {
    let log = Scripted::default();
    {
        let mut memory = log.0.lock().unwrap();
        memory.refused = Some("1/contacts/2".to_owned());
        memory.refused_as_dead = true;
    }
    let (_committer, sink) = start(&log);
    sink.submit(page(0, 5)).await.unwrap();
    sink.settle().await.unwrap();
    assert_eq!(log.keys("t.dead-letters"), ["1/contacts/2"]);
    assert_eq!(log.keys("t.records").len(), 4);
    let memory = log.0.lock().unwrap();
    let letter = memory.committed.iter().find(|it| it.0 == "t.dead-letters");
    assert_eq!(letter.unwrap().2, 0, "without its value");
}

#[tokio::test]
async fn after_a_fatal_error_the_sink_is_closed_and_no_record_of_its_transaction_is_visible() {
    let log = Scripted::default().fail("commit", [Failure::Fatal("fenced".to_owned())]);
    let (committer, sink) = start(&log);
    sink.submit(page(0, 5)).await.unwrap();
    assert_eq!(sink.settle().await, Err(SinkClosed));
    committer.ended().await;
    assert_eq!(log.keys("t.records"), Vec::<String>::new());
    assert_eq!(sink.submit(page(5, 5)).await, Err(SinkClosed));
}

#[tokio::test]
async fn an_earlier_page_does_not_replace_a_later_status() {
    let (_committer, sink) = start(&Scripted::default());
    sink.submit(page(0, 5)).await.unwrap();
    let before = sink.state().checkpoint();
    let last = last_page(Reason::Requested, Some("r2"), None);
    sink.submit(last).await.unwrap();
    sink.settle().await.unwrap();
    // The run ends, and the stream changes its status.
    let state = sink.state();
    let after = state.checkpoint();
    state.view(|view| crate::status::track(view, &after));
    // Only now is the first page written.
    assert_eq!(state.progress(1, &before), None);
    let shown = state.view(|_| {});
    assert_eq!(shown.request_done.as_deref(), Some("r2"));
}

#[tokio::test]
async fn a_deleted_stream_leaves_tombstones_after_a_page_of_the_same_transaction() {
    // What is queued while the first transaction is repeated is one transaction.
    let retries = (0..3).map(|_| Failure::Retry("timed out".to_owned()));
    let log = Scripted::default().fail("commit", retries);
    let (committer, sink) = start(&log);
    sink.submit(page(0, 5)).await.unwrap();
    sink.submit(page(5, 5)).await.unwrap();
    let messages = &committer.context().messages;
    let tombstones = messages.forget_stream(0, "c", "contacts");
    committer.publish(tombstones.into()).await.unwrap();
    assert_eq!(log.keys("t.records"), expected(0..10));
    let memory = log.0.lock().unwrap();
    for topic in ["t.checkpoints", "t.status"] {
        let last = memory.committed.iter().rfind(|it| it.0 == topic);
        assert_eq!(last.map(|it| it.2), Some(0), "{topic}: a tombstone is last");
    }
}

#[tokio::test]
async fn a_closed_committer_accepts_nothing_more() {
    let log = Scripted::default();
    let (committer, sink) = start(&log);
    committer.close();
    committer.ended().await;
    assert_eq!(sink.submit(page(0, 5)).await, Err(SinkClosed));
    assert_eq!(committer.publish(Vec::new()).await, Err(SinkClosed));
}

#[tokio::test]
async fn a_submission_waits_while_the_queue_is_full() {
    let log = Scripted::default();
    let blocked = log.0.lock().unwrap();
    let (_committer, sink) = start(&log);
    let mut submitted = 0;
    // Nothing is committed while the lock is held, so the queue of 100,000 bytes
    // fills up.
    while let Some(outcome) =
        futures::FutureExt::now_or_never(sink.submit(page(submitted * 50, 50)))
    {
        outcome.unwrap();
        submitted += 1;
        assert!(submitted < 100, "the queue has a bound");
    }
    drop(blocked);
    sink.settle().await.unwrap();
    assert_eq!(log.keys("t.records"), expected(0..submitted * 50));
}

fn fault() -> impl Strategy<Value = (&'static str, Failure)> {
    let step = prop_oneof![
        Just("begin"),
        Just("send"),
        Just("drain"),
        Just("commit"),
        Just("abort")
    ];
    (step, any::<bool>()).prop_map(|(step, abort)| {
        // An abort can only be repeated.
        let failure = if abort && step != "abort" {
            Failure::Abort("scripted".to_owned())
        } else {
            Failure::Retry("scripted".to_owned())
        };
        (step, failure)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_record_is_committed_once_despite_transient_failures(
        faults in proptest::collection::vec(fault(), 0..5),
        sizes in proptest::collection::vec(0i64..40, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let log = faults
            .into_iter()
            .fold(Scripted::default(), |log, (step, failure)| log.fail(step, [failure]));
        let total: i64 = sizes.iter().sum();
        runtime.block_on(async {
            let (_committer, sink) = start(&log);
            let mut next = 0;
            for size in sizes {
                sink.submit(page(next, size)).await.unwrap();
                next += size;
            }
            sink.settle().await.unwrap();
        });
        prop_assert_eq!(log.keys("t.records"), expected(0..total));
    }
}
