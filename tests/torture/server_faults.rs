//! Faults of data-streams, Kafka, ClickHouse and the registry: killed and
//! restarted, paused and resumed.

use std::{sync::Arc, time::Duration};

use harness::{Stack, servers};
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{System, one_of};

/// The servers; a name occurs as often as it is to be chosen.
const TARGETS: [&str; 8] = [
    "data-streams",
    "data-streams",
    "data-streams",
    "kafka",
    "kafka",
    "clickhouse",
    "clickhouse",
    "registry",
];

/// Kills and pauses them until the faults are over.
pub(crate) async fn run(system: Arc<System>) {
    let mut choices = system.timeline.choices("servers");
    while system.pause_between(&mut choices, 1.0, 12.0).await {
        let target = *one_of(&mut choices, &TARGETS);
        let index = choices.random_range(0..2);
        if choices.random_ratio(3, 4) {
            kill(&system, target, index, &mut choices).await;
        } else {
            pause_process(&system, target, index, &mut choices).await;
        }
    }
}

async fn kill(system: &System, target: &str, index: usize, choices: &mut StdRng) {
    system.timeline.note(format!("{target} killed"));
    process(&mut *system.stack.lock().await, target, index).kill();
    system.counters.count(&format!("killed {target}"));
    let _over = system.pause_between(choices, 0.0, 3.0).await;
    let mut stack = system.stack.lock().await;
    restart(&mut stack, target, index);
}

fn restart(stack: &mut Stack, target: &str, index: usize) {
    let server = match target {
        "data-streams" => return stack.restart_data_streams(index),
        "kafka" => stack.own_servers().own_kafka(),
        "registry" => stack.own_servers().own_registry(),
        _ => &mut stack.clickhouse,
    };
    tokio::task::block_in_place(|| {
        server.restart();
        servers::wait_until_ready(server);
    });
}

async fn pause_process(system: &System, target: &str, index: usize, choices: &mut StdRng) {
    let seconds = *one_of(choices, &[1.0, 4.0, 8.0, 16.0, 60.0]);
    system
        .timeline
        .note(format!("{target} paused for {seconds} s"));
    system.counters.count(&format!("paused {target}"));
    process(&mut *system.stack.lock().await, target, index).signal("STOP");
    let _over = system.pause(Duration::from_secs_f64(seconds)).await;
    process(&mut *system.stack.lock().await, target, index).signal("CONT");
}

fn process<'a>(stack: &'a mut Stack, target: &str, index: usize) -> &'a mut harness::Process {
    match target {
        "data-streams" => &mut stack.instances[index].process,
        "kafka" => &mut stack.own_servers().own_kafka().process,
        "registry" => &mut stack.own_servers().own_registry().process,
        _ => &mut stack.clickhouse.process,
    }
}
