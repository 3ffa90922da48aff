//! Checks a change against what is known of all connections, and makes the command
//! to write of it. No I/O.

use std::fmt;

use schemas::{Command, DesiredState};

use super::{
    Connection, ConnectionChange, Connections, ControlError, InUse, Invalid, Submission,
    change::{self, Merged},
    settings,
};

/// The result of a change.
pub(super) struct Prepared {
    pub(super) command: Command,
    /// Whether the connection is new.
    pub(super) created: bool,
    /// False if the change does not alter the desired state.
    pub(super) must_write: bool,
}

/// Maximum number of unknown fields, parameters or streams that a refusal names: with each
/// of them it tells which ones there are.
pub(crate) const MAX_UNKNOWN: usize = 20;

/// What is wrong with the fields or parameters of a request: all of it, so that a
/// caller need not repeat the request to find the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongInputs {
    /// The first one.
    pub(crate) first: Invalid,
    /// The others.
    pub(crate) others: Vec<Invalid>,
}

impl WrongInputs {
    /// Refuses a request with all that is wrong in it, if anything is.
    pub(crate) fn refuse(wrong: impl IntoIterator<Item = Invalid>) -> Result<(), Self> {
        let mut wrong = wrong.into_iter();
        let Some(first) = wrong.next() else {
            return Ok(());
        };
        let others = wrong.collect();
        Err(Self { first, others })
    }
}

impl From<Invalid> for WrongInputs {
    fn from(first: Invalid) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }
}

impl fmt::Display for WrongInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)
    }
}

impl From<WrongInputs> for ControlError {
    fn from(wrong: WrongInputs) -> Self {
        Self::Invalid(wrong)
    }
}

impl From<Invalid> for ControlError {
    fn from(wrong: Invalid) -> Self {
        Self::Invalid(wrong.into())
    }
}

/// Checks a change and applies it to the desired state.
pub(super) fn prepare(
    connections: &Connections,
    name: &str,
    submission: &Submission,
) -> Result<Prepared, ControlError> {
    let change = &submission.change;
    settings::check_name(name)?;
    let connection = connections.get(name);
    let desired = connection.and_then(Connection::desired);
    let before = connection.and_then(Connection::last_command);
    let is_done = |request: &_| connection.is_some_and(|it| it.is_done(request));
    if let (Some(earlier), Some(last)) = (submission.earlier(before)?, before) {
        return Ok(Prepared {
            command: last.clone(),
            created: earlier.created,
            must_write: false,
        });
    }
    check_input(name, change, desired)?;
    let mut after = submission.apply(name, before, &is_done);
    check_properties(change, &after)?;
    check_destination(connections, name, &after)?;
    let fetches = matches!(
        change,
        ConnectionChange::Start(_) | ConnectionChange::Sync { .. }
    );
    if fetches
        && desired.is_some_and(|it| it.credential == after.credential)
        && let Some((by, portal_id)) = connections.portal_holder(name)
    {
        return Err(InUse::Portal {
            portal_id: portal_id.unwrap_or_default(),
            by: by.to_owned(),
        }
        .into());
    }
    if !submission.condition.holds(before) {
        return Err(ControlError::ConditionFailed(name.to_owned()));
    }
    let unchanged = desired.filter(|it| change::same_content(it, &after));
    let may_repeat = matches!(
        change,
        ConnectionChange::Replace(_)
            | ConnectionChange::Update(_)
            | ConnectionChange::Sync { .. }
            | ConnectionChange::Confirm { .. }
    );
    if let Some(same) = unchanged.filter(|_| may_repeat) {
        return Ok(Prepared {
            command: same.clone(),
            created: false,
            must_write: false,
        });
    }
    after.based_on = before.map(|it| it.command_id.clone());
    Ok(Prepared {
        command: after,
        created: desired.is_none(),
        must_write: true,
    })
}

