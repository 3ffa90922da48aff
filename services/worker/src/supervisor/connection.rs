//! One connection: what is wanted of it becomes true, and its status says so.
//!
//! It must not know how a stream is read.

mod commands;
mod portal;
mod stop;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemas::{Checkpoint, Command, ConnectionStatus, Definitions, Problem, StreamStatus};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{Dependencies, Sources, stream};
use crate::{
    commit::{Committer, StreamSink},
    desired::DesiredConnection,
    messages::Message,
    ownership::{PartitionLease, Restored},
    sync::SinkClosed,
};

/// A stream that runs.
struct RunningStream {
    commands: watch::Sender<Arc<Command>>,
    task: AbortHandle,
}

/// The source of a credential, once its portal is known to be ours.
struct Resolved<T> {
    credential: String,
    portal_id: i64,
    source: Arc<T>,
}

/// A connection's task.
pub(super) struct ConnectionTask<S: Sources> {
    dependencies: Arc<Dependencies<S>>,
    name: String,
    committer: Committer,
    lease: PartitionLease,
    checkpoints: BTreeMap<String, Checkpoint>,
    views: BTreeMap<String, StreamStatus>,
    /// What the log says, shared by all connections.
    restored: Arc<Restored>,
    /// As last written.
    whole: Option<ConnectionStatus>,
    resolved: Option<Resolved<S::Source>>,
    sinks: BTreeMap<String, StreamSink>,
    tasks: JoinSet<()>,
    running: BTreeMap<String, RunningStream>,
    idle: BTreeSet<String>,
    news: mpsc::UnboundedSender<stream::StreamEvent>,
    inbox: mpsc::UnboundedReceiver<stream::StreamEvent>,
}

impl<S: Sources> ConnectionTask<S> {
    /// From what the log says.
    pub(super) fn new(
        dependencies: Arc<Dependencies<S>>,
        name: String,
        committer: Committer,
        lease: PartitionLease,
        restored: Arc<Restored>,
    ) -> Self {
        let own = |key: &(String, String)| key.0 == name;
        let checkpoints: BTreeMap<_, _> = restored
            .checkpoints
            .iter()
            .filter(|(key, _)| own(key))
            .map(|(key, value)| (key.1.clone(), value.clone()))
            .collect();
        let views = restored
            .streams
            .iter()
            .filter(|(key, _)| own(key))
            .map(|(key, value)| (key.1.clone(), value.clone()))
            .collect();
        let whole = restored.connections.get(&name).cloned();
        let (news, inbox) = mpsc::unbounded_channel();
        Self {
            dependencies,
            name,
            committer,
            lease,
            checkpoints,
            views,
            restored,
            whole,
            resolved: None,
            sinks: BTreeMap::new(),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            idle: BTreeSet::new(),
            news,
            inbox,
        }
    }

    /// Brings about what is wanted until the sink is closed or the task is
    /// aborted. A new command interrupts whatever the last one asked for.
    pub(super) async fn run(mut self, mut wanted: watch::Receiver<DesiredConnection>) {
        loop {
            let now = wanted.borrow_and_update().clone();
            tokio::select! {
                biased;
                changed = wanted.changed() => if changed.is_err() { return },
                outcome = self.apply(&now) => {
                    let Err(SinkClosed) = outcome;
                    return;
                }
            }
        }
    }

    /// A stream's position.
    fn checkpoint(&self, stream: &str) -> Checkpoint {
        if let Some(sink) = self.sinks.get(stream) {
            return sink.state().checkpoint();
        }
        let new = || Checkpoint {
            connection: self.name.clone(),
            stream: stream.to_owned(),
            ..Checkpoint::default()
        };
        self.checkpoints.get(stream).cloned().unwrap_or_else(new)
    }

