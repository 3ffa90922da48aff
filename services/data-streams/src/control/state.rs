//! The state of every connection, built from the messages of the commands and
//! the status topics. No I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use schemas::{
    Command, ConnectionStatus, DesiredState, Millis, Request, RequestKind, Status, StreamStatus,
    Verdict, verdict::verdict_key,
};

use super::CommandOutcome;
use crate::ingest::ReadStream;

/// Commands kept of each connection, to merge those that crossed each other:
/// more than could be under way at once.
const REMEMBERED: usize = 128;

/// A command and its offset in the commands topic.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LoggedCommand {
    offset: i64,
    command: Command,
}

/// A status from the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed<T> {
    /// When the worker wrote it.
    pub(crate) at: Millis,
    /// What it wrote.
    pub(crate) status: T,
}

/// A connection that is not deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveConnection<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// What is known of it.
    pub(crate) connection: &'a Connection,
    /// Its desired state.
    pub(crate) desired: &'a Command,
}

impl<'a> LiveConnection<'a> {
    fn new(name: &'a str, connection: &'a Connection) -> Option<Self> {
        Some(Self {
            name,
            connection,
            desired: connection.desired()?,
        })
    }
}

/// What is known of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The last commands, oldest first.
    log: VecDeque<LoggedCommand>,
    /// The status of the connection as a whole.
    pub(crate) whole: Option<Observed<ConnectionStatus>>,
    /// The status of each stream.
    pub(crate) streams: BTreeMap<String, Observed<StreamStatus>>,
    /// What the log has of each stream after its last pass over both lists.
    pub(crate) verdicts: BTreeMap<String, Arc<Verdict>>,
}

impl Connection {
    /// The desired state; also of a deleted connection.
    pub(crate) fn last_command(&self) -> Option<&Command> {
        self.log.back().map(|last| &last.command)
    }

    /// The desired state; `None` for a deleted connection.
    pub(crate) fn desired(&self) -> Option<&Command> {
        self.last_command()
            .filter(|command| command.state != DesiredState::Deleted)
    }

    /// Whether a one-time request was carried out.
    pub(crate) fn is_done(&self, request: &Request) -> bool {
        self.streams.get(&request.stream).is_some_and(|it| {
            it.status.request_done.as_deref() == Some(request.request_id.as_str())
        })
    }

    /// The kind of a one-time request, if its command is still known.
    pub(crate) fn kind_of(&self, request_id: &str) -> Option<RequestKind> {
        let mut requests = self.log.iter().flat_map(|it| &it.command.requests);
        requests
            .find(|request| request.request_id == request_id)
            .map(|request| request.kind)
    }

    /// The command with this id, if it is still known.
    pub(crate) fn command_of(&self, command_id: &str) -> Option<&Command> {
        let index = self.index_of(command_id)?;
        self.log.get(index).map(|it| &it.command)
    }

    /// What has happened to a command that wants the worker to report `state`.
    pub(crate) fn outcome(&self, command_id: &str, state: &str) -> CommandOutcome {
        let reached = self.whole.as_ref().is_some_and(|it| {
            it.status.applied.as_deref() == Some(command_id) && it.status.state == state
        });
        let last = self.last_command();
        let is_last = last.is_some_and(|last| last.command_id == command_id);
        match (is_last, reached) {
            (false, _) => CommandOutcome::Superseded,
            (true, true) => CommandOutcome::Applied,
            (true, false) => CommandOutcome::Pending,
        }
    }

    /// The command directly before the one with this id.
    pub(crate) fn predecessor(&self, command_id: &str) -> Option<&Command> {
        let before = self.index_of(command_id)?.checked_sub(1)?;
        self.log.get(before).map(|it| &it.command)
    }

    /// The commands from the one with this id on; all that are kept if it is
    /// not among them.
    pub(crate) fn since(&self, command_id: Option<&str>) -> Vec<Command> {
        let from = command_id.and_then(|id| self.index_of(id)).unwrap_or(0);
        let commands = self.log.iter().skip(from);
        commands.map(|it| it.command.clone()).collect()
    }

    fn index_of(&self, command_id: &str) -> Option<usize> {
        self.log
            .iter()
            .position(|it| it.command.command_id == command_id)
    }

