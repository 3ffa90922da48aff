//! Desired and observed state of every connection: commands out, commands and
//! status in. What the API shows comes from here, so a second instance shows
//! the same.
//!
//! It must not know HTTP or how a state is brought about.

pub mod change;
pub mod follow;
pub mod log;
pub mod settings;
pub mod state;
pub mod view;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chassis::Clock;
use schemas::{Command, DesiredState, FullPass};
use tokio::sync::watch;
use uuid::Uuid;

pub use change::Change;
pub use settings::{Invalid, Settings};
pub use state::{Connection, State};
pub use view::View;

/// How long one command may wait for its turn, and then for its own echo.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a command that crossed another is written again.
const ATTEMPTS: usize = 8;

/// Why a command was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The commands have not been read to their end yet, or what was written is
    /// not read back.
    #[error("the state of the connections is not known yet")]
    NotReady,
    /// Kafka did not acknowledge the command.
    #[error("kafka did not acknowledge the command")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no such connection.
    #[error("there is no connection {0}")]
    NotFound(String),
    /// A setting that cannot be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Another connection has it.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// Others wrote the same connection all the time.
    #[error("connection {0} is being changed by others all the time")]
    Contended(String),
}

/// What a connection asks for and another has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    /// The database is another connection's.
    #[error("destination {destination} is in use by connection {by}")]
    Destination {
        /// The database.
        destination: String,
        /// Who has it.
        by: String,
    },
    /// The account is another connection's.
    #[error("portal {portal_id} of this credential is in use by connection {by}")]
    Portal {
        /// `HubSpot`'s id of the account.
        portal_id: i64,
        /// Who has it.
        by: String,
    },
}

/// Where commands go.
#[async_trait]
pub trait CommandLog: Send + Sync + 'static {
    /// Writes a command and returns its partition and offset once it is
    /// acknowledged.
    async fn append(&self, command: &Command) -> Result<(i32, i64), ControlError>;
}

/// The way in and out of the control topics. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    view: View,
    log: Arc<dyn CommandLog>,
    clock: Clock,
    /// One command at a time in this process; crossings with other processes
    /// are mended.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// A command that Kafka has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The command as it stands in the log.
    pub command: Command,
    /// Whether the connection is new by it.
    pub created: bool,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The worker has acknowledged it.
    Obeyed,
    /// A later command exists.
    Superseded,
    /// Neither, yet.
    Pending,
}

impl Control {
    /// Joins what is read with where commands go.
    pub fn new(view: View, log: Arc<dyn CommandLog>, clock: Clock) -> Self {
        Self {
            view,
            log,
            clock,
            turn: Arc::default(),
        }
    }

    /// Looks at the state of all connections.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, ControlError> {
        let read = self.view.lock();
        if read.caught_up() {
            Ok(look(&read.state))
        } else {
            Err(ControlError::NotReady)
        }
    }

    /// The database of a connection; `None` while it is not known.
    pub fn destination(&self, connection: &str) -> Option<String> {
        self.view.lock().state.destination(connection)
    }

    /// Whether the topics were read to their end once.
    pub fn is_caught_up(&self) -> bool {
        self.view.lock().caught_up()
    }

    /// The last full pass of every stream: connection, stream, pass.
    pub fn full_passes(&self) -> Vec<(String, String, FullPass)> {
        self.view.lock().state.full_passes()
    }

    /// Changes its value with every message that was read.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.view.changed.subscribe()
    }

    /// Writes what `change` makes of the connection; answered once Kafka has
    /// it and this process has read it back.
    pub async fn submit(&self, name: &str, change: Change) -> Result<Accepted, ControlError> {
        let turn = tokio::time::timeout(PATIENCE, self.turn.lock());
        let _turn = turn.await.map_err(|_elapsed| ControlError::NotReady)?;
        let (command, created, is_new) = self.read(|state| prepare(state, name, &change))??;
        if !is_new {
            return Ok(Accepted { command, created });
        }
        let own = self.write(command).await?;
        let mut mine = own.clone();
        for _ in 0..ATTEMPTS {
            let Some(mended) = self.read(|state| mend(state, name, &change, &own, &mine))? else {
                return Ok(Accepted {
                    command: mine,
                    created,
                });
            };
            tracing::info!(
                connection = name,
                "a command crossed another; written on top of it"
            );
            mine = self.write(mended).await?;
        }
        Err(ControlError::Contended(name.to_owned()))
    }

    /// Gives the command its id and time, writes it, and waits for its echo.
    async fn write(&self, mut command: Command) -> Result<Command, ControlError> {
        command.command_id = Uuid::now_v7().to_string();
        command.issued_at = self.clock.now_ms();
        let (partition, offset) = self.log.append(&command).await?;
        let echoed = self
            .until(PATIENCE, || self.view.has_read(partition, offset))
            .await;
        if !echoed {
            return Err(ControlError::NotReady);
        }
        Ok(command)
    }

    /// Waits until the worker has acknowledged a command by reaching `state`,
    /// or a later command exists.
    pub async fn outcome(
        &self,
        name: &str,
        command_id: &str,
        state: &str,
        wait: Duration,
    ) -> Outcome {
        let look = || {
            let read = self.view.lock();
            let Some(connection) = read.state.get(name) else {
                return Outcome::Pending;
            };
            let reached = connection.whole.as_ref().is_some_and(|(_, whole)| {
                whole.obeyed.as_deref() == Some(command_id) && whole.state == state
            });
            let is_last = connection
                .last_command()
                .is_some_and(|last| last.command_id == command_id);
            match (is_last, reached) {
                (false, _) => Outcome::Superseded,
                (true, true) => Outcome::Obeyed,
                (true, false) => Outcome::Pending,
            }
        };
        self.until(wait, || look() != Outcome::Pending).await;
        look()
    }

    async fn until(&self, limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let mut changed = self.changed();
        let waited = tokio::time::timeout(limit, async {
            while !holds() {
                if changed.changed().await.is_err() {
                    return false;
                }
            }
            true
        });
        waited.await.unwrap_or(false)
    }
}

