//! A supervisor over fakes, and the events that a member of the group would
//! send it.

use std::{
    sync::{Arc, mpsc as blocking},
    time::{Duration, Instant},
};

use chassis::{Clock, Context, Health, registry::Registry};
use schemas::{
    Command, ConnectionStatus, DesiredState, Request, RequestKind, StreamStatus, Topics,
    codec::{self, Schema},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{changes::Changes, fake_control_log::FakeControlLog, fake_sources::FakeSources};
use crate::{
    commit::CommitContext,
    config::CommitArgs,
    messages::{self, Messages, SchemaIds, SchemaTexts},
    ownership::{Assignment, CommandMessage, Decoder, Event, Lease, PartitionLease},
    schedule::Settings,
    supervisor::{Dependencies, SharedReads, Supervisor},
};

/// After so much real time a test has failed. Until then the runtime's clock
/// stands still but for what the test moves it by.
const GIVE_UP: Duration = Duration::from_mins(1);

pub(super) const IDS: SchemaIds = SchemaIds {
    commands: 1,
    checkpoints: 2,
    status: 3,
    definitions: 4,
    records: 5,
    index: 6,
};

pub(super) struct Harness {
    pub(super) log: FakeControlLog,
    pub(super) sources: FakeSources,
    pub(super) changes: Changes,
    pub(super) context: Context,
    pub(super) lease: Lease,
    pub(super) run: JoinHandle<anyhow::Result<()>>,
    events: mpsc::UnboundedSender<Event>,
    offset: i64,
    _clock: blocking::Sender<()>,
}

impl Harness {
    /// A worker that has no partition yet.
    pub(super) fn start() -> Self {
        Self::start_with(messages::OWN)
    }

    /// The same, which writes with these schemas.
    pub(super) fn start_with(schemas: SchemaTexts<'_>) -> Self {
        let changes = Changes::new();
        let topics = Topics::with_prefix("t.");
        let log = FakeControlLog::new(topics.clone(), changes.clone());
        let sources = FakeSources::new(changes.clone());
        let context = Context::new(Clock::from_fn(|| 0), Health::without_metrics());
        let (clock, stands_still) = blocking::channel::<()>();
        // A blocking task keeps the paused clock from moving by itself.
        drop(tokio::task::spawn_blocking(move || {
            stands_still.recv_timeout(GIVE_UP)
        }));
        let registry = Registry::new(&chassis::registry::RegistryArgs {
            registry_url: "http://127.0.0.1:9".to_owned(),
            ..Default::default()
        });
        let own = [(IDS.commands, schemas::command::SCHEMA)];
        let dependencies = Dependencies {
            sources: sources.clone(),
            log: Box::new(log.clone()),
            control_partitions: 1,
            worker: "test".to_owned(),
            commits: Arc::new(CommitContext {
                messages: Messages::new(topics.clone(), IDS, schemas).unwrap(),
                limits: CommitArgs {
                    transaction_records: 1_000,
                    transaction_bytes: 1_000_000,
                    pending_bytes: 100_000,
                },
                clock: context.clock().clone(),
            }),
            decoder: Arc::new(Decoder::new(registry.unwrap(), topics, own)),
            claims: SharedReads::default(),
            definitions: SharedReads::default(),
            objects: SharedReads::default(),
            settings: Settings::default(),
            traces: Arc::default(),
            context: context.clone(),
        };
        let (events, mut received) = mpsc::unbounded_channel();
        let mut supervisor = Supervisor::new(Arc::new(dependencies));
        let run = context.spawn_owned(async move { supervisor.run(&mut received).await });
        let lease = Lease::new(Duration::from_hours(1));
        Self {
            log,
            sources,
            changes,
            context,
            lease,
            run,
            events,
            offset: 0,
            _clock: clock,
        }
    }

    /// A worker that owns partition 0, in which there is no command yet.
    pub(super) fn with_partition() -> Self {
        Self::with_partition_and(messages::OWN)
    }

    /// The same, which writes with these schemas.
    pub(super) fn with_partition_and(schemas: SchemaTexts<'_>) -> Self {
        let harness = Self::start_with(schemas);
        harness.assign();
        harness.send(Event::End(0));
        harness
    }

    /// The same, whose connection `a` has run both streams once, by command `c1`.
    pub(super) async fn with_idle_streams() -> Self {
        let mut harness = Self::with_partition();
        harness.command(&command("c1", "a", DesiredState::Running));
        harness.until_stream("a/contacts", is_idle).await;
        harness.until_stream("a/companies", is_idle).await;
        harness
    }

    pub(super) fn send(&self, event: Event) {
        self.events.send(event).unwrap();
    }

    /// Partition 0 becomes ours.
    pub(super) fn assign(&self) {
        self.lease.confirm(Instant::now());
        self.send(Event::Assigned(vec![Assignment {
            partition: 0,
            lease: PartitionLease::new(self.lease.clone()),
        }]));
    }

    /// All partitions are revoked; returns when the supervisor says that
    /// nothing of them is left.
    pub(super) async fn revoke(&self) {
        let (done, gone) = blocking::sync_channel(1);
        self.send(Event::Revoked(done));
        tokio::task::spawn_blocking(move || gone.recv_timeout(GIVE_UP))
            .await
            .unwrap()
            .unwrap();
    }

    /// The next message of partition 0.
    pub(super) fn command(&mut self, command: &Command) {
        self.offset += 1;
        self.command_at(self.offset, command);
    }

    /// The same, while the commit of a message of this key waits: the command comes
    /// before the connection knows of that commit.
    pub(super) async fn command_before_commit(&mut self, key: &str, command: &Command) {
        let find = || self.log.is_held().then_some(());
        self.changes
            .until(&format!("a commit of {key}"), find)
            .await;
        // A thread decodes the command; the supervisor then says that the registry works.
        let health = self.context.health().clone();
        health.fails("registry", "the command is not decoded");
        self.command(command);
        let began = Instant::now();
        while !health.failures().is_empty() {
            assert!(began.elapsed() < GIVE_UP, "the command is not decoded");
            tokio::task::yield_now().await;
        }
        // All tasks run in this thread, so the connection has the command then.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.log.release();
    }

    /// A message of partition 0 with an offset.
    pub(super) fn command_at(&self, offset: i64, command: &Command) {
        let schema = Schema::parse_str(schemas::command::SCHEMA).unwrap();
        let payload = codec::encode(&schema, IDS.commands, command).unwrap();
        self.message(offset, &command.connection, payload);
    }

    /// Any bytes as a message of partition 0.
    pub(super) fn message(&self, offset: i64, connection: &str, payload: Vec<u8>) {
        self.send(Event::Command(CommandMessage {
            partition: 0,
            offset,
            key: connection.as_bytes().to_vec(),
            payload: Some(payload),
            trace: None,
        }));
    }

    /// Waits until a connection's status has a state that is due to a command.
    pub(super) async fn until_connection(
        &self,
        name: &str,
        state: &str,
        command_id: &str,
    ) -> ConnectionStatus {
        let what = format!("{name} is {state} by {command_id}");
        let find = || {
            let status = self.log.connection(name)?;
            (status.state == state && status.applied.as_deref() == Some(command_id))
                .then_some(status)
        };
        self.changes.until(&what, find).await
    }

    /// Waits until a stream's status, named `connection/stream`, is as wanted.
    pub(super) async fn until_stream(
        &self,
        key: &str,
        wanted: impl Fn(&StreamStatus) -> bool,
    ) -> StreamStatus {
        let find = || self.log.stream(key).filter(&wanted);
        self.changes.until(key, find).await
    }

    /// Waits until a request for a stream is open.
    pub(super) async fn until_requested(&self, stream: &str) {
        let find = || (self.sources.requests(stream) > 0).then_some(());
        self.changes.until("a request", find).await;
    }
}

/// A command that names two streams and whose credential is `env:CONNECTION`.
pub(super) fn command(id: &str, connection: &str, state: DesiredState) -> Command {
    Command {
        command_id: id.to_owned(),
        connection: connection.to_owned(),
        state,
        credential: format!("env:{connection}"),
        streams: vec!["contacts".to_owned(), "companies".to_owned()],
        interval_ms: 60_000,
        destination: "hubspot".to_owned(),
        ..Command::default()
    }
}

/// A one-time sync of contacts.
pub(super) fn sync_of_contacts(id: &str) -> Request {
    Request {
        stream: "contacts".to_owned(),
        request_id: id.to_owned(),
        kind: RequestKind::Sync,
        requested_at: 0,
    }
}

/// Whether a stream waits for its next run.
pub(super) fn is_idle(stream: &StreamStatus) -> bool {
    stream.phase == "idle" && stream.next_run_at.is_some()
}
