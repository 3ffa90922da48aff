//! The desired and the observed state of every connection: commands are
//! written to Kafka, commands and status are read from it. All that the API
//! shows comes from these topics, so every instance shows the same.
//!
//! It must not know HTTP, nor how the worker applies a command.

mod change;
mod check;
pub(crate) mod follow;
pub(crate) mod log;
mod prepare;
pub(crate) mod settings;
pub(crate) mod state;
mod submission;
mod view;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chassis::Clock;
use schemas::{Command, EncodeError};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) use change::ConnectionChange;
pub(crate) use check::CheckOutcome;
pub(crate) use prepare::{MAX_UNKNOWN, WrongInputs};
pub(crate) use settings::{ConnectionSettings, Invalid};
pub(crate) use state::{Connection, Connections, LiveConnection};
pub(crate) use submission::{Condition, KEYS_KEPT, Submission, revision};
pub(crate) use view::View;

use self::prepare::{Prepared, deletion, merge_crossed, prepare};
use crate::ingest::{ControlState, ReadStream};

/// How long a command may wait for those before it, and again for being read
/// back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How often a command that crossed another is written again.
const ATTEMPTS: usize = 8;

/// Why a command was not accepted. The API shows these texts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The control topics are not read to their end yet, or a command was
    /// written and not read back in time.
    #[error("the state of the connections is not known yet; /health/ready says why")]
    NotReady,
    /// Kafka did not acknowledge the command.
    #[error("kafka does not answer; the command may have been accepted or not")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The command does not fit its schema, which is a defect of this program.
    /// Nothing was written.
    #[error("the command cannot be written: {0}")]
    Unwritable(#[from] EncodeError),
    /// There is no connection of this name.
    #[error("there is no connection {0}")]
    NotFound(String),
    /// Settings have values that are not allowed.
    #[error("{0}")]
    Invalid(WrongInputs),
    /// Another connection uses the destination or the portal.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// What is stored of a connection cannot move to another database.
    #[error(
        "connection {name} has records in {destination}, which stay there: DELETE \
         /v1/connections/{name} and start it again with the other destination, which is then \
         filled from HubSpot; with ?purge=true the old one is dropped"
    )]
    DestinationFixed {
        /// The connection.
        name: String,
        /// The database with its records.
        destination: String,
    },
    /// The connection is not in the state in which the caller wants the change.
    #[error(
        "the connection {0} is not as If-Match or If-None-Match wants it; GET it, and repeat the \
         request with its ETag, in its double quotes"
    )]
    ConditionFailed(String),
    /// The key of a request was used for another one.
    #[error(
        "this Idempotency-Key was used for another request of the connection; take a new key for \
         a new request"
    )]
    KeyReused,
    /// Other writers changed the connection in all [`ATTEMPTS`].
    #[error("other clients keep changing the connection {0}; try again")]
    Contended(String),
}

/// A setting of a connection that another connection uses already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InUse {
    /// The database.
    #[error("destination {destination} is in use by connection {by}")]
    Destination {
        /// Name of the database.
        destination: String,
        /// The connection that uses it.
        by: String,
    },
    /// The account.
    #[error("portal {portal_id} of this credential is in use by connection {by}")]
    Portal {
        /// HubSpot's id of the account.
        portal_id: i64,
        /// The connection that uses it.
        by: String,
    },
}

/// Where a command is in the commands topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandPosition {
    /// Partition.
    pub(crate) partition: i32,
    /// Offset in the partition.
    pub(crate) offset: i64,
}

/// Writes commands.
#[async_trait]
pub(crate) trait CommandLog: Send + Sync + 'static {
    /// Writes a command; returns once it is acknowledged.
    async fn append(&self, command: &Command) -> Result<CommandPosition, ControlError>;
}

/// Reads and changes the state of connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    view: View,
    log: Arc<dyn CommandLog>,
    clock: Clock,
    /// This process writes one command at a time. Commands that cross those of
    /// other processes are merged.
    submitting: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane").finish_non_exhaustive()
    }
}

/// A command that Kafka has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The command as written; of a repeated request the last one.
    pub(crate) command: Command,
    /// The id of the command that was written for the request.
    pub(crate) command_id: String,
    /// The one-time request or the check that it asks for.
    pub(crate) request_id: Option<String>,
    /// Whether it created the connection.
    pub(crate) created: bool,
}

impl Accepted {
    /// What became of a submission: of one with a key, what the command remembers of it.
    fn new(submission: &Submission, command: Command, created: bool) -> Self {
        let key = submission.key.as_ref();
        let entry = command.keyed.iter().find(|it| Some(&it.key) == key);
        if let Some(entry) = entry.cloned() {
            return Self {
                command,
                command_id: entry.command_id,
                request_id: entry.request_id,
                created: entry.created,
            };
        }
        Self {
            command_id: command.command_id.clone(),
            request_id: submission.change.request_id(&command),
            command,
            created,
        }
    }
}

/// What happened to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandOutcome {
    /// The worker has applied it.
    Applied,
    /// A later command exists.
    Superseded,
    /// Neither, yet.
    Pending,
}

impl ControlPlane {
    /// Reads from `view`, writes to `log`.
    pub(crate) fn new(view: View, log: Arc<dyn CommandLog>, clock: Clock) -> Self {
        Self {
            view,
            log,
            clock,
            submitting: Arc::default(),
        }
    }

