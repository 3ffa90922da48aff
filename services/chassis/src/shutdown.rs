//! How a process ends: one token to drain, one to stop, and the tasks that have
//! to end first.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Clock, Health};

/// What a service gets: clock, health, and shutdown.
#[derive(Debug, Clone)]
pub struct Context {
    clock: Clock,
    health: Health,
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<OnceLock<anyhow::Error>>,
}

impl Context {
    /// The context of a running process.
    pub fn new(clock: Clock, health: Health) -> Self {
        let hard = CancellationToken::new();
        Self {
            clock,
            health,
            soft: hard.child_token(),
            hard,
            tasks: TaskTracker::new(),
            failure: Arc::new(OnceLock::new()),
        }
    }

    /// The time of day.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The conditions of readiness.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Cancelled when the process shuts down: start nothing new, finish what has
    /// begun.
    pub fn draining(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when draining took too long: stop now.
    pub fn stopping(&self) -> &CancellationToken {
        &self.hard
    }

    /// Runs `work`; `None` if the process drains first.
    pub async fn unless_draining<F: Future>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            done = work => Some(done),
            () = self.soft.cancelled() => None,
        }
    }

    /// Starts the shutdown.
    pub fn shut_down(&self) {
        self.soft.cancel();
    }

    /// Runs a task that the shutdown waits for. A task that fails or panics ends
    /// the process with that failure.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let context = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "the only place where tasks are spawned"
        )]
        let running = tokio::spawn(task);
        self.tasks.spawn(async move {
            let outcome = match running.await {
                Ok(outcome) => outcome.with_context(|| format!("{name} failed")),
                Err(error) => Err(anyhow::Error::new(error).context(format!("{name} panicked"))),
            };
            if let Err(error) = outcome {
                tracing::error!(error = format!("{error:#}"), task = name, "task failed");
                // The first failure is the cause of later ones.
                drop(context.failure.set(error));
                context.soft.cancel();
            }
        });
    }

    /// Runs a task that the shutdown waits for. The caller gets the outcome
    /// through the handle.
    pub fn spawn_owned<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }
}

/// Waits for SIGTERM, SIGINT or a shutdown by the service, then for its tasks.
pub(crate) async fn until_signal_and_drained(
    context: &Context,
    limit: Duration,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        () = context.soft.cancelled() => {}
    }
    context.soft.cancel();
    context.tasks.close();
    tokio::select! {
        () = context.tasks.wait() => {}
        _ = terminate.recv() => tracing::warn!("second signal: stopping at once"),
        _ = interrupt.recv() => tracing::warn!("second signal: stopping at once"),
        () = tokio::time::sleep(limit) => tracing::warn!("drain limit reached: stopping at once"),
    }
    context.hard.cancel();
    drop(tokio::time::timeout(crate::CUT_OFF, context.tasks.wait()).await);
    match context.failure.get() {
        None => Ok(()),
        Some(error) => Err(anyhow::anyhow!("{error:#}")),
    }
}
