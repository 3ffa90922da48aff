//! How a connection applies a command.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use schemas::{Command, DesiredState, Problem};
use tokio::time::Instant;

use super::{ConnectionTask, failures::Failures, portal::Unresolved};
use crate::{
    desired::DesiredConnection,
    supervisor::{Sources, halt::Halt, stream::StreamEvent},
};

/// A connection that has worked for so long begins anew to count its failures.
const WORKED_FOR: Duration = Duration::from_mins(10);

/// Why the streams of a connection no longer run.
enum Watched {
    /// It is stopped, and its requests are carried out.
    Stopped,
    /// It has failed.
    Failed(Problem),
}

impl<S: Sources> ConnectionTask<S> {
    /// Brings the streams to a desired state and keeps them there; returns only when
    /// it cannot continue.
    pub(super) async fn apply(&mut self, desired: &DesiredConnection) -> Result<Infallible, Halt> {
        match desired {
            DesiredConnection::Absent => {
                self.stop_streams().await;
                self.resolved = None;
            }
            DesiredConnection::Unreadable(problem) => {
                self.stop_streams().await;
                self.resolved = None;
                self.fail(None, problem.clone()).await?;
            }
            DesiredConnection::Command(command) => match command.state {
                DesiredState::Deleted => self.delete(command).await?,
                DesiredState::Stopped if !self.has_requests(command) => {
                    self.stop(command).await?;
                    self.check(command).await?;
                }
                DesiredState::Stopped | DesiredState::Running => {
                    self.check(command).await?;
                    self.run_streams(command).await?;
                }
            },
        }
        std::future::pending().await
    }

    /// Whether a one-time request has not been carried out.
    fn has_requests(&self, command: &Command) -> bool {
        command
            .requests
            .iter()
            .filter(|it| command.streams.contains(&it.stream))
            .any(|it| {
                let checkpoint = self.checkpoint(&it.stream);
                checkpoint.request_done.as_deref() != Some(&it.request_id)
            })
    }

    /// Runs the streams that a command names, and stops the others. Returns when a
    /// stopped connection has carried out its requests. A connection that fails is tried
    /// again at growing intervals: HubSpot refuses what it accepts again later, and what
    /// is wrong may be mended without a command.
    async fn run_streams(&mut self, command: &Arc<Command>) -> Result<(), Halt> {
        let mut failures = Failures::default();
        loop {
            let began = Instant::now();
            let problem = match self.run_until_failure(command).await? {
                Watched::Stopped => return self.stop(command).await,
                Watched::Failed(problem) => problem,
            };
            self.stop_streams().await;
            // What has worked for long fails anew.
            if began.elapsed() > WORKED_FOR {
                failures = Failures::default();
            }
            let has_worked = self.resolved.take().is_some();
            let wait = failures.add(&problem, has_worked);
            if failures.are_passing() {
                self.start_again(command, problem).await?;
            } else {
                self.fail(Some(&command.command_id), problem).await?;
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn run_until_failure(&mut self, command: &Arc<Command>) -> Result<Watched, Halt> {
        if self
            .resolved
            .as_ref()
            .is_none_or(|it| it.credential != command.credential)
        {
            self.stop_streams().await;
            self.resolved = None;
            let mut whole = self.state(Some(&command.command_id), "starting");
            whole.error = self.whole.as_ref().and_then(|it| it.error.clone());
            // A failure is shown until another try has succeeded.
            if !self.shows_failure_of(command) {
                self.show(whole).await?;
            }
            match self.resolve(command).await {
                Ok(resolved) => self.resolved = Some(resolved),
                Err(Unresolved::Halt(halt)) => return Err(halt),
                Err(Unresolved::Problem(problem)) => return Ok(Watched::Failed(problem)),
            }
        }
        let unnamed: Vec<_> = self
            .running
            .keys()
            .filter(|it| !command.streams.contains(it))
            .cloned()
            .collect();
        for stream in unnamed {
            self.stop_stream(&stream).await;
            let message = self.end_run(&stream).await?;
            self.committer.post(message.into_iter().collect())?;
        }
        self.read_definitions(&command.streams).await?;
        self.seed_indexes(&command.streams).await?;
        self.show(self.state(Some(&command.command_id), "running"))
            .await?;
        for stream in &command.streams {
            if let Some(sink) = self.sinks.get(stream) {
                sink.state().set_destination(&command.destination);
                sink.state()
                    .select_properties(command.properties_of(stream));
            }
            self.command_stream(stream, command);
        }
        self.watch(command).await
    }

    /// Whether the status says that this command has failed.
    fn shows_failure_of(&self, command: &Command) -> bool {
        self.whole.as_ref().is_some_and(|it| {
            it.state == "failed" && it.applied.as_deref() == Some(&command.command_id)
        })
    }

    /// Shows a failure that may pass.
    pub(super) async fn start_again(
        &mut self,
        command: &Command,
        problem: Problem,
    ) -> Result<(), Halt> {
        let mut whole = self.state(Some(&command.command_id), "starting");
        whole.error = Some(problem);
        self.show(whole).await
    }

    /// Waits for the events of the streams.
    async fn watch(&mut self, command: &Arc<Command>) -> Result<Watched, Halt> {
        let names: BTreeSet<_> = command.streams.iter().cloned().collect();
        loop {
            tokio::select! {
                event = self.inbox.recv() => match event {
                    Some(StreamEvent::StopConnection(problem)) => {
                        return Ok(Watched::Failed(problem));
                    }
                    Some(StreamEvent::Idle(stream)) => {
                        self.idle.insert(stream);
                        if command.state == DesiredState::Stopped && self.idle.is_superset(&names) {
                            return Ok(Watched::Stopped);
                        }
                    }
                    None => return Err(Halt::Closed),
                },
                () = self.committer.ended() => return Err(Halt::Closed),
            }
        }
    }
}