    /// Reads the state of all connections; fails until the topics were read to
    /// their end once.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connections) -> T) -> Result<T, ControlError> {
        let known = self.view.lock();
        if known.caught_up() {
            Ok(read(&known.connections))
        } else {
            Err(ControlError::NotReady)
        }
    }

    /// The destination of a connection after a change, and the account, if the
    /// connection has one already and keeps its credential.
    pub(crate) fn destination_after(
        &self,
        name: &str,
        submission: &Submission,
    ) -> Result<(String, Option<i64>), ControlError> {
        self.read(|connections| {
            let after = prepare(connections, name, submission)?.command;
            let live = connections.get_live(name);
            let same = live.filter(|it| it.desired.credential == after.credential);
            let portal_id = same.and_then(|it| it.connection.portal_id());
            Ok((after.destination, portal_id))
        })?
    }

    /// Whether a submission repeats an earlier one, by its key.
    pub(crate) fn is_repeated(
        &self,
        name: &str,
        submission: &Submission,
    ) -> Result<bool, ControlError> {
        self.read(|connections| {
            let last = connections.get(name).and_then(Connection::last_command);
            Ok(submission.earlier(last)?.is_some())
        })?
    }

    /// The command that has deleted the connection, where a deletion that is asked for now
    /// would add nothing to it.
    pub(crate) fn deletion(
        &self,
        name: &str,
        submission: &Submission,
    ) -> Result<Option<String>, ControlError> {
        self.read(|connections| deletion(connections.get(name), name, submission))?
    }

    /// Changes at every message read.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.view.changed.subscribe()
    }

    /// Applies a change to the connection's desired state and writes the
    /// result. Returns once Kafka has acknowledged it and this process has read
    /// it back.
    ///
    /// A change under a condition that crosses another one at a second instance is taken
    /// back: the worker may have seen it for the time of one write.
    pub(crate) async fn submit(
        &self,
        name: &str,
        submission: impl Into<Submission>,
    ) -> Result<Accepted, ControlError> {
        let submission = submission.into();
        let submitting = tokio::time::timeout(PATIENCE, self.submitting.lock());
        let _submitting = submitting
            .await
            .map_err(|_elapsed| ControlError::NotReady)?;
        let Prepared {
            command,
            created,
            must_write,
        } = self.read(|connections| prepare(connections, name, &submission))??;
        if !must_write {
            return Ok(Accepted::new(&submission, command, created));
        }
        let first = self.write(command).await?;
        let mut last = first.clone();
        let mut is_refused = false;
        for _ in 0..ATTEMPTS {
            let merged = self.read(|it| merge_crossed(it, name, &submission, &first, &last))?;
            let Some(merged) = merged else {
                return if is_refused {
                    Err(ControlError::ConditionFailed(name.to_owned()))
                } else {
                    Ok(Accepted::new(&submission, last, created))
                };
            };
            is_refused = merged.is_refused;
            tracing::info!(
                connection = name,
                "a command crossed another; both are merged and written again"
            );
            last = self.write(merged.command).await?;
        }
        Err(ControlError::Contended(name.to_owned()))
    }

    /// Gives the command its id and time, writes it, and waits until it is read
    /// back.
    async fn write(&self, mut command: Command) -> Result<Command, ControlError> {
        command.command_id = Uuid::now_v7().to_string();
        command.issued_at = self.clock.now_ms();
        let fresh = command
            .keyed
            .iter_mut()
            .filter(|it| it.command_id.is_empty());
        for entry in fresh {
            entry.command_id.clone_from(&command.command_id);
        }
        let written = self.log.append(&command).await?;
        let read_back = self
            .wait_until(PATIENCE, || self.view.has_read(written))
            .await;
        if !read_back {
            return Err(ControlError::NotReady);
        }
        Ok(command)
    }

    /// Waits up to `wait` until the worker has applied a command by reaching
    /// `state`, or a later command exists.
    pub(crate) async fn outcome(
        &self,
        name: &str,
        command_id: &str,
        state: &str,
        wait: Duration,
    ) -> CommandOutcome {
        let current = || {
            let known = self.view.lock();
            let connection = known.connections.get(name);
            connection.map_or(CommandOutcome::Pending, |it| it.outcome(command_id, state))
        };
        self.wait_until(wait, || current() != CommandOutcome::Pending)
            .await;
        current()
    }

    /// The result of a check, or that it has none within `wait`.
    pub(crate) async fn checked(&self, name: &str, check_id: &str, wait: Duration) -> CheckOutcome {
        let find = || {
            let known = self.view.lock();
            let connection = known.connections.get(name);
            connection.map_or(CheckOutcome::Pending, |it| it.check_outcome(check_id))
        };
        self.wait_until(wait, || !matches!(find(), CheckOutcome::Pending))
            .await;
        find()
    }

    /// Checks `holds` after every message read; false when `limit` is over.
    async fn wait_until(&self, limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let mut changed = self.view.changed.subscribe();
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

impl ControlState for ControlPlane {
    fn destination(&self, connection: &str) -> Option<String> {
        self.view.lock().connections.destination(connection)
    }

    fn has_read_all(&self) -> bool {
        self.view.lock().has_commands()
    }

    fn is_deleted(&self, connection: &str) -> bool {
        self.view.lock().connections.is_deleted(connection)
    }

    fn read_streams(&self) -> Vec<ReadStream> {
        self.view.lock().connections.read_streams()
    }
}

#[cfg(test)]
pub(crate) mod tests;
