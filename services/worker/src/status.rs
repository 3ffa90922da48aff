//! What the status of a stream says, from its checkpoint and its failures.

use schemas::{Checkpoint, EncodeError, Millis, Problem, StreamStatus};

use crate::sync::SourceError;

/// Updates a stream's status from its checkpoint. A checkpoint without a run leaves
/// the last run in the status.
pub(crate) fn track(view: &mut StreamStatus, checkpoint: &Checkpoint) {
    if let Some(run) = &checkpoint.run {
        if view.run_id.as_deref() != Some(&run.run_id) {
            view.outcome = None;
        }
        view.run_id = Some(run.run_id.clone());
        view.reason = Some(run.reason.clone());
        view.request_id.clone_from(&run.request_id);
        view.run_records = run.records;
    }
    view.request_done.clone_from(&checkpoint.request_done);
    view.total_records = checkpoint.records_total;
    view.cursor = checkpoint.cursor;
    view.last_success_at = checkpoint.last_success_at;
}

/// A failure of the source, as the status shows it.
pub(crate) fn problem(error: &SourceError, at: Millis) -> Problem {
    Problem {
        code: error.code.to_owned(),
        message: error.problem.clone(),
        advice: error.remedy.clone(),
        at,
    }
}

/// A value that does not fit its schema, as the status shows it.
pub(crate) fn unwritable(error: &EncodeError, at: Millis) -> Problem {
    Problem {
        code: "unwritable".to_owned(),
        message: format!("{error}; nothing was written, and the log has the state before"),
        advice: "this is a defect of the worker: start the connection again with a version \
                 that has it mended"
            .to_owned(),
        at,
    }
}

#[cfg(test)]
mod tests {
    use schemas::Run;

    use super::*;

    #[test]
    fn a_status_keeps_the_last_run_when_the_checkpoint_has_none() {
        let mut view = StreamStatus {
            outcome: Some("failed".to_owned()),
            ..Default::default()
        };
        let run = Run {
            run_id: "r".to_owned(),
            records: 7,
            ..Run::default()
        };
        let mut checkpoint = Checkpoint {
            run: Some(run),
            records_total: 9,
            ..Checkpoint::default()
        };
        track(&mut view, &checkpoint);
        assert_eq!(view.outcome, None, "a new run has no outcome");
        checkpoint.run = None;
        checkpoint.cursor = Some(5);
        track(&mut view, &checkpoint);
        assert_eq!((view.run_id.as_deref(), view.run_records), (Some("r"), 7));
        assert_eq!((view.cursor, view.total_records), (Some(5), 9));
    }
}