    /// A stream's way into the log.
    fn sink(&mut self, stream: &str, portal_id: i64) -> StreamSink {
        if let Some(sink) = self.sinks.get(stream) {
            return sink.clone();
        }
        let mut checkpoint = self.checkpoint(stream);
        if checkpoint.portal_id == 0 {
            checkpoint.portal_id = portal_id;
        }
        let definitions = self
            .restored
            .definitions
            .get(&(portal_id, stream.to_owned()))
            .cloned()
            .unwrap_or_else(|| {
                Arc::new(Definitions {
                    portal_id,
                    object_type: stream.to_owned(),
                    version: 0,
                    fetched_at: 0,
                    properties: Vec::new(),
                })
            });
        let sink = self.committer.sink(checkpoint.clone(), definitions);
        if let Some(view) = self.views.get(stream) {
            sink.state().view(|known| {
                known.clone_from(view);
                crate::status::track(known, &checkpoint);
            });
        }
        self.sinks.insert(stream.to_owned(), sink.clone());
        sink
    }

    /// Stops all streams: their requests are cancelled when this returns.
    async fn stop_streams(&mut self) {
        self.running.clear();
        self.idle.clear();
        self.tasks.shutdown().await;
        while self.inbox.try_recv().is_ok() {}
    }

    /// Stops one stream.
    async fn stop_stream(&mut self, stream: &str) {
        self.idle.remove(stream);
        let Some(running) = self.running.remove(stream) else {
            return;
        };
        running.task.abort();
        // Tasks end in any order; those that have not been aborted do not end.
        while !running.task.is_finished() {
            drop(self.tasks.join_next().await);
        }
    }

    /// Starts a stream, or hands it its commands.
    fn command_stream(&mut self, stream: &str, command: &Arc<Command>) {
        self.idle.remove(stream);
        if let Some(running) = self.running.get(stream)
            && !running.task.is_finished()
        {
            running.commands.send_replace(Arc::clone(command));
            return;
        }
        let Some((portal_id, source)) = self
            .resolved
            .as_ref()
            .map(|it| (it.portal_id, Arc::clone(&it.source)))
        else {
            return;
        };
        let sink = self.sink(stream, portal_id);
        let (commands, receiver) = watch::channel(Arc::clone(command));
        let task = stream::StreamTask {
            source,
            sink,
            portal_id,
            settings: self.dependencies.settings,
            clock: self.dependencies.context.clock().clone(),
            news: self.news.clone(),
        };
        let task = self.tasks.spawn(task.run(receiver));
        self.running
            .insert(stream.to_owned(), RunningStream { commands, task });
    }

    /// Writes the connection's status, if it says anything new.
    async fn show(&mut self, whole: ConnectionStatus) -> Result<(), SinkClosed> {
        if self.whole.as_ref() == Some(&whole) {
            return Ok(());
        }
        let message = self.whole_message(&whole);
        self.committer.publish(vec![message]).await?;
        self.whole = Some(whole);
        Ok(())
    }

    fn whole_message(&self, whole: &ConnectionStatus) -> Message {
        self.committer.context().messages.connection_status(
            self.committer.partition,
            &self.name,
            whole.clone(),
            self.dependencies.context.clock().now_ms(),
        )
    }

    /// A status of that state, of the portal that is known.
    fn state(&self, applied: Option<&str>, state: &str) -> ConnectionStatus {
        let known = self.whole.as_ref().and_then(|it| it.portal_id);
        ConnectionStatus {
            applied: applied.map(ToOwned::to_owned),
            state: state.to_owned(),
            portal_id: self.resolved.as_ref().map(|it| it.portal_id).or(known),
            worker: self.dependencies.worker.clone(),
            error: None,
        }
    }

    async fn fail(&mut self, applied: Option<&str>, problem: Problem) -> Result<(), SinkClosed> {
        tracing::warn!(
            connection = self.name,
            code = problem.code,
            "connection failed"
        );
        let mut whole = self.state(applied, "failed");
        whole.error = Some(problem);
        self.show(whole).await
    }
}