/// Checks what the caller gave: settings, streams, and whether there is the connection.
fn check_input(
    name: &str,
    change: &ConnectionChange,
    desired: Option<&Command>,
) -> Result<(), ControlError> {
    if let Some(settings) = change.settings() {
        WrongInputs::refuse(settings.check())?;
    }
    match (change, desired) {
        (ConnectionChange::Replace(_) | ConnectionChange::Start(_), _) => Ok(()),
        (_, None) => Err(ControlError::NotFound(name.to_owned())),
        (
            ConnectionChange::Sync {
                streams: Some(streams),
                ..
            },
            Some(command),
        ) => Ok(check_streams(streams, command)?),
        (
            ConnectionChange::Update(_)
            | ConnectionChange::Sync { .. }
            | ConnectionChange::Stop
            | ConnectionChange::Confirm { .. }
            | ConnectionChange::Check { .. }
            | ConnectionChange::Delete,
            Some(_),
        ) => Ok(()),
    }
}

/// Refuses a destination that another connection has, and another one than that with
/// the connection's records.
fn check_destination(
    connections: &Connections,
    name: &str,
    after: &Command,
) -> Result<(), ControlError> {
    let connection = connections.get(name);
    let desired = connection.and_then(Connection::desired);
    if let Some(by) = connections.holder_of(&after.destination, name)
        && after.state != DesiredState::Deleted
        && desired.is_none_or(|it| it.destination != after.destination)
    {
        return Err(InUse::Destination {
            destination: after.destination.clone(),
            by: by.to_owned(),
        }
        .into());
    }
    if let Some(before) = desired
        && before.destination != after.destination
        && connection.is_some_and(Connection::has_records)
    {
        return Err(ControlError::DestinationFixed {
            name: name.to_owned(),
            destination: before.destination.clone(),
        });
    }
    Ok(())
}

/// Refuses properties of streams that the connection does not have.
fn check_properties(change: &ConnectionChange, after: &Command) -> Result<(), WrongInputs> {
    let given = change.settings().and_then(|it| it.properties.as_deref());
    let given = given.into_iter().flatten();
    let named = given.map(|it| (it.stream.as_str(), format!("properties.{}", it.stream)));
    refuse_unknown(named, &after.streams)
}

/// Refuses streams that the connection does not have.
fn check_streams(streams: &[String], command: &Command) -> Result<(), WrongInputs> {
    let named = streams.iter().enumerate();
    let named = named.map(|(index, it)| (it.as_str(), format!("streams[{index}]")));
    refuse_unknown(named, &command.streams)
}

/// Refuses the fields that name a stream which is not known.
fn refuse_unknown<'a>(
    named: impl Iterator<Item = (&'a str, String)>,
    known: &[String],
) -> Result<(), WrongInputs> {
    let unknown = named.filter(|(stream, _)| !known.iter().any(|it| it == stream));
    let wrong = unknown.take(MAX_UNKNOWN).map(|(_, field)| {
        Invalid::new(
            field,
            format!("is not a stream of the connection: {}", known.join(", ")),
        )
    });
    WrongInputs::refuse(wrong)
}

/// The command that has deleted this connection, where `submission` asks for that once more.
/// `None` where it repeats an earlier request, which is known by its key. Refused if its
/// condition does not hold: there is nothing left that could have an `ETag`.
pub(super) fn deletion(
    connection: Option<&Connection>,
    name: &str,
    submission: &Submission,
) -> Result<Option<String>, ControlError> {
    let last = connection.and_then(Connection::last_command);
    let is_repeated = submission.earlier(last)?.is_some();
    let deleted = last.filter(|it| it.state == DesiredState::Deleted && !is_repeated);
    if deleted.is_some() && !submission.condition.holds(last) {
        return Err(ControlError::ConditionFailed(name.to_owned()));
    }
    Ok(deleted.map(|it| it.command_id.clone()))
}

