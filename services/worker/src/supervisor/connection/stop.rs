//! How a connection and its streams are stopped, and how it is deleted.

use std::collections::BTreeSet;

use schemas::{Command, ConnectionStatus, EncodeError, StreamStatus};

use super::ConnectionTask;
use crate::{
    messages::Message,
    schedule::Slot,
    status,
    supervisor::{Sources, claim, halt::Halt},
    sync::{Change, Page, Sink as _},
};

impl<S: Sources> ConnectionTask<S> {
    /// Stops all streams, and writes that they are stopped once all that they have
    /// submitted is in the log.
    pub(super) async fn stop(&mut self, command: &Command) -> Result<(), Halt> {
        self.stop_streams().await;
        let whole = self.state(Some(&command.command_id), "stopped");
        if self.is_written(&whole) {
            return Ok(());
        }
        let mut streams: BTreeSet<_> = command.streams.iter().cloned().collect();
        streams.extend(self.checkpoints.keys().cloned());
        streams.extend(self.sinks.keys().cloned());
        let mut messages = Vec::new();
        for stream in streams {
            messages.extend(self.end_run(&stream).await?);
        }
        messages.push(self.whole_message(&whole)?);
        let committed = self.committer.publish(messages);
        // A newer command may drop this future, but what is queued is committed.
        self.whole = Some(whole);
        // The next start requests the account again.
        self.resolved = None;
        Ok(committed.await?)
    }

    /// Whether the status last written is the same.
    fn is_written(&self, whole: &ConnectionStatus) -> bool {
        self.whole.as_ref().is_some_and(|it| {
            it.state == whole.state && it.applied == whole.applied && it.error == whole.error
        })
    }

    /// Stops all streams: their requests are cancelled when this returns.
    pub(super) async fn stop_streams(&mut self) {
        self.running.clear();
        self.idle.clear();
        self.tasks.shutdown().await;
        // Events of streams that no longer run.
        while self.inbox.try_recv().is_ok() {}
    }

    /// Stops one stream: its requests are cancelled when this returns.
    pub(super) async fn stop_stream(&mut self, stream: &str) {
        self.idle.remove(stream);
        let Some(running) = self.running.remove(stream) else {
            return;
        };
        running.task.abort();
        // Only this task ends, as no other was aborted.
        while !running.task.is_finished() {
            drop(self.tasks.join_next().await);
        }
    }

    /// Ends the run of a stream that was stopped: the checkpoint keeps where it
    /// was, under another run's id. Returns the stream's status, if the stream is
    /// known.
    pub(super) async fn end_run(&mut self, stream: &str) -> Result<Option<Message>, Halt> {
        let checkpoint = self.checkpoint(stream);
        let ended = Slot::ALL.map(|slot| slot.of(&checkpoint).cloned());
        if checkpoint.last_started_at.is_some() || ended.iter().any(Option::is_some) {
            let sink = self.sink(stream, checkpoint.portal_id);
            let page = Page {
                change: Change::Stopped,
                ..Page::default()
            };
            if sink.submit(page).await.is_err() {
                return Err(Halt::of(&sink));
            }
            sink.settle().await?;
            // The checkpoint already names the runs that the next start makes.
            sink.state()
                .view(|view| status::stopped(view, ended.iter().flatten()));
        }
        Ok(self.stopped_message(stream).transpose()?)
    }

    /// The status of a stream that was stopped; its run is the one that ended.
    fn stopped_message(&mut self, stream: &str) -> Option<Result<Message, EncodeError>> {
        let checkpoint = self.checkpoint(stream);
        let stop = |view: &mut StreamStatus| {
            "stopped".clone_into(&mut view.phase);
            view.next_run_at = None;
        };
        let view = if self.sinks.contains_key(stream) || checkpoint.portal_id != 0 {
            self.sink(stream, checkpoint.portal_id).state().view(stop)
        } else {
            // No sink is made here: the portal, and so its definitions, is not known.
            let view = self.views.get_mut(stream)?;
            stop(view);
            view.clone()
        };
        Some(self.committer.context().messages.stream_status(
            self.committer.partition,
            &self.name,
            view,
            self.dependencies.context.clock().now_ms(),
        ))
    }

    /// Stops all streams, and writes tombstones of their checkpoints and status.
    pub(super) async fn delete(&mut self, command: &Command) -> Result<(), Halt> {
        self.stop_streams().await;
        let mut whole = self.state(Some(&command.command_id), "deleted");
        whole.check = None;
        let portal_id = whole.portal_id.take();
        if self.is_written(&whole) {
            return Ok(());
        }
        let mut streams: BTreeSet<_> = self.checkpoints.keys().cloned().collect();
        streams.extend(self.views.keys().cloned());
        streams.extend(self.sinks.keys().cloned());
        streams.extend(self.restored.indexes.streams_of(&self.name));
        let partition = self.committer.partition;
        let make = &self.committer.context().messages;
        let mut messages = Vec::new();
        for stream in streams {
            messages.extend(make.forget_stream(partition, &self.name, &stream));
            let keys = match self.sinks.get(&stream) {
                Some(sink) => sink.state().index_keys(),
                None => self.restored.indexes.take(&self.name, &stream).keys(),
            };
            let tombstones = keys.into_iter();
            messages.extend(
                tombstones.map(|key| make.index_tombstone(partition, &self.name, &stream, key)),
            );
        }
        if let Some(portal_id) = portal_id {
            messages.push(claim::release(&self.dependencies, &self.name, portal_id));
        }
        messages.push(self.whole_message(&whole)?);
        let committed = self.committer.publish(messages);
        // The next command may drop this future and make the connection again, but
        // what is queued is committed.
        self.whole = Some(whole);
        self.resolved = None;
        self.checkpoints.clear();
        self.views.clear();
        self.sinks.clear();
        Ok(committed.await?)
    }
}
