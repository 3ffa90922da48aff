//! Commands against a log in memory, with a second writer that crosses.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chassis::Clock;
use schemas::{Command, ConnectionStatus, DesiredState, RequestKind, Status};

use super::{follow::Kind, *};

type Before = Box<dyn FnOnce(&Command) -> Option<Command> + Send>;

/// A log of one partition that everything is read back from at once.
#[derive(Default)]
pub(crate) struct MemoryLog {
    pub(crate) view: View,
    next: Mutex<i64>,
    /// What another process writes before the next command lands.
    crossing: Mutex<Option<Before>>,
    pub(crate) away: Mutex<bool>,
}

impl MemoryLog {
    fn take(&self, command: Command) -> i64 {
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
    async fn append(&self, command: &Command) -> Result<(i32, i64), ControlError> {
        if *self.away.lock().unwrap() {
            return Err(ControlError::Unavailable("away".into()));
        }
        let crossing = self.crossing.lock().unwrap().take();
        if let Some(other) = crossing.and_then(|other| other(command)) {
            self.take(other);
        }
        Ok((0, self.take(command.clone())))
    }
}

/// A control over a log in memory, read to its end.
pub(crate) fn in_memory() -> (Control, Arc<MemoryLog>) {
    let log = Arc::new(MemoryLog::default());
    log.view.caught_up(Kind::Commands);
    log.view.caught_up(Kind::Status);
    let control = Control::new(
        log.view.clone(),
        Arc::<MemoryLog>::clone(&log),
        Clock::from_fn(|| 1_000),
    );
    (control, log)
}

/// The worker's word that it has reached a state.
pub(crate) fn acknowledge(log: &MemoryLog, name: &str, command_id: &str, state: &str) {
    log.view.update(|it| {
        it.status(Status {
            connection: name.to_owned(),
            at: 1_000,
            whole: Some(ConnectionStatus {
                obeyed: Some(command_id.to_owned()),
                state: state.to_owned(),
                portal_id: Some(42),
                worker: "w".to_owned(),
                error: None,
            }),
            stream: None,
        });
    });
}

fn start() -> Change {
    Change::Start(Settings::default())
}

fn faster() -> Change {
    Change::Start(Settings {
        interval_ms: Some(60_000),
        ..Settings::default()
    })
}

#[tokio::test]
async fn a_start_creates_and_a_second_one_is_based_on_it() {
    let (control, _log) = in_memory();
    let first = control.submit("default", start()).await.unwrap();
    assert!(first.created);
    let second = control.submit("default", faster()).await.unwrap();
    assert!(!second.created);
    assert_eq!(second.command.based_on, Some(first.command.command_id));
}

#[tokio::test]
async fn replacing_settings_by_the_same_writes_nothing() {
    let (control, _log) = in_memory();
    let first = control
        .submit("default", Change::Replace(Settings::default()))
        .await
        .unwrap();
    let second = control
        .submit("default", Change::Replace(Settings::default()))
        .await
        .unwrap();
    assert_eq!(first.command, second.command);
}

#[tokio::test]
async fn a_command_that_crossed_another_is_written_again_on_top_of_it() {
    let (control, log) = in_memory();
    control.submit("default", start()).await.unwrap();
    *log.crossing.lock().unwrap() = Some(Box::new(|mine| {
        let mut other = mine.clone();
        other.command_id = "other".to_owned();
        other.interval_ms = 300_000;
        other.state = DesiredState::Stopped;
        Some(other)
    }));
    let settings = Settings {
        interval_ms: Some(60_000),
        ..Settings::default()
    };
    let accepted = control
        .submit("default", Change::Replace(settings))
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
async fn two_that_create_the_same_connection_end_in_one_state() {
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
async fn a_stop_is_obeyed_by_its_own_id_only() {
    let (control, log) = in_memory();
    control.submit("default", start()).await.unwrap();
    let stop = control
        .submit("default", Change::Stop)
        .await
        .unwrap()
        .command
        .command_id;
    let soon = Duration::from_millis(20);
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        Outcome::Pending
    );
    acknowledge(&log, "default", "another", "stopped");
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        Outcome::Pending
    );
    acknowledge(&log, "default", &stop, "stopped");
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        Outcome::Obeyed
    );
    control.submit("default", start()).await.unwrap();
    assert_eq!(
        control.outcome("default", &stop, "stopped", soon).await,
        Outcome::Superseded
    );
}

#[tokio::test]
async fn a_connection_that_was_refused_for_its_account_is_refused_while_another_has_it() {
    let (control, log) = in_memory();
    let first = control.submit("default", start()).await.unwrap();
    acknowledge(&log, "default", &first.command.command_id, "running");
    control.submit("twin", start()).await.unwrap();
    log.view.update(|it| {
        it.status(Status {
            connection: "twin".to_owned(),
            at: 1_000,
            whole: Some(ConnectionStatus {
                state: "failed".to_owned(),
                error: Some(schemas::Problem {
                    code: "portal_taken".to_owned(),
                    ..schemas::Problem::default()
                }),
                ..ConnectionStatus::default()
            }),
            stream: None,
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
    let elsewhere = Change::Start(Settings {
        credential: Some("env:HUBSPOT_OTHER".to_owned()),
        ..Settings::default()
    });
    assert!(control.submit("twin", elsewhere).await.is_ok());
    assert!(control.submit("default", start()).await.is_ok());
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_stopped_or_synced() {
    let (control, _log) = in_memory();
    let sync = Change::Sync {
        streams: None,
        kind: RequestKind::Sync,
        request_id: "r".to_owned(),
        at: 1,
    };
    for change in [Change::Stop, Change::Delete, sync] {
        let refused = control.submit("default", change).await.unwrap_err();
        assert!(matches!(refused, ControlError::NotFound(_)), "{refused}");
    }
}

#[tokio::test]
async fn nothing_is_answered_before_the_topics_are_read() {
    let log = Arc::new(MemoryLog::default());
    let control = Control::new(
        log.view.clone(),
        Arc::<MemoryLog>::clone(&log),
        Clock::from_fn(|| 1),
    );
    let refused = control.submit("default", start()).await.unwrap_err();
    assert!(matches!(refused, ControlError::NotReady), "{refused}");
}
