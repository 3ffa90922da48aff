//! What a request makes of a desired state, and how requests that crossed
//! each other come together. Pure.
//!
//! It must not know Kafka or HTTP.

use schemas::{Command, DesiredState, Millis, Request, RequestKind};

use super::settings::{self, Settings};

/// A request, as something that can be applied to any desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Settings as a whole: what is left out goes back to its default.
    Replace(Settings),
    /// Run on the schedule; only the settings given change.
    Start(Settings),
    /// No request to `HubSpot` any more.
    Stop,
    /// One run of each stream.
    Sync {
        /// All streams of the connection when `None`.
        streams: Option<Vec<String>>,
        /// What kind of run.
        kind: RequestKind,
        /// Id for what is asked for anew.
        request_id: String,
        /// When it was asked for.
        at: Millis,
    },
    /// Forget the connection.
    Delete,
}

impl Change {
    /// The state after it, made from `before`, or from nothing. `is_done` says
    /// whether a one-time request of a stream has been carried out. The
    /// command's own id, base and time are left for the writer.
    pub fn apply(
        &self,
        connection: &str,
        before: Option<&Command>,
        is_done: &dyn Fn(&Request) -> bool,
    ) -> Command {
        // A deleted connection that comes back knows nothing of its past.
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
                    ask(&mut after.requests, request, is_done);
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

/// Fills the stream's one slot, unless what is in it is unfinished and at
/// least as much: a resync replaces a sync, never the reverse.
fn ask(slots: &mut Vec<Request>, request: Request, is_done: &dyn Fn(&Request) -> bool) {
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

/// Whether two commands ask for the same, whoever wrote them and when.
pub fn same_content(a: &Command, b: &Command) -> bool {
    a.state == b.state
        && a.credential == b.credential
        && a.streams == b.streams
        && a.interval_ms == b.interval_ms
        && a.destination == b.destination
        && a.requests == b.requests
}

/// What `log` means when nothing in it is lost: each command's difference from
/// the one it was made from, applied in the order of the log. The command
/// `own` is not a difference but a request, `change`, which is applied again.
/// `log` begins with the command that `own` was made from, where that is known.
pub fn merge(
    connection: &str,
    log: &[Command],
    own: &str,
    change: &Change,
    is_done: &dyn Fn(&Request) -> bool,
) -> Option<Command> {
    let (first, rest) = log.split_first()?;
    let mut merged = first.clone();
    for (place, command) in rest.iter().enumerate() {
        if command.command_id == own {
            merged = change.apply(connection, Some(&merged), is_done);
            continue;
        }
        let base = command
            .based_on
            .as_ref()
            .and_then(|id| log.iter().find(|earlier| earlier.command_id == *id))
            .or_else(|| log.get(place));
        if let Some(base) = base {
            carry_over(base, command, &mut merged);
        }
    }
    Some(merged)
}

/// Applies to `merged` what `after` has otherwise than `base`.
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

    use super::*;

    fn command(
        id: &str,
        based_on: Option<&str>,
        change: &Change,
        before: Option<&Command>,
    ) -> Command {
        let mut command = change.apply("default", before, &|_| false);
        command.command_id = id.to_owned();
        command.based_on = based_on.map(ToOwned::to_owned);
        command
    }

    fn interval(ms: i64) -> Settings {
        Settings {
            interval_ms: Some(ms),
            ..Settings::default()
        }
    }

    fn sync(id: &str, kind: RequestKind) -> Change {
        Change::Sync {
            streams: Some(vec!["contacts".to_owned()]),
            kind,
            request_id: id.to_owned(),
            at: 1,
        }
    }

    #[test]
    fn a_new_connection_is_stopped_and_a_replaced_one_keeps_its_state() {
        let new = Change::Replace(Settings::default()).apply("default", None, &|_| false);
        assert_eq!(new.state, DesiredState::Stopped);
        let running = Change::Start(interval(60_000)).apply("default", Some(&new), &|_| false);
        let replaced =
            Change::Replace(Settings::default()).apply("default", Some(&running), &|_| false);
        assert_eq!(replaced.state, DesiredState::Running);
        assert_eq!(replaced.interval_ms, 300_000);
    }

    #[test]
    fn a_start_changes_only_what_is_given() {
        let first = Change::Start(interval(60_000)).apply("default", None, &|_| false);
        let again = Change::Start(Settings::default()).apply("default", Some(&first), &|_| false);
        assert_eq!(again.interval_ms, 60_000);
    }

    #[test]
    fn a_deleted_connection_comes_back_with_defaults() {
        let first = Change::Start(interval(60_000)).apply("default", None, &|_| false);
        let deleted = Change::Delete.apply("default", Some(&first), &|_| false);
        let back = Change::Start(Settings::default()).apply("default", Some(&deleted), &|_| false);
        assert_eq!(back.interval_ms, 300_000);
    }

    #[test]
    fn a_request_onto_an_unfinished_one_keeps_that_one() {
        let first = sync("a", RequestKind::Sync).apply("default", None, &|_| false);
        let second = sync("b", RequestKind::Sync).apply("default", Some(&first), &|_| false);
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
        let first = sync("a", RequestKind::Sync).apply("default", None, &|_| false);
        let second = sync("b", RequestKind::Resync).apply("default", Some(&first), &|_| false);
        let third = sync("c", RequestKind::Sync).apply("default", Some(&second), &|_| false);
        assert_eq!(
            third.requests.first().map(|it| it.request_id.as_str()),
            Some("b")
        );
    }

    #[test]
    fn a_stop_takes_back_what_was_asked_for() {
        let asked = sync("a", RequestKind::Sync).apply("default", None, &|_| false);
        assert!(
            Change::Stop
                .apply("default", Some(&asked), &|_| false)
                .requests
                .is_empty()
        );
    }

    #[test]
    fn requests_that_crossed_each_other_both_count() {
        let x = command("x", None, &Change::Start(Settings::default()), None);
        let stop = command("p", Some("x"), &Change::Stop, Some(&x));
        let change = Change::Start(interval(60_000));
        let own = command("c", Some("x"), &change, Some(&x));
        let merged = merge("default", &[x.clone(), stop, own], "c", &change, &|_| false).unwrap();
        assert_eq!(
            (merged.state, merged.interval_ms),
            (DesiredState::Running, 60_000)
        );

        let faster = Change::Replace(interval(60_000));
        let stop = command("p", Some("x"), &Change::Stop, Some(&x));
        let own = command("c", Some("x"), &faster, Some(&x));
        let merged = merge("default", &[x, stop, own], "c", &faster, &|_| false).unwrap();
        assert_eq!(
            (merged.state, merged.interval_ms),
            (DesiredState::Stopped, 60_000)
        );
    }

    #[test]
    fn a_command_made_from_a_lost_one_carries_only_its_own_difference() {
        let x = command("x", None, &Change::Start(Settings::default()), None);
        let p = command("p", Some("x"), &sync("r", RequestKind::Sync), Some(&x));
        let own_change = Change::Start(interval(60_000));
        let own = command("c", Some("x"), &own_change, Some(&x));
        let on_own = command("e", Some("c"), &Change::Stop, Some(&own));
        let merged = merge("default", &[x, p, own, on_own], "c", &own_change, &|_| {
            false
        })
        .unwrap();
        assert_eq!(merged.state, DesiredState::Stopped);
        assert_eq!(merged.interval_ms, 60_000);
        assert_eq!(merged.requests.len(), 1);
    }

    proptest! {
        /// Two clients change different settings, each from the same state:
        /// neither change is lost, whoever comes second.
        #[test]
        fn no_change_is_lost(first_is_interval in any::<bool>(), ms in 10_000i64..1_000_000) {
            let x = command("x", None, &Change::Start(Settings::default()), None);
            let a = Change::Start(interval(ms));
            let b = Change::Start(Settings {
                destination: Some("elsewhere".to_owned()),
                ..Settings::default()
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
