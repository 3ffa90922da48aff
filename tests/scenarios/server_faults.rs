//! Kafka, ClickHouse and the registry are killed or paused, one after the other,
//! while records change; then everything arrives once.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use harness::{
    HANG_LIMIT, Stack, eventually,
    process::SHUTDOWN_LIMIT,
    servers::{Server, wait_until, wait_until_ready},
};

use crate::changing_records::{self, ChangingRecords};

/// How long partitions have no leader: longer than a producer waits before it
/// requests the new leader.
const LEADERLESS: Duration = Duration::from_secs(6);

/// How long HubSpot holds its answers back while a broker dies: longer than Kafka takes
/// to notice.
const HELD: Duration = Duration::from_secs(20);

/// How long a server is paused: longer than the group's session of 6 s.
const PAUSED: Duration = Duration::from_secs(8);

/// How long a killed server is down.
const DOWN: Duration = Duration::from_secs(2);

async fn kill_and_restart(server: &mut Server) {
    server.kill();
    tokio::time::sleep(DOWN).await;
    server.restart();
    tokio::task::block_in_place(|| wait_until_ready(server));
}

/// Waits until the first contacts of a change have been loaded, while the others come as
/// fast as they can.
async fn until_loading(stack: &Stack, city: &str) {
    let sql = format!("SELECT count() > 0 FROM hubspot.contacts WHERE city = '{city}'");
    stack.sql_as_reader().until(&sql, 1).await;
}

async fn pause_and_resume(server: &Server) {
    server.process.signal("STOP");
    tokio::time::sleep(PAUSED).await;
    server.process.signal("CONT");
}