    /// Whether records of it were written.
    pub(crate) fn has_records(&self) -> bool {
        let mut streams = self.streams.values();
        streams.any(|it| it.status.total_records > 0)
    }

    /// HubSpot's id of its account, once known.
    pub(crate) fn portal_id(&self) -> Option<i64> {
        self.whole.as_ref().and_then(|it| it.status.portal_id)
    }
}

/// All connections by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    by_name: BTreeMap<String, Connection>,
}

impl Connections {
    /// Adds a command.
    pub(crate) fn command(&mut self, offset: i64, command: Command) {
        let name = command.connection.clone();
        let log = &mut self.by_name.entry(name).or_default().log;
        if log.back().is_some_and(|last| last.offset >= offset) {
            // Read again after a reconnect.
            return;
        }
        log.push_back(LoggedCommand { offset, command });
        if log.len() > REMEMBERED {
            log.pop_front();
        }
    }

    /// Replaces the status of a connection or of a stream, or a stream's verdict.
    pub(crate) fn status(&mut self, message: Status) {
        let connection = self.by_name.entry(message.connection).or_default();
        let at = message.at;
        if let Some(status) = message.whole {
            connection.whole = Some(Observed { at, status });
        }
        if let Some(status) = message.stream {
            let name = status.name.clone();
            connection.streams.insert(name, Observed { at, status });
        }
        if let Some(verdict) = message.verdict {
            let name = verdict.stream.clone();
            connection.verdicts.insert(name, Arc::new(verdict));
        }
    }

    /// Removes the status of a key that was deleted from the status topic.
    pub(crate) fn status_gone(&mut self, key: &str) {
        let (name, stream) = match key.split_once('/') {
            Some((name, stream)) => (name, Some(stream)),
            None => (key, None),
        };
        if let Some(connection) = self.by_name.get_mut(name) {
            match stream {
                Some(stream) => {
                    connection.streams.remove(stream);
                    let is_its_verdict = |it: &str| verdict_key(name, it) == key;
                    connection.verdicts.retain(|it, _| !is_its_verdict(it));
                }
                None => connection.whole = None,
            }
        }
    }

    /// Removes the commands of a key that was deleted from the commands topic.
    pub(crate) fn command_gone(&mut self, key: &str) {
        if let Some(connection) = self.by_name.get_mut(key) {
            connection.log.clear();
        }
    }

    /// One connection; also a deleted one.
    pub(crate) fn get(&self, name: &str) -> Option<&Connection> {
        self.by_name.get(name)
    }

