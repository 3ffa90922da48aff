//! The desired state of each connection: its last command, in the order of
//! offsets. Pure.

use std::{collections::BTreeMap, sync::Arc};

use schemas::{Command, Problem};

/// The desired state of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DesiredConnection {
    /// What the last command says.
    Command(Arc<Command>),
    /// The last command cannot be read: nothing is fetched, and the status shows
    /// this.
    Unreadable(Problem),
    /// Its commands end in a tombstone.
    Absent,
}

/// The desired states of the connections of one partition.
#[derive(Debug, Default)]
pub(crate) struct DesiredPartition {
    connections: BTreeMap<String, AtOffset>,
    complete: bool,
}

#[derive(Debug)]
struct AtOffset {
    offset: i64,
    desired: DesiredConnection,
}

impl DesiredPartition {
    /// Applies a message. Returns the name of the connection, unless the message is
    /// one that was applied before, as after a rebalance.
    pub(crate) fn apply(
        &mut self,
        offset: i64,
        name: String,
        desired: DesiredConnection,
    ) -> Option<String> {
        match self.connections.get(&name) {
            Some(known) if known.offset >= offset => None,
            _ => {
                let known = AtOffset { offset, desired };
                self.connections.insert(name.clone(), known);
                Some(name)
            }
        }
    }

    /// The commands are read to their end.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether the commands are read to their end.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Connections by name, with their desired states.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &DesiredConnection)> {
        self.connections
            .iter()
            .map(|(name, known)| (name.as_str(), &known.desired))
    }
}

/// The desired state after a message: `decoded` is its command, the reason why it
/// cannot be read, or `None` for a tombstone.
pub(crate) fn from_message(
    name: &str,
    decoded: Option<Result<Command, String>>,
    at: schemas::Millis,
) -> DesiredConnection {
    let unreadable = |message: String| {
        DesiredConnection::Unreadable(Problem {
            code: "command_unreadable".to_owned(),
            message,
            advice: "send the settings of the connection again".to_owned(),
            at,
        })
    };
    match decoded {
        None => DesiredConnection::Absent,
        Some(Err(error)) => unreadable(format!("the last command cannot be read: {error}")),
        Some(Ok(command)) if command.connection != name => unreadable(format!(
            "the last command is for {:?}, but its key is {name:?}",
            command.connection
        )),
        Some(Ok(command)) => DesiredConnection::Command(Arc::new(command)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::DesiredState;

    use super::*;

    fn command(id: usize, connection: &str) -> Command {
        Command {
            command_id: id.to_string(),
            connection: connection.to_owned(),
            state: DesiredState::Running,
            credential: "env:HUBSPOT_ACCESS_TOKEN".to_owned(),
            streams: vec!["contacts".to_owned()],
            interval_ms: 60_000,
            destination: "hubspot".to_owned(),
            ..Command::default()
        }
    }

    #[test]
    fn a_command_that_cannot_be_read_or_has_another_key_is_unreadable_and_a_tombstone_is_absent() {
        assert!(matches!(
            from_message("a", Some(Ok(command(1, "b"))), 0),
            DesiredConnection::Unreadable(_)
        ));
        assert!(matches!(
            from_message("a", Some(Err("x".to_owned())), 0),
            DesiredConnection::Unreadable(_)
        ));
        assert_eq!(from_message("a", None, 0), DesiredConnection::Absent);
    }

    proptest! {
        #[test]
        fn the_last_offset_wins_however_often_messages_are_read_again(
            log in proptest::collection::vec(0usize..4, 1..40),
            again_from in 0usize..40,
        ) {
            let mut desired = DesiredPartition::default();
            let again = log.iter().enumerate().skip(again_from);
            for (offset, connection) in log.iter().enumerate().chain(again) {
                let name = format!("c{connection}");
                let desired_connection = from_message(&name, Some(Ok(command(offset, &name))), 0);
                desired.apply(i64::try_from(offset).unwrap(), name, desired_connection);
            }
            for connection in 0..4 {
                let name = format!("c{connection}");
                let last = log.iter().rposition(|it| *it == connection);
                let got = match desired.iter().find(|it| it.0 == name) {
                    Some((_, DesiredConnection::Command(command))) => Some(command.command_id.clone()),
                    _ => None,
                };
                prop_assert_eq!(got, last.map(|it| it.to_string()));
            }
        }
    }
}
