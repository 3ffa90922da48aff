//! How a process ends: a soft signal to drain, a hard one to stop, and the
//! tasks that have to end first.
//!
//! It must not know what the tasks do.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Clock, Health};

/// What a service is given: time, health, and its life.
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
    /// A context whose life has begun.
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

    /// Whether the process is alive and ready.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Cancelled when the process is to end: take nothing new, finish what is
    /// begun.
    pub fn draining(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when the drain has taken too long: stop now.
    pub fn stopping(&self) -> &CancellationToken {
        &self.hard
    }

    /// Does `work` unless the process is told to end first.
    pub async fn unless_draining<F: Future>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            done = work => Some(done),
            () = self.soft.cancelled() => None,
        }
    }

    /// Begins the end of the process.
    pub fn shut_down(&self) {
        self.soft.cancel();
    }

    /// Runs a task that the shutdown waits for. A task that fails, or panics,
    /// ends the process with that failure.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let context = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where tasks are spawned"
        )]
        let running = tokio::spawn(task);
        self.tasks.spawn(async move {
            let outcome = match running.await {
                Ok(outcome) => outcome.with_context(|| format!("{name} failed")),
                Err(error) => Err(anyhow::Error::new(error).context(format!("{name} panicked"))),
            };
            if let Err(error) = outcome {
                tracing::error!(error = format!("{error:#}"), task = name, "task failed");
                // The first failure is the cause; later ones follow from it.
                drop(context.failure.set(error));
                context.soft.cancel();
            }
        });
    }

    /// Runs a task that the shutdown waits for and whose outcome its owner
    /// sees, through the handle.
    pub fn spawn_owned<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }
}

/// Waits for SIGTERM, SIGINT or the service's own end, then for its tasks.
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
