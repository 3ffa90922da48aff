//! A value that does not fit its schema never reaches the log: its stream, or its
//! connection, fails with an error that names the field.

use std::time::Duration;

use schemas::{
    DesiredState::{Running, Stopped},
    StreamStatus,
};

use super::harness::{Harness, command, is_idle};
use crate::messages::{self, SchemaTexts, tests::schema_without_values_of};

/// Every message of the log has a value or is a tombstone.
fn assert_no_empty_value(harness: &Harness) {
    for message in harness.log.committed() {
        let size = message.payload.as_ref().map(Vec::len);
        assert_ne!(size, Some(0), "{message:?}");
    }
}

fn has_failed(stream: &StreamStatus) -> bool {
    stream.phase == "failed"
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_checkpoint_cannot_be_written_fails_and_the_log_keeps_the_one_before() {
    let strict = schema_without_values_of(schemas::checkpoint::SCHEMA, "last_success_at");
    let mut harness = Harness::with_partition_and(SchemaTexts {
        checkpoint: &strict,
        ..messages::OWN
    });
    harness.command(&command("c1", "a", Running));
    let status = harness.until_stream("a/contacts", has_failed).await;
    let problem = status.error.unwrap();
    assert_eq!(problem.code, "unwritable");
    assert!(
        problem.message.contains("Checkpoint"),
        "{}",
        problem.message
    );
    assert!(
        problem.message.contains("field last_success_at"),
        "{}",
        problem.message
    );
    harness.until_stream("a/companies", has_failed).await;
    assert_eq!(harness.log.connection("a").unwrap().state, "running");
    let checkpoint = harness.log.checkpoint("a/contacts").unwrap();
    assert!(checkpoint.pass.is_some() && checkpoint.last_success_at.is_none());
    assert_eq!(
        harness.log.records().len(),
        6,
        "what was read before is in the log"
    );
    assert_no_empty_value(&harness);

    // Nothing is tried again by itself.
    let requests = harness.sources.requests_with("env:a");
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(harness.sources.requests_with("env:a"), requests);

    // A command tries once more, from where the log is.
    harness.command(&command("c2", "a", Running));
    let find = || (harness.sources.requests_with("env:a") > requests).then_some(());
    harness.changes.until("another attempt", find).await;
    harness.until_connection("a", "running", "c2").await;
    harness.until_stream("a/contacts", has_failed).await;
    harness.command(&command("c3", "a", Stopped));
    harness.until_connection("a", "stopped", "c3").await;
    assert_no_empty_value(&harness);
}

#[tokio::test(start_paused = true)]
async fn a_connection_fails_if_the_status_of_one_of_its_streams_cannot_be_written() {
    let strict = schema_without_values_of(schemas::status::SCHEMA, "cursor");
    let mut harness = Harness::with_partition_and(SchemaTexts {
        status: &strict,
        ..messages::OWN
    });
    harness.command(&command("c1", "a", Running));
    let find = || {
        let whole = harness.log.connection("a")?;
        (whole.state == "failed").then_some(whole.error?)
    };
    let problem = harness.changes.until("the failure", find).await;
    assert_eq!(problem.code, "unwritable");
    assert!(problem.message.contains("Status"), "{}", problem.message);
    assert_eq!(harness.changes.open_requests(), 0);
    assert_no_empty_value(&harness);
    // Nothing is tried again by itself.
    let count = harness.log.committed().len();
    let requests = harness.sources.requests_with("env:a");
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(harness.log.committed().len(), count);
    assert_eq!(harness.sources.requests_with("env:a"), requests);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_own_status_cannot_be_written_makes_no_request() {
    let strict = schema_without_values_of(schemas::status::SCHEMA, "obeyed");
    let mut harness = Harness::with_partition_and(SchemaTexts {
        status: &strict,
        ..messages::OWN
    });
    harness.command(&command("c1", "a", Running));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(harness.log.connection("a"), None);
    assert_eq!(harness.sources.requests_with("env:a"), 0);
    assert_no_empty_value(&harness);
}

#[tokio::test(start_paused = true)]
async fn definitions_that_cannot_be_written_fail_their_stream_before_its_records() {
    let strict = schema_without_values_of(schemas::definitions::SCHEMA, "referenced_object_type");
    let mut harness = Harness::with_partition_and(SchemaTexts {
        definitions: &strict,
        ..messages::OWN
    });
    harness.sources.define_reference("owner");
    harness.command(&command("c1", "a", Running));
    let status = harness.until_stream("a/contacts", has_failed).await;
    let message = status.error.unwrap().message;
    assert!(message.contains("Definitions"), "{message}");
    assert!(message.contains("referenced_object_type"), "{message}");
    assert_eq!(harness.log.records(), Vec::<String>::new());
    assert_no_empty_value(&harness);
    assert!(!is_idle(&harness.log.stream("a/contacts").unwrap()));
}
