//! A connection or a stream that HubSpot refuses is tried again by itself.

use std::time::Duration;

use schemas::{
    Command,
    DesiredState::{Running, Stopped},
    StreamStatus,
};

use super::{
    fake_sources::failure,
    harness::{Harness, command, is_idle},
};
use crate::sync::Advice;

#[tokio::test(start_paused = true)]
async fn a_failed_connection_is_tried_again_without_a_command() {
    let mut harness = Harness::with_partition();
    let error = failure("unauthorized", Advice::StopConnection);
    harness.sources.set_account("env:a", Err(error));
    harness.command(&command("c1", "a", Running));
    // A token that never worked has failed at once.
    harness.until_connection("a", "failed", "c1").await;
    harness.sources.set_account("env:a", Ok(7));
    let running = || {
        harness
            .log
            .connection("a")
            .filter(|it| it.state == "running")
    };
    let whole = harness
        .changes
        .until_as_minutes_pass("the connection runs", running)
        .await;
    assert_eq!((whole.portal_id, whole.error), (Some(7), None));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_for_minutes_fails_the_connection_only_then() {
    let harness = Harness::with_idle_streams().await;
    let error = failure("unauthorized", Advice::StopConnection);
    harness.sources.set_account("env:a", Err(error.clone()));
    harness.sources.fail_stream("contacts", error);
    let began = tokio::time::Instant::now();
    let refused = || {
        let whole = harness.log.connection("a")?;
        (whole.state == "starting").then_some(whole.error?)
    };
    let problem = harness
        .changes
        .until_as_minutes_pass("the refusal is shown", refused)
        .await;
    assert_eq!(problem.code, "unauthorized");
    let failed = || {
        harness
            .log
            .connection("a")
            .filter(|it| it.state == "failed")
    };
    harness
        .changes
        .until_as_minutes_pass("the connection has failed", failed)
        .await;
    assert!(began.elapsed() > Duration::from_mins(3));
}

#[tokio::test(start_paused = true)]
async fn a_skipped_stream_is_tried_again_without_a_command() {
    let mut harness = Harness::with_partition();
    let error = failure("missing_scope", Advice::SkipStream);
    harness.sources.fail_stream("contacts", error);
    harness.command(&command("c1", "a", Running));
    let skipped = |it: &StreamStatus| it.phase == "skipped";
    let status = harness.until_stream("a/contacts", skipped).await;
    assert!(status.next_run_at.is_some());
    let began_at = status.runs.first().unwrap().started_at;
    assert!(
        began_at > 0,
        "a run that fails at its first request has begun"
    );
    harness.sources.mend_stream("contacts");
    let succeeded = || {
        let stream = harness.log.stream("a/contacts")?;
        (is_idle(&stream) && stream.error.is_none()).then_some(())
    };
    harness
        .changes
        .until_as_minutes_pass("the stream is read", succeeded)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_command_tries_a_skipped_stream_again_at_once() {
    let mut harness = Harness::with_partition();
    let error = failure("missing_scope", Advice::SkipStream);
    harness.sources.fail_stream("contacts", error);
    harness.command(&command("c1", "a", Running));
    let skipped = |it: &StreamStatus| it.phase == "skipped";
    let before = harness.until_stream("a/contacts", skipped).await;
    harness.sources.mend_stream("contacts");
    harness.command(&command("c2", "a", Running));
    let status = harness
        .until_stream("a/contacts", |it| is_idle(it) && it.error.is_none())
        .await;
    let started_at = status.runs.first().unwrap().started_at;
    assert!(Some(started_at) < before.next_run_at, "it has not waited");
}

#[tokio::test(start_paused = true)]
async fn a_check_says_what_a_credential_can_read_and_changes_nothing() {
    let mut harness = Harness::with_partition();
    let error = failure("missing_scope", Advice::SkipStream);
    harness.sources.fail_stream("companies", error);
    let checked = |id: &str, before: &str| Command {
        check_id: Some(id.to_owned()),
        ..command(before, "a", Stopped)
    };
    harness.command(&checked("k1", "c1"));
    let find = || {
        let whole = harness.log.connection("a")?;
        whole.check.filter(|it| it.check_id == "k1")
    };
    let check = harness.changes.until("the check", find).await;
    assert_eq!(check.error, None);
    assert!(check.portal_id.is_some());
    let refused = |name: &str| {
        let stream = check.streams.iter().find(|it| it.name == name).unwrap();
        let refused = stream.capabilities.iter().filter(|it| it.error.is_some());
        (stream.capabilities.len(), refused.count())
    };
    assert_eq!(refused("contacts"), (7, 0));
    assert_eq!(refused("companies"), (5, 5));
    assert_eq!(harness.log.connection("a").unwrap().state, "stopped");
    assert!(harness.log.records().is_empty());
    assert_eq!(harness.log.checkpoint("a/contacts"), None);

    // A later command of the same check does not repeat it.
    let requests = harness.sources.requests_with("env:a");
    harness.command(&checked("k1", "c2"));
    harness.until_connection("a", "stopped", "c2").await;
    assert_eq!(harness.sources.requests_with("env:a"), requests);

    // Of a credential that cannot be used the reason is said.
    let error = failure("unauthorized", Advice::StopConnection);
    harness.sources.set_account("env:a", Err(error));
    harness.command(&checked("k2", "c3"));
    let find = || {
        let whole = harness.log.connection("a")?;
        whole.check.filter(|it| it.check_id == "k2")
    };
    let check = harness.changes.until("the second check", find).await;
    assert_eq!(check.error.unwrap().code, "unauthorized");
    assert!(check.streams.is_empty());
}
