//! Faults of workers: killed at random moments and at crash points, paused and
//! resumed, terminated; others join and leave.

use std::{sync::Arc, time::Duration};

use harness::process::SHUTDOWN_LIMIT;
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{System, WORKERS, one_of};

/// Names of the worker's crash points.
const POINTS: [&str; 13] = [
    "after-fetch",
    "before-begin",
    "after-begin",
    "mid-produce",
    "before-tombstone",
    "before-commit",
    "unknown-commit",
    "after-commit",
    "take-over",
    "in-restore",
    "in-seed",
    "before-confirm",
    "token-refresh",
];
/// A worker that has not reached its crash point by then is killed.
const PATIENCE: Duration = Duration::from_secs(25);

/// Kills, pauses and terminates workers until the faults are over.
pub(crate) async fn run(system: Arc<System>) {
    let mut choices = system.timeline.choices("kills");
    while system.pause_between(&mut choices, 0.2, 9.0).await {
        let index = choices.random_range(0..WORKERS);
        match choices.random_range(0..100) {
            0..50 => kill(&system, index, &mut choices).await,
            50..80 => crash(&system, index, &mut choices).await,
            80..92 => pause_process(&system, index, &mut choices).await,
            _ => terminate(&system, index).await,
        }
    }
}

async fn kill(system: &System, index: usize, choices: &mut StdRng) {
    system.timeline.note(format!("worker {index} killed"));
    system.stack.lock().await.workers[index].kill();
    system.counters.worker_killed();
    if choices.random_ratio(1, 3) {
        // A killed worker is restarted, also when the faults are over.
        let _over = system.pause_between(choices, 0.0, 4.0).await;
    }
    system.stack.lock().await.restart_worker(index, &[]);
}

async fn crash(system: &System, index: usize, choices: &mut StdRng) {
    let point = format!(
        "{}:{}",
        one_of(choices, &POINTS),
        choices.random_range(1..12)
    );
    system
        .timeline
        .note(format!("worker {index} restarted, to be killed at {point}"));
    system
        .stack
        .lock()
        .await
        .restart_worker(index, &[("WORKER_CRASH_AT", &point)]);
    system.counters.worker_killed();
    let mut waited = Duration::ZERO;
    let tick = Duration::from_millis(100);
    while waited < PATIENCE && system.pause(tick).await {
        waited += tick;
        if !system.stack.lock().await.workers[index].is_running() {
            system
                .timeline
                .note(format!("worker {index} killed at {point}"));
            system
                .counters
                .count(&format!("crashed at {}", point.split(':').next().unwrap()));
            break;
        }
    }
    system.counters.worker_killed();
    system.stack.lock().await.restart_worker(index, &[]);
}

async fn pause_process(system: &System, index: usize, choices: &mut StdRng) {
    let seconds = *one_of(choices, &[1.0, 3.0, 5.0, 7.0, 9.0, 18.0]);
    system
        .timeline
        .note(format!("worker {index} paused for {seconds} s"));
    system.counters.count("paused worker");
    system.stack.lock().await.workers[index].signal("STOP");
    let _over = system.pause(Duration::from_secs_f64(seconds)).await;
    system.stack.lock().await.workers[index].signal("CONT");
}

async fn terminate(system: &System, index: usize) {
    system.timeline.note(format!("worker {index} terminated"));
    system.counters.count("terminated worker");
    let mut stack = system.stack.lock().await;
    tokio::task::block_in_place(|| stack.workers[index].terminate(SHUTDOWN_LIMIT));
    stack.restart_worker(index, &[]);
}

/// Another worker joins and leaves, until the faults are over.
pub(crate) async fn join_and_leave(system: Arc<System>) {
    let mut choices = system.timeline.choices("third worker");
    let index = WORKERS;
    system.stack.lock().await.add_worker();
    system.stack.lock().await.workers[index].kill();
    while system.pause_between(&mut choices, 10.0, 40.0).await {
        system.timeline.note("a third worker joins");
        system.counters.count("joined worker");
        system.stack.lock().await.restart_worker(index, &[]);
        let _over = system.pause_between(&mut choices, 1.0, 25.0).await;
        system.timeline.note("the third worker leaves");
        let mut stack = system.stack.lock().await;
        if choices.random() {
            stack.workers[index].kill();
            system.counters.worker_killed();
        } else {
            tokio::task::block_in_place(|| stack.workers[index].terminate(SHUTDOWN_LIMIT));
        }
    }
}
