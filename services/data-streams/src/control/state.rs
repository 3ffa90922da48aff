//! The state of every connection, folded from the commands and the status
//! topics. Pure.
//!
//! It must not know how a message came here.

use std::collections::{BTreeMap, VecDeque};

use schemas::{
    Command, ConnectionStatus, DesiredState, FullPass, Millis, Request, Status, StreamStatus,
};

/// Commands of a connection that are remembered, so that those which crossed
/// each other can be told apart. More than could be under way at once.
const REMEMBERED: usize = 128;

/// What is known of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// The last commands with their offsets, oldest first.
    log: VecDeque<(i64, Command)>,
    /// What the worker says of the whole, and when it said so.
    pub whole: Option<(Millis, ConnectionStatus)>,
    /// What the worker says of each stream, and when.
    pub streams: BTreeMap<String, (Millis, StreamStatus)>,
}

impl Connection {
    /// The desired state, deleted ones too.
    pub fn last_command(&self) -> Option<&Command> {
        self.log.back().map(|(_, command)| command)
    }

    /// The desired state of a connection that is not deleted.
    pub fn desired(&self) -> Option<&Command> {
        self.last_command()
            .filter(|command| command.state != DesiredState::Deleted)
    }

    /// Whether a one-time request was carried out.
    pub fn is_done(&self, request: &Request) -> bool {
        self.streams
            .get(&request.stream)
            .is_some_and(|(_, status)| {
                status.request_done.as_deref() == Some(request.request_id.as_str())
            })
    }

    /// The command that stands before the one with this id.
    pub fn predecessor(&self, command_id: &str) -> Option<&Command> {
        let place = self
            .log
            .iter()
            .position(|(_, it)| it.command_id == command_id)?;
        self.log
            .get(place.checked_sub(1)?)
            .map(|(_, command)| command)
    }

    /// The commands from the one with this id on; all that is remembered where
    /// that is not known any more.
    pub fn since(&self, command_id: Option<&str>) -> Vec<Command> {
        let from = command_id
            .and_then(|id| self.log.iter().position(|(_, it)| it.command_id == id))
            .unwrap_or(0);
        self.log
            .iter()
            .skip(from)
            .map(|(_, command)| command.clone())
            .collect()
    }

    /// Whether the command is in the log.
    pub fn knows(&self, command_id: &str) -> bool {
        self.log.iter().any(|(_, it)| it.command_id == command_id)
    }

    /// `HubSpot`'s id of its account, once known.
    pub fn portal_id(&self) -> Option<i64> {
        self.whole.as_ref().and_then(|(_, whole)| whole.portal_id)
    }
}

/// All connections by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    connections: BTreeMap<String, Connection>,
}

impl State {
    /// Takes a command in.
    pub fn command(&mut self, offset: i64, command: Command) {
        let connection = self
            .connections
            .entry(command.connection.clone())
            .or_default();
        if connection
            .log
            .back()
            .is_some_and(|(last, _)| *last >= offset)
        {
            // Read again after a reconnect.
            return;
        }
        connection.log.push_back((offset, command));
        if connection.log.len() > REMEMBERED {
            connection.log.pop_front();
        }
    }

    /// Takes a status in.
    pub fn status(&mut self, status: Status) {
        let connection = self.connections.entry(status.connection).or_default();
        if let Some(whole) = status.whole {
            connection.whole = Some((status.at, whole));
        }
        if let Some(stream) = status.stream {
            connection
                .streams
                .insert(stream.name.clone(), (status.at, stream));
        }
    }

    /// Forgets what a key of the status topic said.
    pub fn status_gone(&mut self, key: &str) {
        let (name, stream) = match key.split_once('/') {
            Some((name, stream)) => (name, Some(stream)),
            None => (key, None),
        };
        if let Some(connection) = self.connections.get_mut(name) {
            match stream {
                Some(stream) => drop(connection.streams.remove(stream)),
                None => connection.whole = None,
            }
        }
    }

