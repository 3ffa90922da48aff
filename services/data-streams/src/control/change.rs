//! Applies a request to a desired state, and merges requests that crossed each
//! other. No I/O.

use schemas::{Command, DesiredState, Millis, Request, RequestKind};

use super::settings::{self, ConnectionSettings};

/// A request that can be applied to any desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionChange {
    /// Replace all settings; those left out return to their defaults.
    Replace(ConnectionSettings),
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
                settings.apply_to(&mut fresh);
                after = fresh;
            }
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
            Self::Delete => {
                after.state = DesiredState::Deleted;
                after.requests.clear();
            }
        }
        after
    }
}

/// Puts the request into its stream's one slot, unless the slot holds an
/// unfinished one of the same or higher rank: a resync replaces a sync, never
/// the reverse.
fn add_request(slots: &mut Vec<Request>, request: Request, is_done: &dyn Fn(&Request) -> bool) {
    match slots.iter_mut().find(|slot| slot.stream == request.stream) {
        None => slots.push(request),
        Some(slot) => {
            let outranks = slot.kind == RequestKind::Sync && request.kind == RequestKind::Resync;
            if is_done(slot) || outranks {
                *slot = request;
            }
        }
    }
}

/// Whether two commands want the same; ids, times and bases do not count.
pub(crate) fn same_content(a: &Command, b: &Command) -> bool {
    a.state == b.state
        && a.credential == b.credential
        && a.streams == b.streams
        && a.interval_ms == b.interval_ms
        && a.destination == b.destination
        && a.requests == b.requests
}

