//! Kafka, ClickHouse and the registry die or stand still, one after the other,
//! while records change; then everything arrives, once.

use std::time::Duration;

use harness::{
    Stack,
    servers::{Server, wait_for, wait_until},
};

use crate::changing_records::{self, ChangingRecords};

/// Longer than what a producer waits before it looks for a new leader.
const LEADERLESS: Duration = Duration::from_secs(6);

/// How long a server stands still. Longer than its clients wait for an answer
/// where that is of consequence: the group's session ends after 6 s.
const STILL: Duration = Duration::from_secs(8);

/// How long a dead server is missed.
const GONE: Duration = Duration::from_secs(2);

async fn kill_and_restart(server: &mut Server) {
    server.kill();
    tokio::time::sleep(GONE).await;
    server.restart();
    tokio::task::block_in_place(|| wait_for(server));
}

async fn pause_and_resume(server: &Server) {
    server.process.signal("STOP");
    tokio::time::sleep(STILL).await;
    server.process.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_kafka_is_killed_or_paused() {
    let mut stack = Stack::with(900, 20).own_kafka().start().await;
    let mut records = ChangingRecords::after_first_run(&stack).await;
    stack.simulator.set_latency(Duration::from_millis(30));
    records
        .change_during(&mut stack, "kafka dies", async |stack: &mut Stack| {
            kill_and_restart(stack.own_servers().own_kafka()).await;
        })
        .await;
    records
        .change_during(
            &mut stack,
            "kafka stands still",
            async |stack: &mut Stack| {
                pause_and_resume(stack.own_servers().own_kafka()).await;
            },
        )
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
            let topic = stack.topic("records");
            let servers = stack.own_servers();
            let broker = servers.second_broker.as_mut().expect("two brokers");
            broker.kill();
            tokio::task::block_in_place(|| {
                wait_until("a partition has no leader", || {
                    !servers.leaderless(&topic).is_empty()
                });
            });
            tokio::time::sleep(LEADERLESS).await;
            let broker = servers.second_broker.as_mut().expect("two brokers");
            broker.restart();
            tokio::task::block_in_place(|| wait_for(broker));
        })
        .await;
    changing_records::assert_no_duplicates(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_clickhouse_or_the_registry_is_killed_or_paused() {
    let mut stack = Stack::with(900, 20).own_registry().start().await;
    let mut records = ChangingRecords::after_first_sync(&stack).await;
    records
        .change_during(&mut stack, "clickhouse dies", async |stack: &mut Stack| {
            kill_and_restart(&mut stack.clickhouse).await;
        })
        .await;
    records
        .change_during(
            &mut stack,
            "clickhouse stands still",
            async |stack: &mut Stack| {
                pause_and_resume(&stack.clickhouse).await;
            },
        )
        .await;
    records
        .change_during(&mut stack, "registry dies", async |stack: &mut Stack| {
            kill_and_restart(stack.own_servers().own_registry()).await;
        })
        .await;
    records
        .change_during(
            &mut stack,
            "registry stands still",
            async |stack: &mut Stack| {
                pause_and_resume(stack.own_servers().own_registry()).await;
            },
        )
        .await;
    changing_records::assert_no_duplicates(&stack).await;
}
