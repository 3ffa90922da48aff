//! Applies a request to a desired state, and merges requests that crossed each
//! other. No I/O.

use schemas::{Command, ConfirmedDeletions, DesiredState, Millis, Request, RequestKind};

use super::{
    Submission,
    settings::{self, ConnectionSettings},
    submission::remember,
};

/// A request that can be applied to any desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionChange {
    /// Replace all settings; those left out return to their defaults.
    Replace(ConnectionSettings),
    /// Change the given settings.
    Update(ConnectionSettings),
    /// Run on the schedule; only the given settings change.
    Start(ConnectionSettings),
    /// Send no more requests to HubSpot.
    Stop,
    /// One run of each stream, now.
    Sync {
        /// All streams of the connection when `None`.
        streams: Option<Vec<String>>,
        /// What kind of run.
        kind: RequestKind,
        /// Id of the new requests.
        request_id: String,
        /// When they were made.
        at: Millis,
    },
    /// A person's word that what this pass found to be gone is to be deleted.
    Confirm {
        /// Object type.
        stream: String,
        /// The pass.
        run_id: String,
    },
    /// Try what the credential can read.
    Check {
        /// Id of the check.
        check_id: String,
    },
    /// Delete the connection.
    Delete,
}

impl ConnectionChange {
    /// The desired state after the change, made from `before` or, without one,
    /// from the defaults. `is_done` returns whether a one-time request has been
    /// carried out. The writer fills in id, base and time.
    pub(crate) fn apply(
        &self,
        connection: &str,
        before: Option<&Command>,
        is_done: &dyn Fn(&Request) -> bool,
    ) -> Command {
        // A deleted connection that is created again starts from the defaults.
        let before = before.filter(|command| command.state != DesiredState::Deleted);
        let mut after = before
            .cloned()
            .unwrap_or_else(|| settings::defaults(connection));
        match self {
            Self::Replace(settings) => {
                let mut fresh = settings::defaults(connection);
                fresh.state = after.state;
                fresh.requests = after.requests;
                fresh.confirmed = after.confirmed;
                fresh.check_id = after.check_id;
                settings.apply_to(&mut fresh);
                after = fresh;
            }
            Self::Update(settings) => settings.apply_to(&mut after),
            Self::Start(settings) => {
                settings.apply_to(&mut after);
                after.state = DesiredState::Running;
            }
            Self::Stop => {
                after.state = DesiredState::Stopped;
                after.requests.clear();
            }
            Self::Sync {
                streams,
                kind,
                request_id,
                at,
            } => {
                let wanted = streams.clone().unwrap_or_else(|| after.streams.clone());
                for stream in wanted {
                    let request = Request {
                        stream,
                        request_id: request_id.clone(),
                        kind: *kind,
                        requested_at: *at,
                    };
                    add_request(&mut after.requests, request, is_done);
                }
            }
            Self::Confirm { stream, run_id } => confirm(
                &mut after.confirmed,
                ConfirmedDeletions {
                    stream: stream.clone(),
                    run_id: run_id.clone(),
                },
            ),
            Self::Check { check_id } => after.check_id = Some(check_id.clone()),
            Self::Delete => {
                after.check_id = None;
                after.state = DesiredState::Deleted;
                after.requests.clear();
                after.confirmed.clear();
            }
        }
        after
    }

    /// The settings that it has.
    pub(super) fn settings(&self) -> Option<&ConnectionSettings> {
        match self {
            Self::Replace(settings) | Self::Update(settings) | Self::Start(settings) => {
                Some(settings)
            }
            _ => None,
        }
    }

    /// The one-time request or the check that it asks for, of the command after it: of a
    /// stream with an unfinished request that one counts. Ids sort by time, so it is the
    /// new one if any stream has taken it.
    pub(super) fn request_id(&self, after: &Command) -> Option<String> {
        match self {
            Self::Sync { streams, .. } => {
                let is_meant = |it: &&Request| {
                    let named = streams.as_ref();
                    named.is_none_or(|streams| streams.contains(&it.stream))
                };
                let requests = after.requests.iter().filter(is_meant);
                requests.map(|it| it.request_id.clone()).max()
            }
            Self::Check { check_id } => Some(check_id.clone()),
            _ => None,
        }
    }
}

/// Puts the request into its stream's one slot, unless the slot holds an
/// unfinished one of the same or higher rank: a resync replaces a reconcile, which
/// replaces a sync, never the reverse.
fn add_request(slots: &mut Vec<Request>, request: Request, is_done: &dyn Fn(&Request) -> bool) {
    match slots.iter_mut().find(|slot| slot.stream == request.stream) {
        None => slots.push(request),
        Some(slot) => {
            if is_done(slot) || rank(request.kind) > rank(slot.kind) {
                *slot = request;
            }
        }
    }
}

