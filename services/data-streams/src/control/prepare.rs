//! Checks a change against what is known of all connections, and makes the command
//! to write of it. No I/O.

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
    if let Some(settings) = change.settings()
        && let Some(invalid) = settings.check().into_iter().next()
    {
        return Err(invalid.into());
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
fn check_properties(change: &ConnectionChange, after: &Command) -> Result<(), Invalid> {
    let given = change.settings().and_then(|it| it.properties.as_deref());
    let mut given = given.into_iter().flatten();
    match given.find(|it| !after.streams.contains(&it.stream)) {
        None => Ok(()),
        Some(unknown) => Err(Invalid::new(
            format!("properties.{}", unknown.stream),
            format!(
                "is not a stream of the connection: {}",
                after.streams.join(", ")
            ),
        )),
    }
}

/// Refuses streams that the connection does not have.
fn check_streams(streams: &[String], command: &Command) -> Result<(), Invalid> {
    let known = &command.streams;
    match streams.iter().position(|it| !known.contains(it)) {
        None => Ok(()),
        Some(index) => Err(Invalid::new(
            format!("streams[{index}]"),
            format!("is not a stream of the connection: {}", known.join(", ")),
        )),
    }
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
