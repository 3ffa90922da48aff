//! What the supervisor does about commands, failures and revocations, over a
//! log and accounts in memory. Time moves only where a test moves it.

mod changes;
mod definitions;
mod failures;
mod fake_control_log;
mod fake_sources;
mod harness;
mod ownership;
mod unwritable_values;

use std::time::Duration;

use schemas::{
    Command,
    DesiredState::{Deleted, Running, Stopped},
    StreamStatus,
};

use crate::sync::Advice;
use fake_sources::failure;
use harness::{Harness, command, is_idle, sync_of_contacts};

#[tokio::test(start_paused = true)]
async fn a_command_to_run_runs_its_streams_and_the_status_shows_it() {
    let mut harness = Harness::with_partition();
    harness.command(&command("c1", "a", Running));
    let whole = harness.until_connection("a", "running", "c1").await;
    assert_eq!((whole.worker.as_str(), whole.error), ("test", None));
    for stream in ["a/contacts", "a/companies"] {
        let status = harness.until_stream(stream, is_idle).await;
        assert_eq!(status.outcome.as_deref(), Some("succeeded"));
        assert_eq!((status.total_records, status.error), (3, None));
        let checkpoint = harness.log.checkpoint(stream).unwrap();
        assert_eq!(Some(checkpoint.portal_id), whole.portal_id);
        assert!(checkpoint.cursor.is_some());
    }
    assert_eq!(harness.log.records().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn the_next_run_starts_when_the_interval_has_passed() {
    let mut harness = Harness::with_partition();
    harness.command(&command("c1", "a", Running));
    let first = harness.until_stream("a/contacts", is_idle).await;
    let find = || {
        let stream = harness.log.stream("a/contacts")?;
        (is_idle(&stream) && stream.run_id != first.run_id).then_some(stream)
    };
    let second = harness
        .changes
        .until_as_minutes_pass("a further run", find)
        .await;
    assert_eq!(second.reason.as_deref(), Some("incremental"));
    assert_eq!(second.outcome.as_deref(), Some("succeeded"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_due_is_never_shown_as_a_later_one() {
    let mut harness = Harness::with_idle_streams().await;
    // The slots of a stream look at a command in any order, so one is not enough.
    for round in 0..10 {
        let slow = Command {
            interval_ms: 1_800_000,
            ..command(&format!("slow {round}"), "a", Running)
        };
        harness.command(&slow);
        let is_slow = |it: &StreamStatus| {
            let next = it.next_run_at.zip(it.runs.first());
            next.is_some_and(|(at, run)| at - run.started_at == slow.interval_ms)
        };
        let before = harness.until_stream("a/contacts", is_slow).await;
        tokio::time::advance(Duration::from_mins(2)).await;
        harness.command(&command(&format!("quick {round}"), "a", Running));
        let has_run = |it: &StreamStatus| is_idle(it) && it.run_id != before.run_id;
        harness.until_stream("a/contacts", has_run).await;
        let statuses = harness.log.streams("a/contacts");
        let mut since = statuses.iter().skip_while(|it| **it != before);
        let is_later =
            |it: &&StreamStatus| it.run_id == before.run_id && it.next_run_at > before.next_run_at;
        assert_eq!(since.find(is_later), None, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_confirmed_only_when_no_request_is_open() {
    let mut harness = Harness::with_partition();
    harness.sources.hold("contacts");
    harness.command(&command("c1", "a", Running));
    harness.until_requested("contacts").await;
    harness.until_stream("a/companies", is_idle).await;
    harness.command(&command("c2", "a", Stopped));
    harness.until_connection("a", "stopped", "c2").await;
    let written = harness.log.last(&harness.log.topics.status, "a").unwrap();
    assert_eq!(written.open_requests, 0);
    let count = harness.log.committed().len();
    for stream in ["a/contacts", "a/companies"] {
        assert_eq!(harness.log.stream(stream).unwrap().phase, "stopped");
    }

    // What the request would have brought is not written later.
    harness.sources.release();
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(harness.changes.open_requests(), 0);
    assert_eq!(harness.log.committed().len(), count);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_a_command_no_longer_names_is_stopped_alone() {
    let mut harness = Harness::with_idle_streams().await;
    let mut fewer = command("c2", "a", Running);
    fewer.streams.retain(|it| it == "companies");
    harness.command(&fewer);
    harness
        .until_stream("a/contacts", |it| it.phase == "stopped")
        .await;
    harness.until_connection("a", "running", "c2").await;
    assert_eq!(harness.log.stream("a/companies").unwrap().phase, "idle");
}

#[tokio::test(start_paused = true)]
async fn of_several_commands_only_the_last_is_applied() {
    let mut harness = Harness::start();
    harness.assign();
    harness.command(&command("c1", "a", Running));
    harness.command(&command("c2", "a", Stopped));
    harness.send(crate::ownership::Event::End(0));
    harness.until_connection("a", "stopped", "c2").await;
    assert_eq!(harness.sources.requests_with("env:a"), 0);

    // One with a lower offset is older, whenever it comes.
    harness.command_at(0, &command("c0", "a", Running));
    harness.command(&command("c3", "a", Stopped));
    harness.until_connection("a", "stopped", "c3").await;
    assert_eq!(harness.sources.requests_with("env:a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newer_command_interrupts_what_an_older_one_waits_for() {
    let mut harness = Harness::with_partition();
    harness.sources.hold("account");
    harness.command(&command("c1", "a", Running));
    harness.until_requested("account").await;
    harness.command(&command("c2", "a", Stopped));
    harness.until_connection("a", "stopped", "c2").await;
    assert_eq!(harness.changes.open_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_one_time_request_is_carried_out_once() {
    let mut harness = Harness::with_partition();
    let mut asked = command("c1", "a", Stopped);
    asked.requests.push(sync_of_contacts("r1"));
    harness.command(&asked);
    harness.until_connection("a", "stopped", "c1").await;
    let done = harness.log.checkpoint("a/contacts").unwrap().request_done;
    assert_eq!(done.as_deref(), Some("r1"));
    let status = harness.log.stream("a/contacts").unwrap();
    assert_eq!(status.request_done.as_deref(), Some("r1"));
    assert_eq!(harness.sources.requests("companies"), 0);

    // Neither another command with the same request nor another owner repeats
    // it.
    let requests = harness.sources.requests_with("env:a");
    asked.command_id = "c2".to_owned();
    harness.command(&asked);
    harness.until_connection("a", "stopped", "c2").await;
    harness.revoke().await;
    harness.assign();
    asked.command_id = "c3".to_owned();
    harness.command(&asked);
    harness.send(crate::ownership::Event::End(0));
    harness.until_connection("a", "stopped", "c3").await;
    assert_eq!(harness.sources.requests_with("env:a"), requests);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_credential_fails_is_failed_with_advice_and_others_run() {
    let mut harness = Harness::with_partition();
    let error = failure("credential_invalid", Advice::StopConnection);
    harness.sources.set_account("env:a", Err(error));
    harness.command(&command("c1", "a", Running));
    harness.command(&command("c2", "b", Running));
    let problem = harness.until_connection("a", "failed", "c1").await.error;
    let problem = problem.unwrap();
    assert_eq!(problem.code, "credential_invalid");
    assert_eq!(problem.advice, "remedy of credential_invalid");
    harness.until_connection("b", "running", "c2").await;
    harness.until_stream("b/contacts", is_idle).await;

    // A command with a good credential ends the failure.
    let mut corrected = command("c3", "a", Running);
    corrected.credential = "env:c".to_owned();
    harness.command(&corrected);
    let whole = harness.until_connection("a", "running", "c3").await;
    assert_eq!(whole.error, None);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_does_not_answer_is_asked_again() {
    let mut harness = Harness::with_partition();
    let error = failure("unavailable", Advice::WaitUntil(0));
    harness.sources.set_account("env:a", Err(error));
    harness.command(&command("c1", "a", Running));
    let find = || {
        let whole = harness.log.connection("a")?;
        (whole.state == "starting").then_some(whole.error?)
    };
    let problem = harness.changes.until("a problem", find).await;
    assert_eq!(problem.code, "unavailable");
    harness.sources.set_account("env:a", Ok(7));
    // The pause may begin only after the status was written.
    while harness.sources.requests("account") == 1 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let whole = harness.until_connection("a", "running", "c1").await;
    assert_eq!((whole.portal_id, whole.error), (Some(7), None));
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_leads_to_another_portal_is_refused() {
    let mut harness = Harness::with_idle_streams().await;
    let mut other = command("c2", "a", Running);
    other.credential = "env:other".to_owned();
    harness.command(&other);
    let problem = harness.until_connection("a", "failed", "c2").await.error;
    assert_eq!(problem.unwrap().code, "portal_changed");
    assert_eq!(
        harness.sources.requests_with("env:other"),
        1,
        "the account only"
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_on_a_portal_is_refused_until_the_first_is_deleted() {
    let mut harness = Harness::with_partition();
    for credential in ["env:a", "env:b"] {
        harness.sources.set_account(credential, Ok(7));
    }
    harness.command(&command("c1", "a", Running));
    harness.until_connection("a", "running", "c1").await;
    harness.command(&command("c2", "b", Running));
    let problem = harness.until_connection("b", "failed", "c2").await.error;
    let problem = problem.unwrap();
    assert_eq!(problem.code, "portal_taken");
    assert!(problem.advice.contains("\"a\""), "{}", problem.advice);
    assert_eq!(
        harness.sources.requests_with("env:b"),
        1,
        "the account only"
    );

    harness.command(&command("c3", "a", Deleted));
    harness.until_connection("a", "deleted", "c3").await;
    harness.command(&command("c4", "b", Running));
    harness.until_connection("b", "running", "c4").await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_connection_leaves_tombstones_of_its_streams() {
    let mut harness = Harness::with_idle_streams().await;
    harness.command(&command("c2", "a", Deleted));
    let whole = harness.until_connection("a", "deleted", "c2").await;
    assert_eq!(whole.portal_id, None);
    for topic in [&harness.log.topics.checkpoints, &harness.log.topics.status] {
        for stream in ["a/contacts", "a/companies"] {
            assert_eq!(harness.log.last(topic, stream).unwrap().payload, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_again_before_its_deletion_is_confirmed_reads_everything_again() {
    let mut harness = Harness::with_idle_streams().await;
    let portal_id = harness.log.connection("a").unwrap().portal_id.unwrap();
    let claim = format!("portal:{portal_id}/a");
    harness.log.hold(&claim);
    harness.command(&command("c2", "a", Deleted));
    let again = command("c3", "a", Running);
    harness.command_before_commit(&claim, &again).await;
    harness.until_connection("a", "running", "c3").await;
    let find = || (harness.log.records().len() == 12).then_some(());
    harness.changes.until("both streams are read", find).await;
    let last = harness.log.last(&harness.log.topics.status, &claim);
    assert!(last.unwrap().payload.is_some(), "it claims the portal");
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_a_connection_deleted_before_it_is_confirmed_is_released() {
    let mut harness = Harness::with_partition();
    for credential in ["env:a", "env:b"] {
        harness.sources.set_account(credential, Ok(7));
    }
    harness.log.hold("portal:7/a");
    harness.command(&command("c1", "a", Running));
    let deleted = command("c2", "a", Deleted);
    harness.command_before_commit("portal:7/a", &deleted).await;
    harness.until_connection("a", "deleted", "c2").await;
    harness.command(&command("c3", "b", Running));
    harness.until_connection("b", "running", "c3").await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_released_when_another_credential_leads_to_another_portal() {
    let mut harness = Harness::with_partition();
    for (credential, portal_id) in [("env:a", 7), ("env:b", 7), ("env:other", 8)] {
        harness.sources.set_account(credential, Ok(portal_id));
    }
    harness.log.hold("portal:7/a");
    harness.command(&command("c1", "a", Running));
    // Nothing was read of the first portal, so the other one is admitted.
    let mut other = command("c2", "a", Running);
    other.credential = "env:other".to_owned();
    harness.command_before_commit("portal:7/a", &other).await;
    let whole = harness.until_connection("a", "running", "c2").await;
    assert_eq!(whole.portal_id, Some(8));
    harness.command(&command("c3", "b", Running));
    harness.until_connection("b", "running", "c3").await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_stream_does_not_stop_the_others() {
    let mut harness = Harness::with_partition();
    let error = failure("missing_scope", Advice::SkipStream);
    harness.sources.fail_stream("contacts", error);
    harness.command(&command("c1", "a", Running));
    let failed = |it: &schemas::StreamStatus| it.phase == "skipped";
    let status = harness.until_stream("a/contacts", failed).await;
    assert_eq!(status.error.unwrap().code, "missing_scope");
    assert_eq!(status.outcome.as_deref(), Some("failed"));
    let other = harness.until_stream("a/companies", is_idle).await;
    assert_eq!(other.outcome.as_deref(), Some("succeeded"));
    assert_eq!(harness.log.connection("a").unwrap().state, "running");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_failure_ends_the_connection_stops_all_streams() {
    let mut harness = Harness::with_partition();
    harness.sources.hold("companies");
    let error = failure("token_revoked", Advice::StopConnection);
    harness.sources.fail_stream("contacts", error);
    harness.command(&command("c1", "a", Running));
    let problem = harness.until_connection("a", "failed", "c1").await.error;
    assert_eq!(problem.unwrap().code, "token_revoked");
    assert_eq!(harness.changes.open_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_cannot_be_read_fails_the_connection_and_stops_its_streams() {
    let mut harness = Harness::with_partition();
    harness.command(&command("c1", "a", Running));
    harness.until_stream("a/contacts", is_idle).await;
    harness.message(9, "a", b"not a command".to_vec());
    let find = || {
        let whole = harness.log.connection("a")?;
        (whole.state == "failed").then_some(whole)
    };
    let whole = harness.changes.until("failed", find).await;
    assert_eq!(whole.error.unwrap().code, "command_unreadable");
    let requests = harness.sources.requests_with("env:a");
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(harness.sources.requests_with("env:a"), requests);
}
