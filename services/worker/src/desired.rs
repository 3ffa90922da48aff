//! Commands folded into what is wanted of each connection: in the order of
//! their offsets, the last one wins. Pure.
//!
//! It must not know how a state is reached.

use std::{collections::BTreeMap, sync::Arc};

use schemas::{Command, Problem};

/// What is wanted of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DesiredConnection {
    /// This.
    Command(Arc<Command>),
    /// The last command cannot be read: nothing is fetched, and the status
    /// says why.
    Unreadable(Problem),
    /// The commands no longer name it.
    Absent,
}

/// What is wanted of the connections of one partition.
#[derive(Debug, Default)]
pub struct DesiredPartition {
    connections: BTreeMap<String, (i64, DesiredConnection)>,
    complete: bool,
}

impl DesiredPartition {
    /// Takes the next message in; the name of the connection if that changed
    /// what is wanted.
    pub fn apply(
        &mut self,
        offset: i64,
        name: String,
        wanted: DesiredConnection,
    ) -> Option<String> {
        match self.connections.get(&name) {
            // Read once more, as after a rebalance.
            Some((known, _)) if *known >= offset => None,
            _ => {
                self.connections.insert(name.clone(), (offset, wanted));
                Some(name)
            }
        }
    }

    /// The end was reached: what is known is the present.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether what is known is the present.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Connections and what is wanted of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &DesiredConnection)> {
        self.connections
            .iter()
            .map(|(name, (_, wanted))| (name.as_str(), wanted))
    }
}

/// What a message asks for.
pub fn from_message(
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
            based_on: None,
            issued_at: 0,
            connection: connection.to_owned(),
            state: DesiredState::Running,
            credential: "env:HUBSPOT_ACCESS_TOKEN".to_owned(),
            streams: vec!["contacts".to_owned()],
            interval_ms: 60_000,
            destination: "hubspot".to_owned(),
            requests: Vec::new(),
        }
    }

    #[test]
    fn a_command_under_another_key_or_that_cannot_be_read_is_named() {
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
        fn the_last_offset_wins_however_often_the_log_is_read(
            log in proptest::collection::vec(0usize..4, 1..40),
            again_from in 0usize..40,
        ) {
            let mut desired = DesiredPartition::default();
            let again = log.iter().enumerate().skip(again_from);
            for (offset, connection) in log.iter().enumerate().chain(again) {
                let name = format!("c{connection}");
                let wanted = from_message(&name, Some(Ok(command(offset, &name))), 0);
                desired.apply(i64::try_from(offset).unwrap(), name, wanted);
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