    /// The connections that are not deleted, by name.
    pub(crate) fn live(&self) -> impl Iterator<Item = LiveConnection<'_>> {
        let all = self.by_name.iter();
        all.filter_map(|(name, connection)| LiveConnection::new(name, connection))
    }

    /// One connection; `None` if it is deleted.
    pub(crate) fn get_live(&self, name: &str) -> Option<LiveConnection<'_>> {
        let (name, connection) = self.by_name.get_key_value(name)?;
        LiveConnection::new(name, connection)
    }

    /// The database of a connection; also of a deleted one, since its last
    /// records may still arrive.
    pub(crate) fn destination(&self, name: &str) -> Option<String> {
        self.get(name)?
            .last_command()
            .map(|command| command.destination.clone())
    }

    /// Whether the last command of a connection deleted it.
    pub(crate) fn is_deleted(&self, name: &str) -> bool {
        let last = self.get(name).and_then(Connection::last_command);
        last.is_some_and(|command| command.state == DesiredState::Deleted)
    }

    /// The deleted connections that had `destination`.
    pub(crate) fn former_holders(&self, destination: &str) -> Vec<String> {
        let had = |it: &Connection| {
            let last = it.last_command();
            last.is_some_and(|it| it.destination == destination)
        };
        let all = self.by_name.iter();
        all.filter(|(name, it)| self.is_deleted(name) && had(it))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The connection, other than `name`, that uses `destination`.
    pub(crate) fn holder_of(&self, destination: &str, name: &str) -> Option<&str> {
        self.live()
            .find(|it| it.name != name && it.desired.destination == destination)
            .map(|it| it.name)
    }

    /// The connection that uses the account which the worker refused to `name`,
    /// and the account's id. `None` once no connection uses it.
    pub(crate) fn portal_holder(&self, name: &str) -> Option<(&str, Option<i64>)> {
        let refused = |connection: &Connection| {
            let status = connection.whole.as_ref().map(|it| &it.status);
            let error = status.and_then(|it| it.error.as_ref());
            error.is_some_and(|error| error.code == "portal_taken")
        };
        let own = self.get(name).filter(|connection| refused(connection))?;
        let credential = &own.desired()?.credential;
        self.live().find_map(|other| {
            let portal_id = other.connection.portal_id();
            let same_portal = portal_id.is_some()
                && (portal_id == own.portal_id() || other.desired.credential == *credential);
            let holds = other.name != name && !refused(other.connection) && same_portal;
            holds.then_some((other.name, portal_id))
        })
    }

    /// The streams whose first full pass has ended; not those of deleted connections.
    pub(crate) fn read_streams(&self) -> Vec<ReadStream> {
        let mut streams = Vec::new();
        for (connection, known) in &self.by_name {
            if self.is_deleted(connection) {
                continue;
            }
            let Some(portal_id) = known.portal_id() else {
                continue;
            };
            let read = known.streams.iter();
            let read = read.filter(|(_, it)| it.status.cursor.is_some());
            streams.extend(read.map(|(stream, _)| ReadStream {
                connection: connection.clone(),
                object_type: stream.clone(),
                portal_id,
            }));
        }
        streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::settings::defaults;

    fn command(id: &str, name: &str) -> Command {
        Command {
            command_id: id.to_owned(),
            ..defaults(name)
        }
    }

    #[test]
    fn the_last_command_in_the_log_wins_and_a_repeated_offset_is_ignored() {
        let mut connections = Connections::default();
        connections.command(1, command("a", "default"));
        connections.command(5, command("b", "default"));
        connections.command(5, command("b", "default"));
        let connection = connections.get("default").unwrap();
        assert_eq!(connection.last_command().unwrap().command_id, "b");
        assert_eq!(connection.predecessor("b").unwrap().command_id, "a");
        assert_eq!(connection.predecessor("a"), None);
    }

    #[test]
    fn a_destination_is_in_use_until_its_connection_is_deleted() {
        let mut connections = Connections::default();
        connections.command(1, command("a", "default"));
        assert_eq!(connections.holder_of("hubspot", "sales"), Some("default"));
        assert_eq!(connections.holder_of("hubspot", "default"), None);
        connections.command(
            2,
            Command {
                state: DesiredState::Deleted,
                ..command("b", "default")
            },
        );
        assert_eq!(connections.holder_of("hubspot", "sales"), None);
        assert_eq!(
            connections.destination("default").as_deref(),
            Some("hubspot")
        );
    }

    #[test]
    fn a_status_deleted_from_the_topic_is_removed() {
        let mut connections = Connections::default();
        let stream = StreamStatus {
            name: "contacts".to_owned(),
            ..StreamStatus::default()
        };
        let verdict = Verdict {
            stream: "contacts".to_owned(),
            ..Verdict::default()
        };
        connections.status(Status {
            connection: "default".to_owned(),
            stream: Some(stream),
            ..Status::default()
        });
        connections.status(Status {
            connection: "default".to_owned(),
            verdict: Some(verdict),
            ..Status::default()
        });
        let counts = |connections: &Connections| {
            let connection = connections.get("default").unwrap();
            (connection.streams.len(), connection.verdicts.len())
        };
        assert_eq!(counts(&connections), (1, 1));
        connections.status_gone("default/contacts/verdict");
        assert_eq!(counts(&connections), (1, 0));
        connections.status_gone("default/contacts");
        assert_eq!(counts(&connections), (0, 0));
    }

    #[test]
    fn only_the_last_commands_are_kept() {
        let mut connections = Connections::default();
        for offset in 0..1_000 {
            connections.command(offset, command(&offset.to_string(), "default"));
        }
        assert_eq!(
            connections.get("default").unwrap().since(None).len(),
            REMEMBERED
        );
    }
}
