//! A change, the condition on the state before it under which its caller wants it, and
//! the key by which a repeated one is known. No I/O.

use schemas::{Command, DesiredState, KeyedRequest, Request};
use twox_hash::XxHash3_64;

use super::{ConnectionChange, ControlError};

/// How many requests with a key are remembered of a connection.
pub(crate) const KEYS_KEPT: usize = 32;

/// A change as a caller wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submission {
    /// What to do.
    pub(crate) change: ConnectionChange,
    /// When to do it.
    pub(crate) condition: Condition,
    /// Names the request, so that a repeated one has no second effect.
    pub(crate) key: Option<String>,
}

impl Submission {
    /// The desired state after the change, which remembers the key. See
    /// [`ConnectionChange::apply`].
    pub(super) fn apply(
        &self,
        connection: &str,
        before: Option<&Command>,
        is_done: &dyn Fn(&Request) -> bool,
    ) -> Command {
        let mut after = self.change.apply(connection, before, is_done);
        // Also of a deleted connection: its deletion may be repeated.
        after.keyed = before.map(|it| it.keyed.clone()).unwrap_or_default();
        if let Some(key) = &self.key {
            let entry = KeyedRequest {
                key: key.clone(),
                fingerprint: self.fingerprint(),
                // Known once the command is written.
                command_id: String::new(),
                request_id: self.change.request_id(&after),
                created: before.is_none_or(|it| it.state == DesiredState::Deleted),
            };
            remember(&mut after.keyed, entry);
        }
        after
    }

    /// The earlier request with the same key. Refused if that one asked for something
    /// else.
    pub(super) fn earlier<'a>(
        &self,
        last: Option<&'a Command>,
    ) -> Result<Option<&'a KeyedRequest>, ControlError> {
        let (Some(key), Some(last)) = (&self.key, last) else {
            return Ok(None);
        };
        let found = last.keyed.iter().find(|it| it.key == *key);
        if found.is_some_and(|it| it.fingerprint != self.fingerprint()) {
            return Err(ControlError::KeyReused);
        }
        Ok(found)
    }

    /// Names what is asked for: the same for the same request.
    fn fingerprint(&self) -> i64 {
        let asked = match &self.change {
            // Without what is made anew for each request.
            ConnectionChange::Sync { streams, kind, .. } => format!("Sync {streams:?} {kind:?}"),
            ConnectionChange::Check { .. } => "Check".to_owned(),
            other => format!("{other:?}"),
        };
        XxHash3_64::oneshot(asked.as_bytes()).cast_signed()
    }
}

/// Adds a request with a key, unless its key is there; the oldest is forgotten.
pub(super) fn remember(keyed: &mut Vec<KeyedRequest>, entry: KeyedRequest) {
    if keyed.iter().any(|it| it.key == entry.key) {
        return;
    }
    keyed.push(entry);
    let surplus = keyed.len().saturating_sub(KEYS_KEPT);
    keyed.drain(..surplus);
}

impl From<ConnectionChange> for Submission {
    fn from(change: ConnectionChange) -> Self {
        Self {
            change,
            condition: Condition::Always,
            key: None,
        }
    }
}

/// The state of a connection in which a change is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Any.
    #[default]
    Always,
    /// There is one.
    Exists,
    /// There is none.
    Absent,
    /// Its [`revision`] is one of these.
    Revision(Vec<String>),
}

impl Condition {
    /// Whether it holds of this command, the last one; of `None` where there is none.
    pub(super) fn holds(&self, last: Option<&Command>) -> bool {
        let desired = last.filter(|it| it.state != DesiredState::Deleted);
        match (self, desired) {
            (Self::Always, _) | (Self::Exists, Some(_)) | (Self::Absent, None) => true,
            (Self::Exists | Self::Revision(_), None) | (Self::Absent, Some(_)) => false,
            (Self::Revision(wanted), Some(it)) => wanted.contains(&revision(it)),
        }
    }
}

