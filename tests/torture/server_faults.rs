//! What happens to data-streams, Kafka, ClickHouse and the registry: killed
//! and started again, stopped and woken.
//!
//! It must not know what they are for.

use std::{sync::Arc, time::Duration};

use harness::{Stack, servers};
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{World, one_of};

/// How often each is chosen.
const VICTIMS: [&str; 8] = [
    "data-streams",
    "data-streams",
    "data-streams",
    "kafka",
    "kafka",
    "clickhouse",
    "clickhouse",
    "registry",
];

/// Kills and stops them until the faults are to end.
pub(crate) async fn go_on(world: Arc<World>) {
    let mut choices = world.timeline.choices("servers");
    while world.pause_between(&mut choices, 1.0, 12.0).await {
        let victim = *one_of(&mut choices, &VICTIMS);
        let place = choices.random_range(0..2);
        if choices.random_ratio(3, 4) {
            kill(&world, victim, place, &mut choices).await;
        } else {
            stall(&world, victim, place, &mut choices).await;
        }
    }
}

async fn kill(world: &World, victim: &str, place: usize, choices: &mut StdRng) {
    world.timeline.note(format!("{victim} killed"));
    process(&mut *world.stack.lock().await, victim, place).kill();
    world.figures.count(&format!("killed {victim}"));
    let _quiet = world.pause_between(choices, 0.0, 3.0).await;
    let mut stack = world.stack.lock().await;
    restart(&mut stack, victim, place);
}

fn restart(stack: &mut Stack, victim: &str, place: usize) {
    let server = match victim {
        "data-streams" => return stack.restart_data_streams(place),
        "kafka" => stack.own_servers().own_kafka(),
        "registry" => stack.own_servers().own_registry(),
        _ => &mut stack.clickhouse,
    };
    tokio::task::block_in_place(|| {
        server.restart();
        servers::wait_for(server);
    });
}

async fn stall(world: &World, victim: &str, place: usize, choices: &mut StdRng) {
    let seconds = *one_of(choices, &[1.0, 4.0, 8.0, 16.0, 60.0]);
    world
        .timeline
        .note(format!("{victim} stopped for {seconds} s"));
    world.figures.count(&format!("stalled {victim}"));
    process(&mut *world.stack.lock().await, victim, place).signal("STOP");
    let _quiet = world.pause(Duration::from_secs_f64(seconds)).await;
    process(&mut *world.stack.lock().await, victim, place).signal("CONT");
}

fn process<'a>(stack: &'a mut Stack, victim: &str, place: usize) -> &'a mut harness::Process {
    match victim {
        "data-streams" => &mut stack.instances[place].process,
        "kafka" => &mut stack.own_servers().own_kafka().process,
        "registry" => &mut stack.own_servers().own_registry().process,
        _ => &mut stack.clickhouse.process,
    }
}
