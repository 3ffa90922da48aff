//! Sends commands of users: start, stop, request a run, change settings.

use std::{sync::Arc, time::Instant};

use harness::api::Answer;
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::system::{Account, System};

/// Sends commands until the faults are over.
pub(crate) async fn run(system: Arc<System>, index: usize) {
    let account = &system.accounts[index];
    let mut choices = system
        .timeline
        .choices(&format!("commands for {}", account.connection));
    while system.pause_between(&mut choices, 1.0, 12.0).await {
        match choices.random_range(0..10) {
            0..5 => stop_and_start(&system, account, &mut choices).await,
            5..7 => drop(send(&system, account, "sync", json!({})).await),
            7..9 => drop(send(&system, account, "sync", json!({"kind": "resync"})).await),
            _ => {
                tokio::join!(
                    send(&system, account, "start", account.settings.clone()),
                    send(&system, account, "sync", json!({})),
                );
            }
        }
    }
}

/// A stop, and some seconds later a start. No request may come in between.
async fn stop_and_start(system: &System, account: &Account, choices: &mut StdRng) {
    let Some(answer) = send(system, account, "stop", Value::Null).await else {
        return;
    };
    let stopped = Instant::now();
    let _quiet = system.pause_between(choices, 0.0, 9.0).await;
    if answer.status == 200 {
        let span = (account.portal.id(), stopped, Instant::now());
        system.stopped.lock().unwrap().push(span);
        system.counters.count("stops acknowledged");
    }
    while send(system, account, "start", account.settings.clone())
        .await
        .is_none_or(|answer| answer.status >= 300)
    {
        if !system.pause_between(choices, 0.5, 2.0).await {
            return;
        }
    }
}

/// The answer, if there is one: data-streams may be down.
async fn send(system: &System, account: &Account, what: &str, body: Value) -> Option<Answer> {
    let path = format!("/v1/connections/{}/{what}", account.connection);
    let body = (!body.is_null()).then_some(body);
    let answer = system.api.try_send("POST", &path, body).await.ok();
    let status = answer.as_ref().map(|it| it.status);
    system
        .timeline
        .note(format!("{}: {what}: {status:?}", account.connection));
    system.counters.count(&format!("commands: {what}"));
    assert!(
        status.is_none_or(|it| matches!(it, 200..=202 | 409 | 503)),
        "{path}: {answer:?}"
    );
    answer
}