/// Names what a person has set: all settings, and whether it runs. Requests and checks do
/// not change it, so that they do not get in the way of someone who edits settings.
pub(crate) fn revision(command: &Command) -> String {
    let settings = (
        command.state,
        &command.credential,
        &command.streams,
        command.interval_ms,
        &command.destination,
        command.reconcile,
        &command.properties,
    );
    // Lists and texts in it are quoted, so no two settings have the same text.
    let text = format!("{settings:?}");
    format!("{:016x}", XxHash3_64::oneshot(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use schemas::{PropertySelection, RequestKind};

    use super::*;
    use crate::control::settings::defaults;

    fn keyed(key: &str, change: ConnectionChange) -> Submission {
        Submission {
            key: Some(key.to_owned()),
            ..change.into()
        }
    }

    fn sync(request_id: &str, streams: Option<&str>) -> ConnectionChange {
        ConnectionChange::Sync {
            streams: streams.map(|it| vec![it.to_owned()]),
            kind: RequestKind::Sync,
            request_id: request_id.to_owned(),
            at: 0,
        }
    }

    #[test]
    fn a_repeated_request_is_known_by_its_key_and_another_one_with_it_is_refused() {
        let before = defaults("a");
        let after = keyed("k", sync("r1", None)).apply("a", Some(&before), &|_| false);
        let found = keyed("k", sync("r2", None)).earlier(Some(&after)).unwrap();
        assert_eq!(found.unwrap().request_id.as_deref(), Some("r1"));
        let other = keyed("k", sync("r2", Some("contacts")));
        assert!(matches!(
            other.earlier(Some(&after)),
            Err(ControlError::KeyReused)
        ));
        for unknown in [keyed("l", sync("r2", None)), sync("r2", None).into()] {
            assert_eq!(unknown.earlier(Some(&after)).unwrap(), None);
        }
    }

    #[test]
    fn keys_outlive_a_deletion_and_a_replacement_and_the_oldest_are_forgotten() {
        let mut last =
            keyed("k0", ConnectionChange::Delete).apply("a", Some(&defaults("a")), &|_| false);
        for index in 1..=KEYS_KEPT {
            let change = ConnectionChange::Replace(crate::control::ConnectionSettings::default());
            last = keyed(&format!("k{index}"), change).apply("a", Some(&last), &|_| false);
        }
        assert_eq!(last.keyed.len(), KEYS_KEPT);
        assert_eq!(last.keyed[0].key, "k1");
        assert!(last.keyed[0].created && !last.keyed[1].created);
    }

    #[test]
    fn a_revision_changes_with_each_setting_and_with_the_state_only() {
        let before = defaults("a");
        let changed: [fn(&mut Command); 7] = [
            |it| it.state = DesiredState::Running,
            |it| it.credential = "file:a".to_owned(),
            |it| it.streams = vec!["contacts".to_owned()],
            |it| it.interval_ms += 1,
            |it| it.destination = "b".to_owned(),
            |it| it.reconcile.full_ms = 0,
            |it| it.properties = vec![PropertySelection::default()],
        ];
        for change in changed {
            let mut after = before.clone();
            change(&mut after);
            assert_ne!(revision(&after), revision(&before));
        }
        let mut checked = before.clone();
        checked.command_id = "c2".to_owned();
        checked.check_id = Some("c".to_owned());
        assert_eq!(revision(&checked), revision(&before));
    }

    #[test]
    fn a_deleted_connection_does_not_exist() {
        let live = defaults("a");
        let deleted = Command {
            state: DesiredState::Deleted,
            ..live.clone()
        };
        for (condition, holds) in [
            (Condition::Always, [true, true]),
            (Condition::Exists, [true, false]),
            (Condition::Absent, [false, true]),
            (Condition::Revision(vec![revision(&live)]), [true, false]),
            (
                Condition::Revision(vec![revision(&deleted)]),
                [false, false],
            ),
        ] {
            let found = [&live, &deleted].map(|it| condition.holds(Some(it)));
            assert_eq!(found, holds, "{condition:?}");
            assert_eq!(condition.holds(None), holds[1], "{condition:?}");
        }
    }
}