/// A run of a higher rank does all that one of a lower rank does.
const fn rank(kind: RequestKind) -> u8 {
    match kind {
        RequestKind::Sync => 0,
        RequestKind::Reconcile => 1,
        RequestKind::Resync => 2,
    }
}

/// Puts the confirmation into its stream's one slot.
fn confirm(slots: &mut Vec<ConfirmedDeletions>, confirmation: ConfirmedDeletions) {
    if slots.contains(&confirmation) {
        return;
    }
    slots.retain(|slot| slot.stream != confirmation.stream);
    slots.push(confirmation);
}

/// Whether two commands want the same; ids, times and bases do not count.
pub(crate) fn same_content(a: &Command, b: &Command) -> bool {
    a.state == b.state
        && a.credential == b.credential
        && a.streams == b.streams
        && a.interval_ms == b.interval_ms
        && a.destination == b.destination
        && a.requests == b.requests
        && a.confirmed == b.confirmed
        && a.check_id == b.check_id
        && a.reconcile == b.reconcile
        && a.properties == b.properties
        && keys(a).eq(keys(b))
}

fn keys(command: &Command) -> impl Iterator<Item = &str> {
    command.keyed.iter().map(|it| it.key.as_str())
}

/// What commands that crossed each other come to.
pub(crate) struct Merged {
    /// All of them together.
    pub(crate) command: Command,
    /// Whether the own one is not in it, because its condition does not hold.
    pub(crate) is_refused: bool,
}

/// Merges the commands of `log` so that none is lost: takes each command's
/// difference from the command it was based on, and applies the differences in
/// the order of the log. For the command with the id `own`, the change is applied
/// again instead, unless its condition does not hold there. `log` begins with the command that `own` was based on, if
/// that is known.
pub(crate) fn merge(
    connection: &str,
    log: &[Command],
    own: &str,
    submission: &Submission,
    is_done: &dyn Fn(&Request) -> bool,
) -> Option<Merged> {
    let (first, rest) = log.split_first()?;
    let mut merged = first.clone();
    let mut is_refused = false;
    for (index, command) in rest.iter().enumerate() {
        if command.command_id == own {
            // The same request may have been sent to two instances.
            if matches!(submission.earlier(Some(&merged)), Ok(Some(_))) {
                continue;
            }
            is_refused = !submission.condition.holds(Some(&merged));
            if !is_refused {
                merged = submission.apply(connection, Some(&merged), is_done);
            }
            continue;
        }
        let base = command
            .based_on
            .as_ref()
            .and_then(|id| log.iter().find(|earlier| earlier.command_id == *id))
            .or_else(|| log.get(index));
        if let Some(base) = base {
            carry_over(base, command, &mut merged);
        }
    }
    Some(Merged {
        command: merged,
        is_refused,
    })
}

/// Applies to `merged` what differs between `base` and `after`.
fn carry_over(base: &Command, after: &Command, merged: &mut Command) {
    if after.state != base.state {
        merged.state = after.state;
    }
    if after.credential != base.credential {
        merged.credential.clone_from(&after.credential);
    }
    if after.streams != base.streams {
        merged.streams.clone_from(&after.streams);
    }
    if after.interval_ms != base.interval_ms {
        merged.interval_ms = after.interval_ms;
    }
    if after.destination != base.destination {
        merged.destination.clone_from(&after.destination);
    }
    if after.reconcile != base.reconcile {
        merged.reconcile = after.reconcile;
    }
    if after.properties != base.properties {
        merged.properties.clone_from(&after.properties);
    }
    for entry in &after.keyed {
        remember(&mut merged.keyed, entry.clone());
    }
    for request in &after.requests {
        if !base.requests.contains(request) {
            merged.requests.retain(|slot| slot.stream != request.stream);
            merged.requests.push(request.clone());
        }
    }
    for request in &base.requests {
        if !after.requests.iter().any(|it| it.stream == request.stream) {
            merged
                .requests
                .retain(|slot| slot.request_id != request.request_id);
        }
    }
    if after.check_id != base.check_id {
        merged.check_id.clone_from(&after.check_id);
    }
    for confirmation in &after.confirmed {
        if !base.confirmed.contains(confirmation) {
            confirm(&mut merged.confirmed, confirmation.clone());
        }
    }
    for confirmation in &base.confirmed {
        if !after
            .confirmed
            .iter()
            .any(|it| it.stream == confirmation.stream)
        {
            merged.confirmed.retain(|slot| slot != confirmation);
        }
    }
}

#[cfg(test)]
mod tests;
