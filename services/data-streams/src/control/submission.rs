//! A change, and the condition on the state before it under which its caller wants it.

use schemas::{Command, DesiredState};
use twox_hash::XxHash3_64;

use super::ConnectionChange;

/// A change as a caller wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submission {
    /// What to do.
    pub(crate) change: ConnectionChange,
    /// When to do it.
    pub(crate) condition: Condition,
}

impl From<ConnectionChange> for Submission {
    fn from(change: ConnectionChange) -> Self {
        Self {
            change,
            condition: Condition::Always,
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
    );
    // Lists and texts in it are quoted, so no two settings have the same text.
    let text = format!("{settings:?}");
    format!("{:016x}", XxHash3_64::oneshot(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::settings::defaults;

    #[test]
    fn a_revision_changes_with_each_setting_and_with_the_state_only() {
        let before = defaults("a");
        let changed: [fn(&mut Command); 5] = [
            |it| it.state = DesiredState::Running,
            |it| it.credential = "file:a".to_owned(),
            |it| it.streams = vec!["contacts".to_owned()],
            |it| it.interval_ms += 1,
            |it| it.destination = "b".to_owned(),
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
