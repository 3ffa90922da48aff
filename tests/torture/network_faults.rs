//! What the network does: connections between two parts are cut, stand still,
//! drip, or lose their other end.
//!
//! It must not know what flows through them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use harness::Mode;
use rand::{RngExt as _, rngs::StdRng};

use crate::system::{World, one_of};

/// Breaks one connection after the other until the faults are to end.
pub(crate) async fn go_on(world: Arc<World>) {
    let mut choices = world.timeline.choices("network");
    while world.pause_between(&mut choices, 2.0, 14.0).await {
        bad_moment(&world, &mut choices).await;
    }
}

async fn bad_moment(world: &World, choices: &mut StdRng) {
    let place = choices.random_range(0..6);
    let seconds = *one_of(choices, &[0.3, 1.5, 4.0, 9.0, 20.0]);
    let slow = Mode::Slow {
        bytes_per_second: choices.random_range(2_000..200_000),
    };
    let mode = *one_of(choices, &[Mode::Cut, Mode::Stall, Mode::HalfOpen, slow]);
    let reset = choices.random_ratio(1, 4);
    let (name, began) = {
        let stack = world.stack.lock().await;
        let (name, link) = stack.links().all()[place];
        let began = Instant::now();
        if reset {
            link.reset();
        } else {
            link.set(mode);
        }
        (name, began)
    };
    world.figures.count("broken connections");
    if reset {
        return world.timeline.note(format!("{name}: reset"));
    }
    world
        .timeline
        .note(format!("{name}: {mode:?} for {seconds} s"));
    let _quiet = world.pause(Duration::from_secs_f64(seconds)).await;
    world.stack.lock().await.links().all()[place].1.heal();
    if name == "worker-hubspot" && matches!(mode, Mode::Stall | Mode::Slow { .. }) {
        let span = (began, Instant::now());
        world.held_back.lock().unwrap().push(span);
    }
}