/// The command that a change makes, whether the connection is new by it, and
/// whether it has to be written at all.
fn prepare(
    state: &State,
    name: &str,
    change: &Change,
) -> Result<(Command, bool, bool), ControlError> {
    settings::check_name(name)?;
    let connection = state.get(name);
    let desired = connection.and_then(Connection::desired);
    let before = connection.and_then(Connection::last_command);
    let is_done = |request: &_| connection.is_some_and(|it| it.is_done(request));
    match (change, desired) {
        (Change::Replace(settings) | Change::Start(settings), _) => settings.check()?,
        (_, None) => return Err(ControlError::NotFound(name.to_owned())),
        (
            Change::Sync {
                streams: Some(streams),
                ..
            },
            Some(command),
        ) => {
            if let Some(place) = streams.iter().position(|it| !command.streams.contains(it)) {
                return Err(Invalid::new(
                    format!("streams[{place}]"),
                    format!(
                        "is not a stream of the connection: {}",
                        command.streams.join(", ")
                    ),
                )
                .into());
            }
        }
        (Change::Sync { .. } | Change::Stop | Change::Delete, Some(_)) => {}
    }
    let mut after = change.apply(name, before, &is_done);
    if let Some(by) = state.holder_of(&after.destination, name)
        && after.state != DesiredState::Deleted
        && desired.is_none_or(|it| it.destination != after.destination)
    {
        return Err(InUse::Destination {
            destination: after.destination,
            by: by.to_owned(),
        }
        .into());
    }
    if matches!(change, Change::Start(_) | Change::Sync { .. })
        && desired.is_some_and(|it| it.credential == after.credential)
        && let Some((by, portal_id)) = state.portal_holder(name)
    {
        let portal_id = portal_id.unwrap_or_default();
        return Err(InUse::Portal {
            portal_id,
            by: by.to_owned(),
        }
        .into());
    }
    let unchanged = desired.filter(|it| change::same_content(it, &after));
    if let (Some(same), Change::Replace(_) | Change::Sync { .. }) = (unchanged, change) {
        return Ok((same.clone(), false, false));
    }
    after.based_on = before.map(|it| it.command_id.clone());
    Ok((after, desired.is_none(), true))
}

/// What has to be written on top because `mine` overwrote a command that it
/// had not seen; `None` where nothing is lost.
fn mend(
    state: &State,
    name: &str,
    change: &Change,
    own: &Command,
    mine: &Command,
) -> Option<Command> {
    let connection = state.get(name)?;
    let predecessor = connection.predecessor(&mine.command_id)?;
    if mine.based_on.as_deref() == Some(predecessor.command_id.as_str()) {
        return None;
    }
    let log = connection.since(own.based_on.as_deref());
    let is_done = |request: &_| connection.is_done(request);
    let mut merged = change::merge(name, &log, &own.command_id, change, &is_done)?;
    let last = connection.last_command()?;
    if change::same_content(last, &merged) {
        return None;
    }
    merged.based_on = Some(last.command_id.clone());
    Some(merged)
}

#[cfg(test)]
pub(crate) mod tests;
