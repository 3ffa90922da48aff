//! What people do meanwhile: start, stop, ask for a run, change settings.
//!
//! It must not know what a command brings about.

use std::{sync::Arc, time::Instant};

use harness::api::Answer;
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::system::{Account, World};

/// Gives commands until the faults are to end.
pub(crate) async fn go_on(world: Arc<World>, place: usize) {
    let account = &world.accounts[place];
    let mut choices = world
        .timeline
        .choices(&format!("commands for {}", account.connection));
    while world.pause_between(&mut choices, 1.0, 12.0).await {
        match choices.random_range(0..10) {
            0..5 => stop_and_start(&world, account, &mut choices).await,
            5..7 => drop(send(&world, account, "sync", json!({})).await),
            7..9 => drop(send(&world, account, "sync", json!({"kind": "resync"})).await),
            _ => {
                tokio::join!(
                    send(&world, account, "start", account.settings.clone()),
                    send(&world, account, "sync", json!({})),
                );
            }
        }
    }
}

/// A stop, and after a while a start. In between no request may come.
async fn stop_and_start(world: &World, account: &Account, choices: &mut StdRng) {
    let Some(answer) = send(world, account, "stop", Value::Null).await else {
        return;
    };
    let stopped = Instant::now();
    let _quiet = world.pause_between(choices, 0.0, 9.0).await;
    if answer.status == 200 {
        let span = (account.portal.id(), stopped, Instant::now());
        world.stopped.lock().unwrap().push(span);
        world.figures.count("stops acknowledged");
    }
    while send(world, account, "start", account.settings.clone())
        .await
        .is_none_or(|answer| answer.status >= 300)
    {
        if !world.pause_between(choices, 0.5, 2.0).await {
            return;
        }
    }
}

/// The answer, if there was one: servers die meanwhile.
async fn send(world: &World, account: &Account, what: &str, body: Value) -> Option<Answer> {
    let path = format!("/v1/connections/{}/{what}", account.connection);
    let body = (!body.is_null()).then_some(body);
    let answer = world.api.try_send("POST", &path, body).await.ok();
    let status = answer.as_ref().map(|it| it.status);
    world
        .timeline
        .note(format!("{}: {what}: {status:?}", account.connection));
    world.figures.count(&format!("commands: {what}"));
    assert!(
        status.is_none_or(|it| matches!(it, 200..=202 | 409 | 503)),
        "{path}: {answer:?}"
    );
    answer
}