    /// Forgets what a key of the commands topic said.
    pub fn command_gone(&mut self, key: &str) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.log.clear();
        }
    }

    /// One connection, deleted ones too.
    pub fn get(&self, name: &str) -> Option<&Connection> {
        self.connections.get(name)
    }

    /// Those that are not deleted, by name.
    pub fn living(&self) -> impl Iterator<Item = (&str, &Connection, &Command)> {
        self.connections
            .iter()
            .filter_map(|(name, it)| Some((name.as_str(), it, it.desired()?)))
    }

    /// The database of a connection, deleted ones too: their last records may
    /// still be under way.
    pub fn destination(&self, name: &str) -> Option<String> {
        self.get(name)?
            .last_command()
            .map(|command| command.destination.clone())
    }

    /// The connection, other than `name`, that lands in `destination`.
    pub fn holder_of(&self, destination: &str, name: &str) -> Option<&str> {
        self.living()
            .find(|(other, _, command)| *other != name && command.destination == destination)
            .map(|(other, ..)| other)
    }

    /// The connection that has the account which the worker refused to `name`,
    /// as long as it has it.
    pub fn portal_holder(&self, name: &str) -> Option<(&str, Option<i64>)> {
        let refused = |connection: &Connection| {
            let error = connection
                .whole
                .as_ref()
                .and_then(|(_, whole)| whole.error.as_ref());
            error.is_some_and(|error| error.code == "portal_taken")
        };
        let own = self.get(name).filter(|connection| refused(connection))?;
        let credential = &own.desired()?.credential;
        self.living().find_map(|(other, connection, command)| {
            let same_portal = connection.portal_id().is_some()
                && (connection.portal_id() == own.portal_id() || command.credential == *credential);
            let holds = other != name && !refused(connection) && same_portal;
            holds.then(|| (other, connection.portal_id()))
        })
    }

    /// The last full pass of each stream: connection, stream, pass.
    pub fn full_passes(&self) -> Vec<(String, String, FullPass)> {
        self.connections
            .iter()
            .flat_map(|(name, connection)| {
                connection
                    .streams
                    .iter()
                    .filter_map(|(stream, (_, status))| {
                        Some((name.clone(), stream.clone(), status.full_pass.clone()?))
                    })
            })
            .collect()
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
    fn the_last_command_in_the_log_wins_and_its_predecessor_is_known() {
        let mut state = State::default();
        state.command(1, command("a", "default"));
        state.command(5, command("b", "default"));
        state.command(5, command("b", "default"));
        let connection = state.get("default").unwrap();
        assert_eq!(connection.last_command().unwrap().command_id, "b");
        assert_eq!(connection.predecessor("b").unwrap().command_id, "a");
        assert_eq!(connection.predecessor("a"), None);
    }

    #[test]
    fn a_destination_in_use_is_found_and_a_deleted_connection_frees_it() {
        let mut state = State::default();
        state.command(1, command("a", "default"));
        assert_eq!(state.holder_of("hubspot", "sales"), Some("default"));
        assert_eq!(state.holder_of("hubspot", "default"), None);
        state.command(
            2,
            Command {
                state: DesiredState::Deleted,
                ..command("b", "default")
            },
        );
        assert_eq!(state.holder_of("hubspot", "sales"), None);
        assert_eq!(state.destination("default").as_deref(), Some("hubspot"));
    }

    #[test]
    fn a_status_that_is_gone_is_forgotten() {
        let mut state = State::default();
        let stream = StreamStatus {
            name: "contacts".to_owned(),
            ..StreamStatus::default()
        };
        state.status(Status {
            connection: "default".to_owned(),
            at: 1,
            whole: None,
            stream: Some(stream),
        });
        assert_eq!(state.get("default").unwrap().streams.len(), 1);
        state.status_gone("default/contacts");
        assert!(state.get("default").unwrap().streams.is_empty());
    }

    #[test]
    fn only_so_many_commands_are_remembered() {
        let mut state = State::default();
        for offset in 0..1_000 {
            state.command(offset, command(&offset.to_string(), "default"));
        }
        assert_eq!(state.get("default").unwrap().since(None).len(), REMEMBERED);
    }
}
