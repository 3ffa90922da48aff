//! Deletions that wait for a person.

use schemas::{Checkpoint, Command};

use crate::sync::{DELETIONS_WAIT, Outcome};

/// Whether a person has confirmed the deletions of the last pass.
pub(super) fn is_confirmed(command: &Command, checkpoint: &Checkpoint) -> bool {
    let pass = checkpoint.closed_pass.as_ref();
    let mut confirmed = command.confirmed.iter();
    pass.is_some_and(|pass| {
        confirmed.any(|it| it.stream == checkpoint.stream && it.run_id == pass.run_id)
    })
}

/// The pass whose deletions wait for a person, and why.
pub(super) fn waiting<'a>(
    outcome: &'a Outcome,
    checkpoint: &'a Checkpoint,
) -> Option<(&'a str, &'a str)> {
    let Outcome::Failed(error) = outcome else {
        return None;
    };
    let pass = checkpoint.closed_pass.as_ref()?;
    (error.code == DELETIONS_WAIT).then_some((&pass.run_id, &error.problem))
}
