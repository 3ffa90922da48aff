//! Commands against a log in memory, with a second writer whose commands cross
//! ours.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chassis::Clock;
use schemas::{Command, ConnectionStatus, DesiredState, RequestKind, Status};

use super::{follow::Kind, *};

type Before = Box<dyn FnOnce(&Command) -> Option<Command> + Send>;

/// A log of one partition; what is appended is read back at once.
#[derive(Default)]
pub(crate) struct MemoryLog {
    pub(crate) view: View,
    next: Mutex<i64>,
    /// What another process writes just before the next command.
    crossing: Mutex<Option<Before>>,
    pub(crate) away: Mutex<bool>,
}

impl MemoryLog {
    /// The last command of a connection.
    pub(crate) fn last_command(&self, name: &str) -> Command {
        let known = self.view.lock();
        let connection = known.connections.get(name).unwrap();
        connection.last_command().unwrap().clone()
    }

    fn write(&self, command: Command) -> i64 {
        let mut next = self.next.lock().unwrap();
        let offset = *next;
        *next += 1;
        drop(next);
        self.view.update(|state| state.command(offset, command));
        self.view.advance(0, offset + 1);
        offset
    }
}

#[async_trait]
impl CommandLog for MemoryLog {
    async fn append(&self, command: &Command) -> Result<CommandPosition, ControlError> {
        if *self.away.lock().unwrap() {
            return Err(ControlError::Unavailable("away".into()));
        }
        let crossing = self.crossing.lock().unwrap().take();
        if let Some(other) = crossing.and_then(|other| other(command)) {
            self.write(other);
        }
        Ok(CommandPosition {
            partition: 0,
            offset: self.write(command.clone()),
        })
    }
}

/// A control plane over a log in memory, read to its end.
pub(crate) fn in_memory() -> (ControlPlane, Arc<MemoryLog>) {
    let log = Arc::new(MemoryLog::default());
    log.view.caught_up(Kind::Commands);
    log.view.caught_up(Kind::Status);
    let control = ControlPlane::new(
        log.view.clone(),
        Arc::<MemoryLog>::clone(&log),
        Clock::from_fn(|| 1_000),
    );
    (control, log)
}

/// Writes the status of a worker that has reached `state` by this command.
pub(crate) fn acknowledge(log: &MemoryLog, name: &str, command_id: &str, state: &str) {
    log.view.update(|it| {
        it.status(Status {
            connection: name.to_owned(),
            at: 1_000,
            whole: Some(ConnectionStatus {
                check: None,
                applied: Some(command_id.to_owned()),
                state: state.to_owned(),
                portal_id: Some(42),
                worker: "w".to_owned(),
                error: None,
            }),
            ..Status::default()
        });
    });
}

fn start() -> ConnectionChange {
    ConnectionChange::Start(ConnectionSettings::default())
}

fn faster() -> ConnectionChange {
    ConnectionChange::Start(ConnectionSettings {
        interval_ms: Some(60_000),
        ..ConnectionSettings::default()
    })
}

#[tokio::test]
async fn a_start_creates_a_connection_and_the_next_command_is_based_on_it() {
    let (control, _log) = in_memory();
    let first = control.submit("default", start()).await.unwrap();
    assert!(first.created);
    let second = control.submit("default", faster()).await.unwrap();
    assert!(!second.created);
    assert_eq!(second.command.based_on, Some(first.command.command_id));
}

#[tokio::test]
async fn replacing_settings_by_equal_ones_writes_nothing() {
    let (control, _log) = in_memory();
    let first = control
        .submit(
            "default",
            ConnectionChange::Replace(ConnectionSettings::default()),
        )
        .await
        .unwrap();
    let second = control
        .submit(
            "default",
            ConnectionChange::Replace(ConnectionSettings::default()),
        )
        .await
        .unwrap();
    assert_eq!(first.command, second.command);
}

#[tokio::test]
async fn a_change_under_a_condition_is_refused_and_taken_back_if_another_came_before_it() {
    let (control, log) = in_memory();
    let first = control.submit("default", start()).await.unwrap().command;
    let on_first = |change| Submission {
        change,
        condition: Condition::Revision(vec![revision(&first)]),
        key: None,
    };
    *log.crossing.lock().unwrap() = Some(Box::new(|mine| {
        let mut other = mine.clone();
        other.command_id = "other".to_owned();
        other.interval_ms = 300_000;
        other.state = DesiredState::Stopped;
        Some(other)
    }));
    for _ in ["crossed", "seen before"] {
        let refused = control.submit("default", on_first(faster())).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ControlError::ConditionFailed(_)),
            "{refused}"
        );
        let last = log.view.last_command("default");
        assert_eq!(
            (last.state, last.interval_ms),
            (DesiredState::Stopped, 300_000)
        );
    }
}