/// Merges the commands of `log` so that none is lost: takes each command's
/// difference from the command it was based on, and applies the differences in
/// the order of the log. For the command with the id `own`, `change` is applied
/// again instead. `log` begins with the command that `own` was based on, if
/// that is known.
pub(crate) fn merge(
    connection: &str,
    log: &[Command],
    own: &str,
    change: &ConnectionChange,
    is_done: &dyn Fn(&Request) -> bool,
) -> Option<Command> {
    let (first, rest) = log.split_first()?;
    let mut merged = first.clone();
    for (index, command) in rest.iter().enumerate() {
        if command.command_id == own {
            merged = change.apply(connection, Some(&merged), is_done);
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
    Some(merged)
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        ConnectionChange::{Delete, Replace, Start, Stop},
        *,
    };

    /// The state after a change, while no request is carried out.
    fn after(change: &ConnectionChange, before: Option<&Command>) -> Command {
        change.apply("default", before, &|_| false)
    }

    fn command(
        id: &str,
        based_on: Option<&str>,
        change: &ConnectionChange,
        before: Option<&Command>,
    ) -> Command {
        let mut command = after(change, before);
        command.command_id = id.to_owned();
        command.based_on = based_on.map(ToOwned::to_owned);
        command
    }

    fn interval(ms: i64) -> ConnectionSettings {
        ConnectionSettings {
            interval_ms: Some(ms),
            ..ConnectionSettings::default()
        }
    }

    fn sync(id: &str, kind: RequestKind) -> ConnectionChange {
        ConnectionChange::Sync {
            streams: Some(vec!["contacts".to_owned()]),
            kind,
            request_id: id.to_owned(),
            at: 1,
        }
    }

    #[test]
    fn a_new_connection_is_stopped_and_a_replaced_one_keeps_its_state() {
        let new = after(&Replace(ConnectionSettings::default()), None);
        assert_eq!(new.state, DesiredState::Stopped);
        let running = after(&Start(interval(60_000)), Some(&new));
        let replaced = after(&Replace(ConnectionSettings::default()), Some(&running));
        assert_eq!(replaced.state, DesiredState::Running);
        assert_eq!(replaced.interval_ms, 300_000);
    }

    #[test]
    fn a_start_changes_only_the_given_settings() {
        let first = after(&Start(interval(60_000)), None);
        let again = after(&Start(ConnectionSettings::default()), Some(&first));
        assert_eq!(again.interval_ms, 60_000);
    }

    #[test]
    fn a_connection_created_again_after_its_deletion_has_the_defaults() {
        let first = after(&Start(interval(60_000)), None);
        let deleted = after(&Delete, Some(&first));
        let back = after(&Start(ConnectionSettings::default()), Some(&deleted));
        assert_eq!(back.interval_ms, 300_000);
    }

    #[test]
    fn a_request_is_ignored_while_an_earlier_one_is_unfinished() {
        let first = after(&sync("a", RequestKind::Sync), None);
        let second = after(&sync("b", RequestKind::Sync), Some(&first));
        assert_eq!(
            second.requests.first().map(|it| it.request_id.as_str()),
            Some("a")
        );
        let done = sync("b", RequestKind::Sync).apply("default", Some(&first), &|_| true);
        assert_eq!(
            done.requests.first().map(|it| it.request_id.as_str()),
            Some("b")
        );
    }

    #[test]
    fn a_resync_replaces_a_sync_and_never_the_reverse() {
        let first = after(&sync("a", RequestKind::Sync), None);
        let second = after(&sync("b", RequestKind::Resync), Some(&first));
        let third = after(&sync("c", RequestKind::Sync), Some(&second));
        assert_eq!(
            third.requests.first().map(|it| it.request_id.as_str()),
            Some("b")
        );
    }

    #[test]
    fn a_stop_cancels_open_requests() {
        let asked = after(&sync("a", RequestKind::Sync), None);
        assert!(after(&Stop, Some(&asked)).requests.is_empty());
    }

    #[test]
    fn two_changes_that_crossed_are_both_applied() {
        let x = command("x", None, &Start(ConnectionSettings::default()), None);
        let stop = command("p", Some("x"), &Stop, Some(&x));
        let change = Start(interval(60_000));
        let own = command("c", Some("x"), &change, Some(&x));
        let merged = merge("default", &[x.clone(), stop, own], "c", &change, &|_| false).unwrap();
        assert_eq!(
            (merged.state, merged.interval_ms),
            (DesiredState::Running, 60_000)
        );

        let faster = Replace(interval(60_000));
        let stop = command("p", Some("x"), &Stop, Some(&x));
        let own = command("c", Some("x"), &faster, Some(&x));
        let merged = merge("default", &[x, stop, own], "c", &faster, &|_| false).unwrap();
        assert_eq!(
            (merged.state, merged.interval_ms),
            (DesiredState::Stopped, 60_000)
        );
    }

    #[test]
    fn a_command_based_on_an_overwritten_one_adds_only_its_own_difference() {
        let x = command("x", None, &Start(ConnectionSettings::default()), None);
        let p = command("p", Some("x"), &sync("r", RequestKind::Sync), Some(&x));
        let own_change = Start(interval(60_000));
        let own = command("c", Some("x"), &own_change, Some(&x));
        let on_own = command("e", Some("c"), &Stop, Some(&own));
        let merged = merge("default", &[x, p, own, on_own], "c", &own_change, &|_| {
            false
        })
        .unwrap();
        assert_eq!(merged.state, DesiredState::Stopped);
        assert_eq!(merged.interval_ms, 60_000);
        assert_eq!(merged.requests.len(), 1);
    }

    proptest! {
        /// Two clients change different settings of the same state: both changes
        /// hold, in either order.
        #[test]
        fn two_crossed_changes_of_different_settings_both_hold(first_is_interval in any::<bool>(), ms in 10_000i64..1_000_000) {
            let x = command("x", None, &Start(ConnectionSettings::default()), None);
            let a = Start(interval(ms));
            let b = Start(ConnectionSettings {
                destination: Some("elsewhere".to_owned()),
                ..ConnectionSettings::default()
            });
            let (first, second) = if first_is_interval { (&a, &b) } else { (&b, &a) };
            let log = [
                x.clone(),
                command("1", Some("x"), first, Some(&x)),
                command("2", Some("x"), second, Some(&x)),
            ];
            let merged = merge("default", &log, "2", second, &|_| false).unwrap();
            prop_assert_eq!(merged.interval_ms, ms);
            prop_assert_eq!(merged.destination, "elsewhere");
        }
    }
}
