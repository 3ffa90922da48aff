//! What happens to streams when partitions come, go, or are fenced.

use std::time::{Duration, Instant};

use schemas::DesiredState::{Running, Stopped};

use super::harness::{Harness, command, is_idle};
use crate::ownership::Event;

#[tokio::test(start_paused = true)]
async fn nothing_starts_before_the_commands_are_read_to_their_end() {
    let mut harness = Harness::start();
    harness.assign();
    harness.command(&command("c1", "a", Running));
    let ready = || harness.context.health().failures().is_empty().then_some(());
    while ready().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(harness.sources.requests_with("env:a"), 0);
    harness.send(Event::End(0));
    harness.until_connection("a", "running", "c1").await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_stops_its_streams_and_writes_nothing_further() {
    let mut harness = Harness::with_partition();
    harness.sources.hold("contacts");
    harness.command(&command("c1", "a", Running));
    harness.until_requested("contacts").await;
    harness.until_stream("a/companies", is_idle).await;
    harness.revoke().await;
    assert_eq!(harness.changes.open_requests(), 0);
    assert_eq!(harness.log.open_logs(), 0, "no producer is left");
    let count = harness.log.committed().len();
    let requests = harness.sources.requests_with("env:a");
    harness.sources.release();
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(harness.log.committed().len(), count);
    assert_eq!(harness.sources.requests_with("env:a"), requests);
    assert!(!harness.context.health().failures().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_revocation_cancels_a_connection_that_waits_for_its_account() {
    let mut harness = Harness::with_partition();
    harness.sources.hold("account");
    harness.command(&command("c1", "a", Running));
    harness.until_requested("account").await;
    harness.revoke().await;
    assert_eq!(harness.changes.open_requests(), 0);
    assert_eq!(harness.log.open_logs(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_continues_from_the_checkpoint() {
    let mut harness = Harness::with_partition();
    let run = command("c1", "a", Running);
    harness.command(&run);
    let before = harness.until_stream("a/contacts", is_idle).await;
    harness.until_stream("a/companies", is_idle).await;
    harness.revoke().await;
    harness.assign();
    harness.command(&run);
    harness.send(Event::End(0));
    tokio::time::advance(Duration::from_mins(1)).await;
    let after = harness
        .until_stream("a/contacts", |it| is_idle(it) && it.run_id != before.run_id)
        .await;
    assert_eq!(after.reason.as_deref(), Some("incremental"));
    assert_eq!(harness.log.records().len(), 6, "no second backfill");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_partition_is_taken_over_again_once_membership_is_confirmed() {
    let mut harness = Harness::with_idle_streams().await;
    harness.log.fence_by_another(0);
    let fences = harness.log.fences(0);
    // The next status cannot be written.
    harness.command(&command("c2", "a", Stopped));
    let closed = || (harness.log.open_logs() == 0).then_some(());
    harness
        .changes
        .until("the producer is closed", closed)
        .await;
    while harness.log.fences(0) == fences {
        harness.lease.confirm(Instant::now());
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    harness.until_connection("a", "stopped", "c2").await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_process_stops_everything() {
    let mut harness = Harness::with_partition();
    harness.sources.hold("contacts");
    harness.command(&command("c1", "a", Running));
    harness.until_requested("contacts").await;
    harness.context.shut_down();
    (&mut harness.run).await.unwrap().unwrap();
    assert_eq!(harness.changes.open_requests(), 0);
    assert_eq!(harness.log.open_logs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_membership_ends_the_supervisor() {
    let mut harness = Harness::with_partition();
    harness.send(Event::Failed("unknown member".to_owned()));
    let error = (&mut harness.run).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("unknown member"), "{error}");
    // A take-over that was under way closes its log a moment later.
    let find = || (harness.log.open_logs() == 0).then_some(());
    harness.changes.until("no log is open", find).await;
}
