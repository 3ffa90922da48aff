//! How a connection's streams are stopped, and how it is deleted.

use std::collections::BTreeSet;

use schemas::Command;

use super::ConnectionTask;
use crate::{
    messages::Message,
    schedule,
    supervisor::{Sources, claim},
    sync::{Page, Sink as _, SinkClosed},
};

impl<S: Sources> ConnectionTask<S> {
    /// Stops all streams and says so, once all they have submitted is in the
    /// log.
    pub(super) async fn stop(&mut self, command: &Command) -> Result<(), SinkClosed> {
        self.stop_streams().await;
        let whole = self.state(Some(&command.command_id), "stopped");
        let said = self.whole.as_ref().is_some_and(|it| {
            it.state == whole.state && it.applied == whole.applied && it.error.is_none()
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
    pub(super) async fn end_run(&mut self, stream: &str) -> Result<(), SinkClosed> {
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
    pub(super) fn stopped_message(&mut self, stream: &str) -> Option<Message> {
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
            self.dependencies.context.clock().now_ms(),
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
            .is_some_and(|it| it.state == whole.state && it.applied == whole.applied);
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
            messages.push(claim::release(&self.dependencies, &self.name, portal_id));
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
}
