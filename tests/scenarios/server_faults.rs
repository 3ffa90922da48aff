//! Kafka, ClickHouse and the registry die or stand still, one after the other,
//! while records change; then everything arrives, once.

use std::time::Duration;

use harness::{
    Stack,
    servers::{Server, wait_for, wait_until},
};

use crate::changing_records::{self, Load};

/// Longer than what a producer waits before it looks for a new leader.
const LEADERLESS: Duration = Duration::from_secs(6);

/// How long a server stands still. Longer than its clients wait for an answer
/// where that is of consequence: the group's session ends after 6 s.
const STILL: Duration = Duration::from_secs(8);

/// How long a dead server is missed.
const GONE: Duration = Duration::from_secs(2);

async fn dies(server: &mut Server) {
    server.kill();
    tokio::time::sleep(GONE).await;
    server.restart();
    tokio::task::block_in_place(|| wait_for(server));
}

async fn stands_still(server: &Server) {
    server.process.signal("STOP");
    tokio::time::sleep(STILL).await;
    server.process.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_may_die_and_stand_still() {
    let mut stack = Stack::with(900, 20).own_kafka().start().await;
    let mut load = Load::during_first_sync(&stack).await;
    stack.simulator.set_latency(Duration::from_millis(30));
    load.through(&mut stack, "kafka dies", async |stack: &mut Stack| {
        dies(stack.own_servers().own_kafka()).await;
    })
    .await;
    load.through(
        &mut stack,
        "kafka stands still",
        async |stack: &mut Stack| {
            stands_still(stack.own_servers().own_kafka()).await;
        },
    )
    .await;
    changing_records::nothing_is_doubled(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_may_be_without_a_leader() {
    let mut stack = Stack::with(900, 20).two_brokers().start().await;
    let mut load = Load::during_first_sync(&stack).await;
    stack.simulator.set_latency(Duration::from_millis(30));
    load.through(&mut stack, "no leader", async |stack: &mut Stack| {
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
    changing_records::nothing_is_doubled(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_and_the_registry_may_die_and_stand_still() {
    let mut stack = Stack::with(900, 20).own_registry().start().await;
    let mut load = Load::after_first_sync(&stack).await;
    load.through(&mut stack, "clickhouse dies", async |stack: &mut Stack| {
        dies(&mut stack.clickhouse).await;
    })
    .await;
    load.through(
        &mut stack,
        "clickhouse stands still",
        async |stack: &mut Stack| {
            stands_still(&stack.clickhouse).await;
        },
    )
    .await;
    load.through(&mut stack, "registry dies", async |stack: &mut Stack| {
        dies(stack.own_servers().own_registry()).await;
    })
    .await;
    load.through(
        &mut stack,
        "registry stands still",
        async |stack: &mut Stack| {
            stands_still(stack.own_servers().own_registry()).await;
        },
    )
    .await;
    changing_records::nothing_is_doubled(&stack).await;
}
