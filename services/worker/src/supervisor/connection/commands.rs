//! How a connection applies a command.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use schemas::{Command, DesiredState};

use super::{ConnectionTask, portal::Unresolved};
use crate::{
    desired::DesiredConnection,
    supervisor::{Sources, halt::Halt, stream::StreamEvent},
};

impl<S: Sources> ConnectionTask<S> {
    /// Brings the streams to a desired state and keeps them there; returns only when
    /// it cannot continue.
    pub(super) async fn apply(&mut self, desired: &DesiredConnection) -> Result<Infallible, Halt> {
        match desired {
            DesiredConnection::Absent => self.stop_streams().await,
            DesiredConnection::Unreadable(problem) => {
                self.stop_streams().await;
                self.fail(None, problem.clone()).await?;
            }
            DesiredConnection::Command(command) => match command.state {
                DesiredState::Deleted => self.delete(command).await?,
                DesiredState::Stopped if !self.has_requests(command) => self.stop(command).await?,
                DesiredState::Stopped | DesiredState::Running => self.run_streams(command).await?,
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

    /// Runs the streams that a command names, and stops the others. Returns when
    /// the connection fails, or when a stopped one has carried out its requests.
    async fn run_streams(&mut self, command: &Arc<Command>) -> Result<(), Halt> {
        if self
            .resolved
            .as_ref()
            .is_none_or(|it| it.credential != command.credential)
        {
            self.stop_streams().await;
            self.resolved = None;
            let mut whole = self.state(Some(&command.command_id), "starting");
            whole.error = self.whole.as_ref().and_then(|it| it.error.clone());
            self.show(whole).await?;
            match self.resolve(command).await {
                Ok(resolved) => self.resolved = Some(resolved),
                Err(Unresolved::Halt(halt)) => return Err(halt),
                Err(Unresolved::Problem(problem)) => {
                    return self.fail(Some(&command.command_id), problem).await;
                }
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
            }
            self.command_stream(stream, command);
        }
        self.watch(command).await
    }

    /// Waits for the events of the streams.
    async fn watch(&mut self, command: &Arc<Command>) -> Result<(), Halt> {
        let names: BTreeSet<_> = command.streams.iter().cloned().collect();
        loop {
            tokio::select! {
                event = self.inbox.recv() => match event {
                    Some(StreamEvent::StopConnection(problem)) => {
                        self.stop_streams().await;
                        self.resolved = None;
                        return self.fail(Some(&command.command_id), problem).await;
                    }
                    Some(StreamEvent::Idle(stream)) => {
                        self.idle.insert(stream);
                        if command.state == DesiredState::Stopped && self.idle.is_superset(&names) {
                            return self.stop(command).await;
                        }
                    }
                    None => return Err(Halt::Closed),
                },
                () = self.committer.ended() => return Err(Halt::Closed),
            }
        }
    }
}