/// The command to write again because `last` overwrote a command that it was
/// not based on; `None` where nothing was lost. `first` is what this process
/// wrote before any merge.
pub(super) fn merge_crossed(
    connections: &Connections,
    name: &str,
    submission: &Submission,
    first: &Command,
    last: &Command,
) -> Option<Merged> {
    let connection = connections.get(name)?;
    let predecessor = connection.predecessor(&last.command_id)?;
    if last.based_on.as_deref() == Some(predecessor.command_id.as_str()) {
        return None;
    }
    let log = connection.since(first.based_on.as_deref());
    let is_done = |request: &_| connection.is_done(request);
    let mut merged = change::merge(name, &log, &first.command_id, submission, &is_done)?;
    let newest = connection.last_command()?;
    if change::same_content(newest, &merged.command) {
        return None;
    }
    merged.command.based_on = Some(newest.command_id.clone());
    Some(merged)
}

#[cfg(test)]
mod tests {
    use schemas::{PropertySelection, RequestKind};

    use super::*;
    use crate::control::{Condition, ConnectionSettings};

    /// The fields that a refusal of a change names.
    fn wrong_fields(change: ConnectionChange) -> Vec<String> {
        let mut connections = Connections::default();
        connections.command(1, settings::defaults("default"));
        match prepare(&connections, "default", &change.into()).map(|_| ()) {
            Err(ControlError::Invalid(wrong)) => {
                let all = std::iter::once(wrong.first).chain(wrong.others);
                all.map(|it| it.field).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_unknown_streams_are_named() {
        let sync = ConnectionChange::Sync {
            streams: Some(["deals", "contacts", "tickets"].map(str::to_owned).to_vec()),
            kind: RequestKind::Sync,
            request_id: "r".to_owned(),
            at: 0,
        };
        assert_eq!(wrong_fields(sync), ["streams[0]", "streams[2]"]);
        let selection = |stream: &str| PropertySelection {
            stream: stream.to_owned(),
            is_exclusion: false,
            names: vec!["name".to_owned()],
        };
        let update = ConnectionChange::Update(ConnectionSettings {
            properties: Some(["companies", "deals", "tickets"].map(selection).to_vec()),
            ..ConnectionSettings::default()
        });
        assert_eq!(
            wrong_fields(update),
            ["properties.deals", "properties.tickets"]
        );
    }

    #[test]
    fn of_very_many_unknown_streams_the_first_are_named() {
        let sync = ConnectionChange::Sync {
            streams: Some(vec!["deals".to_owned(); 1_000]),
            kind: RequestKind::Sync,
            request_id: "r".to_owned(),
            at: 0,
        };
        assert_eq!(wrong_fields(sync).len(), MAX_UNKNOWN);
    }

    #[test]
    fn a_deletion_that_was_made_is_found_on_the_terms_of_the_request() {
        let delete = |condition, key: Option<&str>| Submission {
            change: ConnectionChange::Delete,
            condition,
            key: key.map(str::to_owned),
        };
        let mut connections = Connections::default();
        let live = settings::defaults("default");
        connections.command(1, live.clone());
        let any = delete(Condition::Always, None);
        let found = deletion(connections.get("default"), "default", &any);
        assert_eq!(found.unwrap(), None);

        let first = delete(Condition::Always, Some("k"));
        let deleted = Command {
            command_id: "d".to_owned(),
            ..first.apply("default", Some(&live), &|_| false)
        };
        connections.command(2, deleted);
        let find = |condition, key| {
            let submission = delete(condition, key);
            deletion(connections.get("default"), "default", &submission)
        };
        let found = find(Condition::Always, None).unwrap();
        assert_eq!(found.as_deref(), Some("d"));
        let repeated = find(Condition::Exists, Some("k")).unwrap();
        assert_eq!(repeated, None);
        assert!(matches!(
            find(Condition::Exists, Some("l")),
            Err(ControlError::ConditionFailed(_))
        ));
    }
}
