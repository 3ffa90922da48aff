//! What happens to workers: killed at random moments and at named points,
//! stopped and woken, ended in order, joined by others.
//!
//! It must not know what a worker does.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, rngs::StdRng};

use crate::system::{WORKERS, World, one_of};

/// Names of the worker's crash points.
const POINTS: [&str; 8] = [
    "after-fetch",
    "before-begin",
    "after-begin",
    "mid-produce",
    "before-commit",
    "after-commit",
    "take-over",
    "token-refresh",
];
/// How long a worker may take from SIGTERM to its end.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// A worker that has not come to its crash point by then is killed.
const PATIENCE: Duration = Duration::from_secs(25);

/// Kills, stops and ends workers until the faults are to end.
pub(crate) async fn go_on(world: Arc<World>) {
    let mut choices = world.timeline.choices("kills");
    while world.pause_between(&mut choices, 0.2, 9.0).await {
        let place = choices.random_range(0..WORKERS);
        match choices.random_range(0..100) {
            0..50 => kill(&world, place, &mut choices).await,
            50..80 => crash(&world, place, &mut choices).await,
            80..92 => stall(&world, place, &mut choices).await,
            _ => terminate(&world, place).await,
        }
    }
}

async fn kill(world: &World, place: usize, choices: &mut StdRng) {
    world.timeline.note(format!("worker {place} killed"));
    world.stack.lock().await.workers[place].kill();
    world.figures.worker_killed();
    if choices.random_ratio(1, 3) {
        // Whatever the faults do meanwhile, a worker comes back.
        let _quiet = world.pause_between(choices, 0.0, 4.0).await;
    }
    world.stack.lock().await.restart_worker(place, &[]);
}

async fn crash(world: &World, place: usize, choices: &mut StdRng) {
    let point = format!(
        "{}:{}",
        one_of(choices, &POINTS),
        choices.random_range(1..12)
    );
    world
        .timeline
        .note(format!("worker {place} restarted, to die at {point}"));
    world
        .stack
        .lock()
        .await
        .restart_worker(place, &[("WORKER_CRASH_AT", &point)]);
    world.figures.worker_killed();
    let mut waited = Duration::ZERO;
    let tick = Duration::from_millis(100);
    while waited < PATIENCE && world.pause(tick).await {
        waited += tick;
        if !world.stack.lock().await.workers[place].is_running() {
            world
                .timeline
                .note(format!("worker {place} died at {point}"));
            world
                .figures
                .count(&format!("died {}", point.split(':').next().unwrap()));
            break;
        }
    }
    world.figures.worker_killed();
    world.stack.lock().await.restart_worker(place, &[]);
}

async fn stall(world: &World, place: usize, choices: &mut StdRng) {
    let seconds = *one_of(choices, &[1.0, 3.0, 5.0, 7.0, 9.0, 18.0]);
    world
        .timeline
        .note(format!("worker {place} stopped for {seconds} s"));
    world.figures.count("stalled worker");
    world.stack.lock().await.workers[place].signal("STOP");
    let _quiet = world.pause(Duration::from_secs_f64(seconds)).await;
    world.stack.lock().await.workers[place].signal("CONT");
}

async fn terminate(world: &World, place: usize) {
    world.timeline.note(format!("worker {place} terminated"));
    world.figures.count("terminated worker");
    let mut stack = world.stack.lock().await;
    tokio::task::block_in_place(|| stack.workers[place].terminate(SHUTDOWN));
    stack.restart_worker(place, &[]);
}

/// Another worker joins and leaves, until the faults are to end.
pub(crate) async fn come_and_go(world: Arc<World>) {
    let mut choices = world.timeline.choices("third worker");
    let place = WORKERS;
    world.stack.lock().await.add_worker();
    world.stack.lock().await.workers[place].kill();
    while world.pause_between(&mut choices, 10.0, 40.0).await {
        world.timeline.note("a third worker joins");
        world.figures.count("joined worker");
        world.stack.lock().await.restart_worker(place, &[]);
        let _quiet = world.pause_between(&mut choices, 1.0, 25.0).await;
        world.timeline.note("the third worker leaves");
        let mut stack = world.stack.lock().await;
        if choices.random() {
            stack.workers[place].kill();
            world.figures.worker_killed();
        } else {
            tokio::task::block_in_place(|| stack.workers[place].terminate(SHUTDOWN));
        }
    }
}