#[tokio::test]
async fn a_command_that_crossed_another_is_merged_and_written_again() {
    let (control, log) = in_memory();
    control.submit("default", start()).await.unwrap();
    *log.crossing.lock().unwrap() = Some(Box::new(|mine| {
        let mut other = mine.clone();
        other.command_id = "other".to_owned();
        other.interval_ms = 300_000;
        other.state = DesiredState::Stopped;
        Some(other)
    }));
    let settings = ConnectionSettings {
        interval_ms: Some(60_000),
        ..ConnectionSettings::default()
    };
    let accepted = control
        .submit("default", ConnectionChange::Replace(settings))
        .await
        .unwrap();
    assert_eq!(accepted.command.state, DesiredState::Stopped);
    assert_eq!(accepted.command.interval_ms, 60_000);
    let last = control
        .read(|it| it.get("default").unwrap().last_command().cloned())
        .unwrap();
    assert_eq!(last, Some(accepted.command));
}

#[tokio::test]
async fn two_writers_that_create_the_same_connection_end_in_one_merged_state() {
    let (control, log) = in_memory();
    *log.crossing.lock().unwrap() = Some(Box::new(|mine| {
        let mut other = mine.clone();
        other.command_id = "other".to_owned();
        other.destination = "elsewhere".to_owned();
        other.interval_ms = 300_000;
        Some(other)
    }));
    let accepted = control.submit("default", faster()).await.unwrap();
    assert_eq!(accepted.command.destination, "elsewhere");
    assert_eq!(accepted.command.interval_ms, 60_000);
}

#[tokio::test]
async fn a_stop_is_applied_only_when_the_worker_names_its_id() {
    let (control, log) = in_memory();
    control.submit("default", start()).await.unwrap();
    let stop = control
        .submit("default", ConnectionChange::Stop)
        .await
        .unwrap()
        .command
        .command_id;
    let soon = Duration::from_millis(20);
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        CommandOutcome::Pending
    );
    acknowledge(&log, "default", "another", "stopped");
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        CommandOutcome::Pending
    );
    acknowledge(&log, "default", &stop, "stopped");
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        CommandOutcome::Applied
    );
    control.submit("default", start()).await.unwrap();
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        CommandOutcome::Superseded
    );
}

#[tokio::test]
async fn a_connection_with_a_taken_portal_is_refused_while_another_uses_that_portal() {
    let (control, log) = in_memory();
    let first = control.submit("default", start()).await.unwrap();
    acknowledge(&log, "default", &first.command.command_id, "running");
    control.submit("twin", start()).await.unwrap();
    log.view.update(|it| {
        it.status(Status {
            connection: "twin".to_owned(),
            at: 1_000,
            whole: Some(ConnectionStatus {
                check: None,
                state: "failed".to_owned(),
                error: Some(schemas::Problem {
                    code: "portal_taken".to_owned(),
                    ..schemas::Problem::default()
                }),
                ..ConnectionStatus::default()
            }),
            ..Status::default()
        });
    });
    let refused = control.submit("twin", start()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ControlError::InUse(InUse::Portal { portal_id: 42, .. })
        ),
        "{refused}"
    );
    let elsewhere = ConnectionChange::Start(ConnectionSettings {
        credential: Some("env:HUBSPOT_OTHER".to_owned()),
        ..ConnectionSettings::default()
    });
    assert!(control.submit("twin", elsewhere).await.is_ok());
    assert!(control.submit("default", start()).await.is_ok());
}

#[tokio::test]
async fn a_connection_that_does_not_exist_cannot_be_stopped_deleted_or_synced() {
    let (control, _log) = in_memory();
    let sync = ConnectionChange::Sync {
        streams: None,
        kind: RequestKind::Sync,
        request_id: "r".to_owned(),
        at: 1,
    };
    for change in [ConnectionChange::Stop, ConnectionChange::Delete, sync] {
        let refused = control.submit("default", change).await.unwrap_err();
        assert!(matches!(refused, ControlError::NotFound(_)), "{refused}");
    }
}

#[tokio::test]
async fn commands_are_refused_until_the_topics_are_read() {
    let log = Arc::new(MemoryLog::default());
    let control = ControlPlane::new(
        log.view.clone(),
        Arc::<MemoryLog>::clone(&log),
        Clock::from_fn(|| 1),
    );
    let refused = control.submit("default", start()).await.unwrap_err();
    assert!(matches!(refused, ControlError::NotReady), "{refused}");
}
