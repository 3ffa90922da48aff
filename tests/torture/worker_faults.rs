//! What happens to workers: killed at random moments and at named points,
//! stopped and woken, ended in order, joined by others.
//!
//! It must not know what a worker does.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, rngs::StdRng};

use crate::system::{System, WORKERS, one_of};

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
pub(crate) async fn run(system: Arc<System>) {
    let mut choices = system.timeline.choices("kills");
    while system.pause_between(&mut choices, 0.2, 9.0).await {
        let place = choices.random_range(0..WORKERS);
        match choices.random_range(0..100) {
            0..50 => kill(&system, place, &mut choices).await,
            50..80 => crash(&system, place, &mut choices).await,
            80..92 => pause_process(&system, place, &mut choices).await,
            _ => terminate(&system, place).await,
        }
    }
}

async fn kill(system: &System, place: usize, choices: &mut StdRng) {
    system.timeline.note(format!("worker {place} killed"));
    system.stack.lock().await.workers[place].kill();
    system.counters.worker_killed();
    if choices.random_ratio(1, 3) {
        // Whatever the faults do meanwhile, a worker comes back.
        let _quiet = system.pause_between(choices, 0.0, 4.0).await;
    }
    system.stack.lock().await.restart_worker(place, &[]);
}

async fn crash(system: &System, place: usize, choices: &mut StdRng) {
    let point = format!(
        "{}:{}",
        one_of(choices, &POINTS),
        choices.random_range(1..12)
    );
    system
        .timeline
        .note(format!("worker {place} restarted, to die at {point}"));
    system
        .stack
        .lock()
        .await
        .restart_worker(place, &[("WORKER_CRASH_AT", &point)]);
    system.counters.worker_killed();
    let mut waited = Duration::ZERO;
    let tick = Duration::from_millis(100);
    while waited < PATIENCE && system.pause(tick).await {
        waited += tick;
        if !system.stack.lock().await.workers[place].is_running() {
            system
                .timeline
                .note(format!("worker {place} died at {point}"));
            system
                .counters
                .count(&format!("died {}", point.split(':').next().unwrap()));
            break;
        }
    }
    system.counters.worker_killed();
    system.stack.lock().await.restart_worker(place, &[]);
}

async fn pause_process(system: &System, place: usize, choices: &mut StdRng) {
    let seconds = *one_of(choices, &[1.0, 3.0, 5.0, 7.0, 9.0, 18.0]);
    system
        .timeline
        .note(format!("worker {place} stopped for {seconds} s"));
    system.counters.count("stalled worker");
    system.stack.lock().await.workers[place].signal("STOP");
    let _quiet = system.pause(Duration::from_secs_f64(seconds)).await;
    system.stack.lock().await.workers[place].signal("CONT");
}

async fn terminate(system: &System, place: usize) {
    system.timeline.note(format!("worker {place} terminated"));
    system.counters.count("terminated worker");
    let mut stack = system.stack.lock().await;
    tokio::task::block_in_place(|| stack.workers[place].terminate(SHUTDOWN));
    stack.restart_worker(place, &[]);
}

/// Another worker joins and leaves, until the faults are to end.
pub(crate) async fn join_and_leave(system: Arc<System>) {
    let mut choices = system.timeline.choices("third worker");
    let place = WORKERS;
    system.stack.lock().await.add_worker();
    system.stack.lock().await.workers[place].kill();
    while system.pause_between(&mut choices, 10.0, 40.0).await {
        system.timeline.note("a third worker joins");
        system.counters.count("joined worker");
        system.stack.lock().await.restart_worker(place, &[]);
        let _quiet = system.pause_between(&mut choices, 1.0, 25.0).await;
        system.timeline.note("the third worker leaves");
        let mut stack = system.stack.lock().await;
        if choices.random() {
            stack.workers[place].kill();
            system.counters.worker_killed();
        } else {
            tokio::task::block_in_place(|| stack.workers[place].terminate(SHUTDOWN));
        }
    }
}
