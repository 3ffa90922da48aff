//! One connection: brings its streams to the desired state, and writes its status.
//!
//! [`commands`] applies a command, [`check`] tries its credential, [`portal`] finds the
//! account of its credential, [`failures`] says when a failed connection is tried again,
//! [`seed`] completes the index of a portal that the log knows, [`stop`] stops streams and
//! deletes the connection.

mod check;
mod commands;
mod failures;
mod portal;
mod seed;
mod stop;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use schemas::{
    Checkpoint, Command, ConnectionStatus, Definitions, EncodeError, Problem, StreamStatus,
    definitions::definitions_key,
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    Dependencies, Sources,
    halt::Halt,
    stream::{StreamEvent, StreamTask},
};
use crate::{
    commit::{Committer, StreamSink},
    desired::DesiredConnection,
    messages::Message,
    ownership::{KnownDefinitions, PartitionLease, Restored},
    schedule, status,
    sync::SinkClosed,
};

/// Pause before definitions that could not be read are read again.
const READ_RETRY: Duration = Duration::from_secs(1);

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
    /// What the log said at the take-over, shared by all connections.
    restored: Arc<Restored>,
    /// [`Restored::records_end`], until it has been compared with the checkpoints.
    records_end: Option<i64>,
    /// Definitions of streams that had no checkpoint, as the log has them now.
    definitions: KnownDefinitions,
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
            records_end: restored.records_end,
            restored,
            definitions: KnownDefinitions::default(),
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
            let halt = tokio::select! {
                biased;
                changed = states.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                outcome = self.apply(&desired) => {
                    let Err(halt) = outcome;
                    halt
                }
            };
            let Halt::Unwritable(error) = halt else {
                return;
            };
            if self.fail_unwritable(&desired, &error).await.is_err()
                || states.changed().await.is_err()
            {
                return;
            }
        }
    }

    /// Stops all streams and shows why, if that can be written. Nothing is tried
    /// again before the next command.
    async fn fail_unwritable(
        &mut self,
        desired: &DesiredConnection,
        error: &EncodeError,
    ) -> Result<(), SinkClosed> {
        tracing::error!(connection = self.name, %error, "a value cannot be written");
        self.stop_streams().await;
        self.resolved = None;
        let applied = match desired {
            DesiredConnection::Command(command) => Some(command.command_id.as_str()),
            DesiredConnection::Absent | DesiredConnection::Unreadable(_) => None,
        };
        let problem = status::unwritable(error, self.dependencies.context.clock().now_ms());
        match self.fail(applied, problem).await {
            // The log says why, where the status cannot.
            Ok(()) | Err(Halt::Unwritable(_)) => Ok(()),
            Err(Halt::Closed) => Err(SinkClosed),
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
        schedule::into_slots(&mut checkpoint);
        if checkpoint.portal_id == 0 {
            checkpoint.portal_id = portal_id;
        }
        let definitions = self
            .definitions
            .get(portal_id, stream)
            .or_else(|| self.restored.definitions.get(portal_id, stream))
            .cloned()
            .unwrap_or_else(|| Arc::new(Definitions::none(portal_id, stream)));
        // What the log has of a portal is known by its definitions.
        checkpoint.indexed |= definitions.version == 0;
        let index = self.restored.indexes.take(&self.name, stream);
        let sink = self.committer.sink(checkpoint.clone(), definitions, index);
        if let Some(view) = self.views.get(stream) {
            sink.state().view(|known| {
                known.clone_from(view);
                status::track(known, &checkpoint);
            });
        }
        self.sinks.insert(stream.to_owned(), sink.clone());
        sink
    }

    /// Reads the definitions of streams that this connection has no checkpoint of.
    /// Another connection may have written some after the partition was taken over;
    /// since the portal is this one's, it writes no more. Of the other streams the
    /// portal was this connection's all the time.
    async fn read_definitions(&mut self, streams: &[String]) -> Result<(), SinkClosed> {
        let Some(portal_id) = self.resolved.as_ref().map(|it| it.portal_id) else {
            return Ok(());
        };
        let new: Vec<String> = streams
            .iter()
            .filter(|it| !self.sinks.contains_key(*it) && !self.checkpoints.contains_key(*it))
            .map(|it| definitions_key(portal_id, it))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        loop {
            let reader = Arc::clone(&self.dependencies);
            let read = move |asked: Vec<Vec<String>>| {
                let keys = asked.iter().flatten().cloned().collect();
                let found = Arc::new(reader.log.definitions(&keys)?);
                Ok(vec![found; asked.len()])
            };
            match self.dependencies.definitions.read(new.clone(), read).await {
                Ok(found) => {
                    self.definitions = KnownDefinitions::clone(&found);
                    return Ok(());
                }
                Err(_) if self.committer.has_ended() => return Err(SinkClosed),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "repeating the read of definitions");
                    tokio::time::sleep(READ_RETRY).await;
                }
            }
        }
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
            settings: self.dependencies.settings,
            clock: self.dependencies.context.clock().clone(),
            events: self.events.clone(),
            traces: Arc::clone(&self.dependencies.traces),
        };
        let task = self.tasks.spawn(task.run(receiver));
        self.running
            .insert(stream.to_owned(), RunningStream { commands, task });
    }

    /// Writes the connection's status, unless it is the one last written.
    async fn show(&mut self, whole: ConnectionStatus) -> Result<(), Halt> {
        if self.whole.as_ref() == Some(&whole) {
            return Ok(());
        }
        let message = self.whole_message(&whole)?;
        let committed = self.committer.publish(vec![message]);
        // A newer command may drop this future, but what is queued is committed.
        self.whole = Some(whole);
        Ok(committed.await?)
    }

    fn whole_message(&self, whole: &ConnectionStatus) -> Result<Message, EncodeError> {
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
            check: self.whole.as_ref().and_then(|it| it.check.clone()),
        }
    }

    /// Writes the status of a connection that cannot run now.
    async fn fail(&mut self, applied: Option<&str>, problem: Problem) -> Result<(), Halt> {
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
