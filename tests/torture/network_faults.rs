//! Faults of the network: links between two parts are cut, stalled, slow,
//! half-open or reset.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use harness::Mode;
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{System, one_of};

/// Breaks one link after the other until the faults are over.
pub(crate) async fn run(system: Arc<System>) {
    let mut choices = system.timeline.choices("network");
    while system.pause_between(&mut choices, 2.0, 14.0).await {
        break_a_link(&system, &mut choices).await;
    }
}

async fn break_a_link(system: &System, choices: &mut StdRng) {
    let index = choices.random_range(0..6);
    let seconds = *one_of(choices, &[0.3, 1.5, 4.0, 9.0, 20.0]);
    let slow = Mode::Slow {
        bytes_per_second: choices.random_range(2_000..200_000),
    };
    let mode = *one_of(choices, &[Mode::Cut, Mode::Stall, Mode::HalfOpen, slow]);
    let reset = choices.random_ratio(1, 4);
    let (name, began) = {
        let stack = system.stack.lock().await;
        let (name, link) = stack.links().all()[index];
        let began = Instant::now();
        if reset {
            link.reset();
        } else {
            link.set(mode);
        }
        (name, began)
    };
    system.counters.count("broken connections");
    if reset {
        return system.timeline.note(format!("{name}: reset"));
    }
    system
        .timeline
        .note(format!("{name}: {mode:?} for {seconds} s"));
    let _over = system.pause(Duration::from_secs_f64(seconds)).await;
    system.stack.lock().await.links().all()[index].1.heal();
    if name == "worker-hubspot" && matches!(mode, Mode::Stall | Mode::Slow { .. }) {
        let span = (began, Instant::now());
        system.held_back.lock().unwrap().push(span);
    }
}
