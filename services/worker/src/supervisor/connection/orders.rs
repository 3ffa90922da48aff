//! How a connection is worked on, stopped and deleted.
//!
//! It must not know how a command came here.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use schemas::{Command, DesiredState, Problem};

use super::{Resolved, Task};
use crate::{
    messages::Message,
    schedule, status,
    supervisor::{Sources, claim, stream::News},
    sync::{Advice, Page, Portal, Sink as _, SinkClosed, Source as _, SourceError},
};

/// Before the account is asked for again, at least.
const SHORTEST: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST: Duration = Duration::from_mins(1);

impl<S: Sources> Task<S> {
    /// Runs the streams that a command names, until another comes.
    pub(super) async fn work(&mut self, command: &Arc<Command>) -> Result<(), SinkClosed> {
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
            if let Err(problem) = self.resolve(command).await? {
                return self.fail(Some(&command.command_id), problem).await;
            }
        }
        let gone: Vec<_> = self
            .running
            .keys()
            .filter(|it| !command.streams.contains(it))
            .cloned()
            .collect();
        for stream in gone {
            self.stop_stream(&stream).await;
            self.end_run(&stream).await?;
            let message = self.stopped_message(&stream);
            self.committer.post(message.into_iter().collect())?;
        }
        self.show(self.state(Some(&command.command_id), "running"))
            .await?;
        for stream in &command.streams {
            self.order(stream, command);
        }
        self.watch(command).await
    }

    /// Waits for what the streams tell.
    async fn watch(&mut self, command: &Arc<Command>) -> Result<(), SinkClosed> {
        let names: BTreeSet<_> = command.streams.iter().cloned().collect();
        loop {
            tokio::select! {
                news = self.inbox.recv() => match news {
                    Some(News::StopConnection(error)) => {
                        self.stop_streams().await;
                        self.resolved = None;
                        let now = self.world.context.clock().now_ms();
                        let problem = status::problem(&error, now);
                        return self.fail(Some(&command.command_id), problem).await;
                    }
                    Some(News::Idle(stream)) => {
                        self.idle.insert(stream);
                        if command.state == DesiredState::Stopped && self.idle.is_superset(&names) {
                            return self.stop(command).await;
                        }
                    }
                    None => return Err(SinkClosed),
                },
                () = self.committer.ended() => return Err(SinkClosed),
            }
        }
    }

    /// Stops all streams and says so, once all they have submitted is in the
    /// log.
    pub(super) async fn stop(&mut self, command: &Command) -> Result<(), SinkClosed> {
        self.stop_streams().await;
        let whole = self.state(Some(&command.command_id), "stopped");
        let said = self.whole.as_ref().is_some_and(|it| {
            it.state == whole.state && it.obeyed == whole.obeyed && it.error.is_none()
        });
        if said {
            return Ok(());
        }
        let mut streams: BTreeSet<_> = command.streams.iter().cloned().collect();
        streams.extend(self.checkpoints.keys().cloned());
        streams.extend(self.sinks.keys().cloned());
        let mut messages = Vec::new();
        for stream in streams {
            self.end_run(&stream).await?;
            messages.extend(self.stopped_message(&stream));
        }
        messages.push(self.whole_message(&whole));
        self.committer.publish(messages).await?;
        self.whole = Some(whole);
        // Another start finds out anew who the account is.
        self.resolved = None;
        Ok(())
    }

    /// A stop ends the run under way: its position is kept, its id is not.
    async fn end_run(&mut self, stream: &str) -> Result<(), SinkClosed> {
        let mut checkpoint = self.checkpoint(stream);
        let ended = checkpoint.run.clone();
        if !schedule::end_by_stop(&mut checkpoint, uuid::Uuid::new_v4().to_string()) {
            return Ok(());
        }
        let sink = self.sink(stream, checkpoint.portal_id);
        let page = Page {
            checkpoint,
            ..Page::default()
        };
        sink.submit(page).await?;
        sink.settle().await?;
        if let Some(run) = ended {
            // The position already names the run that the next start makes.
            sink.state().view(|view| {
                view.outcome = Some("stopped".to_owned());
                view.run_id = Some(run.run_id);
                view.run_records = run.records;
            });
        }
        Ok(())
    }

    /// What a stream that was stopped shows. Its run is the one that ended.
    fn stopped_message(&mut self, stream: &str) -> Option<Message> {
        let checkpoint = self.checkpoint(stream);
        let known = self.views.contains_key(stream)
            || self.sinks.contains_key(stream)
            || checkpoint.portal_id != 0;
        if !known {
            return None;
        }
        let sink = self.sink(stream, checkpoint.portal_id);
        let view = sink.state().view(|view| {
            "stopped".clone_into(&mut view.phase);
            view.next_run_at = None;
        });
        Some(self.committer.context().messages.stream_status(
            self.committer.partition,
            &self.name,
            view,
            self.world.context.clock().now_ms(),
        ))
    }

    /// Stops all streams and forgets their positions.
    pub(super) async fn delete(&mut self, command: &Command) -> Result<(), SinkClosed> {
        self.stop_streams().await;
        let mut whole = self.state(Some(&command.command_id), "deleted");
        let portal_id = whole.portal_id.take();
        let said = self
            .whole
            .as_ref()
            .is_some_and(|it| it.state == whole.state && it.obeyed == whole.obeyed);
        if said {
            return Ok(());
        }
        let mut streams: BTreeSet<_> = self.checkpoints.keys().cloned().collect();
        streams.extend(self.views.keys().cloned());
        streams.extend(self.sinks.keys().cloned());
        let mut messages = Vec::new();
        for stream in streams {
            let partition = self.committer.partition;
            let small = &self.committer.context().messages;
            messages.extend(small.forget_stream(partition, &self.name, &stream));
        }
        if let Some(portal_id) = portal_id {
            messages.push(claim::release(&self.world, &self.name, portal_id));
        }
        messages.push(self.whole_message(&whole));
        self.committer.publish(messages).await?;
        self.whole = Some(whole);
        self.resolved = None;
        self.checkpoints.clear();
        self.views.clear();
        self.sinks.clear();
        Ok(())
    }

    /// Finds out which account a credential leads to, and whether it may be
    /// this connection's, before anything is read from it.
    async fn resolve(&mut self, command: &Command) -> Result<Result<(), Problem>, SinkClosed> {
        loop {
            let error = match self.connect(&command.credential).await {
                Ok((source, portal)) => {
                    return self.admit(command, Arc::new(source), &portal).await;
                }
                Err((error, now)) => (error, now),
            };
            let (error, now) = error;
            let problem = status::problem(&error, self.world.context.clock().now_ms());
            let Advice::WaitUntil(at) = error.advice else {
                return Ok(Err(problem));
            };
            let mut whole = self.state(Some(&command.command_id), "starting");
            whole.error = Some(problem);
            self.show(whole).await?;
            let wait = Duration::from_millis(at.saturating_sub(now).max(0).unsigned_abs());
            tokio::time::sleep(wait.clamp(SHORTEST, LONGEST)).await;
        }
    }

    /// The source and its account; a failure comes with HubSpot's time.
    async fn connect(
        &self,
        credential: &str,
    ) -> Result<(S::Source, Portal), (SourceError, schemas::Millis)> {
        let gate = self.gate.clone();
        let local = self.world.context.clock().now_ms();
        let source = self
            .world
            .sources
            .connect(credential, gate)
            .await
            .map_err(|it| (it, local))?;
        match source.portal().await {
            Ok(portal) => Ok((source, portal)),
            Err(error) => Err((error, source.now())),
        }
    }

    async fn admit(
        &mut self,
        command: &Command,
        source: Arc<S::Source>,
        portal: &Portal,
    ) -> Result<Result<(), Problem>, SinkClosed> {
        let at = self.world.context.clock().now_ms();
        let portal_id = portal.portal_id;
        let streams: BTreeSet<_> = self.checkpoints.keys().chain(self.sinks.keys()).collect();
        let before = streams
            .into_iter()
            .map(|stream| self.checkpoint(stream).portal_id)
            .find(|it| *it != 0 && *it != portal_id);
        if let Some(before) = before {
            return Ok(Err(Problem {
                code: "portal_changed".to_owned(),
                message: format!(
                    "the credential leads to account {portal_id}, the connection's data is of \
                     account {before}"
                ),
                advice: "use a credential of the first account, or another connection for this \
                         one"
                .to_owned(),
                at,
            }));
        }
        let holder = loop {
            match claim::claim(&self.world, &self.committer, &self.name, portal_id).await {
                Ok(holder) => break holder,
                Err(_) if self.committer.has_ended() => return Err(SinkClosed),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "a claim is made again");
                    tokio::time::sleep(SHORTEST).await;
                }
            }
        };
        if holder != self.name {
            return Ok(Err(Problem {
                code: "portal_taken".to_owned(),
                message: format!("account {portal_id} belongs to connection {holder:?}"),
                advice: format!("use connection {holder:?}, or delete it first"),
                at,
            }));
        }
        self.resolved = Some(Resolved {
            credential: command.credential.clone(),
            portal_id,
            source,
        });
        Ok(Ok(()))
    }
}
