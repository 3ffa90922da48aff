//! One connection: brings its streams to the desired state, and writes its status.
//!
//! [`commands`] applies a command, [`portal`] finds the account of its
//! credential, [`stop`] stops streams and deletes the connection.

mod commands;
mod portal;
mod stop;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use schemas::{Checkpoint, Command, ConnectionStatus, Definitions, Problem, StreamStatus};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    Dependencies, Sources,
    stream::{StreamEvent, StreamTask},
};
use crate::{
    commit::{Committer, StreamSink},
    desired::DesiredConnection,
    messages::Message,
    ownership::{PartitionLease, Restored},
    sync::SinkClosed,
};

/// A stream whose task runs.
struct RunningStream {
    commands: watch::Sender<Arc<Command>>,
    task: AbortHandle,
}

/// The source of a credential and its account.
struct Resolved<T> {
    credential: String,
    portal_id: i64,
    source: Arc<T>,
}

/// The task of one connection.
pub(super) struct ConnectionTask<S: Sources> {
    dependencies: Arc<Dependencies<S>>,
    name: String,
    committer: Committer,
    lease: PartitionLease,
    checkpoints: BTreeMap<String, Checkpoint>,
    views: BTreeMap<String, StreamStatus>,
    /// What the log says, shared by all connections.
    restored: Arc<Restored>,
    /// The connection's status as last written.
    whole: Option<ConnectionStatus>,
    /// The account in use, once it is known to be this connection's.
    resolved: Option<Resolved<S::Source>>,
    sinks: BTreeMap<String, StreamSink>,
    tasks: JoinSet<()>,
    running: BTreeMap<String, RunningStream>,
    /// Streams that have nothing to do until the next command.
    idle: BTreeSet<String>,
    events: mpsc::UnboundedSender<StreamEvent>,
    inbox: mpsc::UnboundedReceiver<StreamEvent>,
}

impl<S: Sources> ConnectionTask<S> {
    /// A connection as the log left it.
    pub(super) fn new(
        dependencies: Arc<Dependencies<S>>,
        name: String,
        committer: Committer,
        lease: PartitionLease,
        restored: Arc<Restored>,
    ) -> Self {
        let checkpoints = streams_of(&name, &restored.checkpoints);
        let views = streams_of(&name, &restored.streams);
        let whole = restored.connections.get(&name).cloned();
        let (events, inbox) = mpsc::unbounded_channel();
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
            events,
            inbox,
        }
    }

    /// Applies the desired state until the sink is closed or the task is aborted. A
    /// new state interrupts what is being done for the last one.
    pub(super) async fn run(mut self, mut states: watch::Receiver<DesiredConnection>) {
        loop {
            let desired = states.borrow_and_update().clone();
            tokio::select! {
                biased;
                changed = states.changed() => if changed.is_err() { return },
                outcome = self.apply(&desired) => {
                    let Err(SinkClosed) = outcome;
                    return;
                }
            }
        }
    }

    /// A stream's checkpoint; an empty one if the stream is new.
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

    /// The sink of a stream; made when it is first needed.
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

    /// Hands a command to a stream; starts the stream if it does not run.
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
        let task = StreamTask {
            source,
            sink,
            portal_id,
            settings: self.dependencies.settings,
            clock: self.dependencies.context.clock().clone(),
            events: self.events.clone(),
        };
        let task = self.tasks.spawn(task.run(receiver));
        self.running
            .insert(stream.to_owned(), RunningStream { commands, task });
    }

    /// Writes the connection's status, unless it is the one last written.
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

    /// A status without an error, with the portal as far as it is known.
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

    /// Writes the status of a connection that cannot run until the next command.
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

/// What is known of a connection's streams, by their names.
fn streams_of<T: Clone>(
    connection: &str,
    known: &HashMap<(String, String), T>,
) -> BTreeMap<String, T> {
    let own = known.iter().filter(|(key, _)| key.0 == connection);
    own.map(|(key, value)| (key.1.clone(), value.clone()))
        .collect()
}