/// Lets HubSpot hold its answers back, and waits until what it has answered is committed.
///
/// Kafka 4.3 writes no end marker to a partition that has lost its only replica by
/// then, and counts the transaction as complete: it hides what is written after it
/// until somebody aborts it by hand.
async fn settle_transactions(stack: &Stack) {
    stack.simulator.set_latency(HELD);
    let topics = ["records", "checkpoints", "status", "definitions"].map(|it| stack.topic(it));
    let closed = AtomicU32::new(0);
    eventually(
        "no transaction is open for a while",
        HANG_LIMIT,
        async || {
            let is_open =
                tokio::task::block_in_place(|| stack.servers().has_open_transaction(&topics));
            let times = if is_open {
                0
            } else {
                closed.load(Ordering::Relaxed) + 1
            };
            closed.store(times, Ordering::Relaxed);
            (times == 10).then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_kafka_is_killed_or_paused() {
    let mut stack = Stack::with(900, 20).own_kafka().start().await;
    let mut records = ChangingRecords::after_first_run(&stack).await;
    stack.simulator.set_latency(Duration::from_millis(30));
    records
        .change_during(&mut stack, "kafka is killed", async |stack: &mut Stack| {
            kill_and_restart(stack.own_servers().own_kafka()).await;
        })
        .await;
    records
        .change_during(&mut stack, "kafka is paused", async |stack: &mut Stack| {
            pause_and_resume(stack.own_servers().own_kafka()).await;
        })
        .await;
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_partitions_have_no_leader() {
    let mut stack = Stack::with(900, 20).two_brokers().start().await;
    let mut records = ChangingRecords::after_first_run(&stack).await;
    stack.simulator.set_latency(Duration::from_millis(30));
    records
        .change_during(&mut stack, "no leader", async |stack: &mut Stack| {
            settle_transactions(stack).await;
            let topic = stack.topic("records");
            let servers = stack.own_servers();
            let broker = servers.other_brokers.first_mut().expect("two brokers");
            broker.kill();
            tokio::task::block_in_place(|| {
                wait_until("a partition has no leader", || {
                    !servers.leaderless(&topic).is_empty()
                });
            });
            tokio::time::sleep(LEADERLESS).await;
            let broker = servers.other_brokers.first_mut().expect("two brokers");
            broker.restart();
            tokio::task::block_in_place(|| wait_until_ready(broker));
            stack.simulator.set_latency(Duration::from_millis(30));
        })
        .await;
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_each_of_three_brokers_is_killed() {
    let mut stack = Stack::with(6_000, 20).three_brokers().start().await;
    let mut records = ChangingRecords::after_first_run(&stack).await;
    let ids = stack.simulator.portal().ids("contacts");
    let replicas = tokio::task::block_in_place(|| {
        let topic = stack.topic("records");
        stack.servers().replicas(&topic)
    });
    assert_eq!(replicas, [3; 4], "the brokers' default");
    for (index, what) in ["the first", "the second", "the third"].iter().enumerate() {
        let what = format!("{what} broker is killed");
        let portal = stack.simulator.portal();
        portal.bulk("contacts", &ids, &[("city", &what)]).unwrap();
        records
            .change_during(&mut stack, &what, async |stack: &mut Stack| {
                until_loading(stack, &what).await;
                let servers = stack.own_servers();
                let broker = match index {
                    0 => servers.own_kafka(),
                    _ => &mut servers.other_brokers[index - 1],
                };
                kill_and_restart(broker).await;
            })
            .await;
    }
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_clickhouse_or_the_registry_is_killed_or_paused() {
    let mut stack = Stack::with(900, 20).own_registry().start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    records
        .change_during(
            &mut stack,
            "clickhouse is killed",
            async |stack: &mut Stack| {
                kill_and_restart(&mut stack.clickhouse).await;
            },
        )
        .await;
    records
        .change_during(
            &mut stack,
            "clickhouse is paused",
            async |stack: &mut Stack| {
                pause_and_resume(&stack.clickhouse).await;
            },
        )
        .await;
    records
        .change_during(
            &mut stack,
            "registry is killed",
            async |stack: &mut Stack| {
                kill_and_restart(stack.own_servers().own_registry()).await;
            },
        )
        .await;
    records
        .change_during(
            &mut stack,
            "registry is paused",
            async |stack: &mut Stack| {
                pause_and_resume(stack.own_servers().own_registry()).await;
            },
        )
        .await;
    changing_records::assert_no_duplicates(&stack).await;
}

/// Copies a folder with all that is in it, in place of what the other one has.
fn copy(from: &Path, to: &Path) {
    let script = "rm -rf \"$2\" && cp -a \"$1\" \"$2\"";
    let mut command = Command::new("sh");
    let status = command.args(["-c", script, "copy"]).arg(from).arg(to);
    assert!(status.status().expect("a shell").success());
}

/// Keeps what ClickHouse has now; the folder of the copy.
async fn back_up(stack: &mut Stack, name: &str) -> PathBuf {
    let (data, backup) = (
        stack.clickhouse.folder().to_owned(),
        stack.folder().join(name),
    );
    copy_while_stopped(stack, &data, &backup).await;
    backup
}

/// Lets ClickHouse go on with what a backup has.
async fn restore(stack: &mut Stack, backup: &Path) {
    let data = stack.clickhouse.folder().to_owned();
    copy_while_stopped(stack, backup, &data).await;
}

async fn copy_while_stopped(stack: &mut Stack, from: &Path, to: &Path) {
    stack.clickhouse.process.terminate(SHUTDOWN_LIMIT);
    copy(from, to);
    kill_and_restart(&mut stack.clickhouse).await;
}

/// The sum of the offsets up to which the log is loaded, as ClickHouse has it.
async fn noted(stack: &Stack) -> i64 {
    let sum = "SELECT sum(offset) FROM `_hubspot_streams`.loaded FINAL";
    stack.sql().number(sum).await
}

async fn until_noted(stack: &Stack, before: i64) {
    eventually("what was loaded is noted", HANG_LIMIT, async || {
        (noted(stack).await > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_restored_from_an_older_backup_misses_nothing() {
    let mut stack = Stack::with(600, 20).start().await;
    // Nothing is loaded yet, and so no partition is noted.
    let empty = back_up(&mut stack, "empty").await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    until_noted(&stack, 0).await;
    let noted = noted(&stack).await;
    let loaded = back_up(&mut stack, "loaded").await;

    records.change(&stack, "after the backup").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    until_noted(&stack, noted).await;
    restore(&mut stack, &loaded).await;
    // Nothing has changed since, and the loader finds it out.
    stack.matches_truth("contacts").await;

    records.change(&stack, "before a restart").await;
    changing_records::complete_a_run(&stack).await;
    stack.matches_truth("contacts").await;
    for backup in [loaded, empty] {
        stack.instances[0].process.terminate(SHUTDOWN_LIMIT);
        restore(&mut stack, &backup).await;
        stack.restart_data_streams(0);
        stack.matches_truth("contacts").await;
    }
    changing_records::assert_no_duplicates(&stack).await;
}
