//! What the status of a stream says, from its checkpoint, its runs and their failures.

use std::collections::HashSet;

use schemas::{Checkpoint, EncodeError, Millis, Problem, Run, RunStatus, StreamStatus, Verdict};

use crate::{
    schedule::{Reason, Slot},
    sync::{Progress, SourceError},
};

/// How many runs that have ended a status keeps, and the last of each reason.
const ENDED_RUNS: usize = 20;

/// Updates a stream's status from its checkpoint.
pub(crate) fn track(view: &mut StreamStatus, checkpoint: &Checkpoint) {
    for slot in Slot::ALL {
        let Some(run) = slot.of(checkpoint) else {
            continue;
        };
        update(view, &run.run_id, &run.reason, run.started_at, |known| {
            (known.records, known.requests) = (run.records, run.requests);
            known.request_id.clone_from(&run.request_id);
            known.retry_at = run.retry_at;
            known.unreadable = run.unreadable;
            known.unreadable_ids.clone_from(&run.unreadable_ids);
        });
    }
    view.request_done.clone_from(&checkpoint.request_done);
    view.total_records = checkpoint.records_total;
    view.cursor = checkpoint.cursor;
    view.last_success_at = checkpoint.last_success_at;
    view.lacks.clone_from(&checkpoint.lacks);
    summarize(view);
}

/// Shows that runs were ended by a stop, and not what goes on at the next start.
pub(crate) fn stopped<'a>(view: &mut StreamStatus, runs: impl IntoIterator<Item = &'a Run>) {
    for run in runs {
        update(view, &run.run_id, &run.reason, run.started_at, |known| {
            known.records = run.records;
            known.outcome = Some("stopped".to_owned());
            (known.retry_at, known.error) = (None, None);
        });
    }
    view.runs.retain(is_over);
    summarize(view);
}

/// Shows the result of a pass whose deletions are decided.
pub(crate) fn decided(view: &mut StreamStatus, verdict: &Verdict) {
    for run in &mut view.runs {
        run.waits_for = None;
        if run.run_id == verdict.run_id {
            run.objects = Some(verdict.objects);
            run.deleted = verdict.deleted;
            run.unreadable = verdict.unreadable;
        }
    }
}

/// Shows that the deletions of a pass wait; `None` if those of no pass do.
pub(crate) fn deletions_wait(view: &mut StreamStatus, pass: Option<(&str, &str)>) {
    for run in &mut view.runs {
        let waits = pass.filter(|(run_id, _)| run.run_id == *run_id);
        run.waits_for = waits.map(|(_, reason)| reason.to_owned());
    }
}

/// Changes the entry of a run; a new one comes first.
pub(crate) fn update(
    view: &mut StreamStatus,
    run_id: &str,
    reason: &str,
    started_at: Millis,
    change: impl FnOnce(&mut RunStatus),
) {
    if let Some(known) = view.runs.iter_mut().find(|it| it.run_id == run_id) {
        change(known);
        return;
    }
    let mut new = RunStatus {
        run_id: run_id.to_owned(),
        reason: reason.to_owned(),
        started_at,
        ..RunStatus::default()
    };
    change(&mut new);
    view.runs.insert(0, new);
    let mut ended = 0;
    let mut reasons = HashSet::new();
    view.runs.retain(|it| {
        if !is_over(it) {
            return true;
        }
        ended += 1;
        reasons.insert(it.reason.clone()) || ended <= ENDED_RUNS
    });
}

/// Whether the run does not continue.
fn is_over(run: &RunStatus) -> bool {
    run.outcome.is_some() && run.retry_at.is_none()
}

/// Whether requests for the run are being made.
fn is_active(run: &RunStatus) -> bool {
    run.outcome.is_none() && run.retry_at.is_none() && run.error.is_none()
}

fn slot(run: &RunStatus) -> Option<Slot> {
    Reason::parse(&run.reason).map(Reason::slot)
}

/// Shows what the runs say together: the backfill while it has not ended, otherwise the
/// run that started last; and the failure that holds up most.
pub(crate) fn summarize(view: &mut StreamStatus) {
    let is_backfill = |run: &&RunStatus| run.reason == Reason::Backfill.as_str() && !is_over(run);
    let shown = view.runs.iter().find(is_backfill).or(view.runs.first());
    if let Some(shown) = shown {
        view.run_id = Some(shown.run_id.clone());
        view.reason = Some(shown.reason.clone());
        view.request_id.clone_from(&shown.request_id);
        view.run_records = shown.records;
        view.outcome.clone_from(&shown.outcome);
        let mut last = Slot::ALL
            .into_iter()
            .filter_map(|it| view.runs.iter().find(|run| slot(run) == Some(it)));
        view.error = last.find_map(|run| run.error.clone());
    }
}

/// The phase of a stream that has a next run: what its runs are doing.
pub(crate) fn phase(view: &StreamStatus) -> &'static str {
    let active = || view.runs.iter().filter(|it| is_active(it));
    let waits = |run: &&RunStatus| {
        let holds_up = slot(run) == Some(Slot::Increments) || run.reason == "backfill";
        holds_up && !is_over(run) && run.error.is_some()
    };
    if active().any(|it| it.reason == Reason::Backfill.as_str()) {
        "backfill"
    } else if active().next().is_some() {
        "incremental"
    } else if view.runs.iter().any(|it| waits(&it)) {
        "waiting"
    } else {
        "idle"
    }
}

/// Sets the phase; when the next run starts is not known.
pub(crate) fn set_phase(view: &mut StreamStatus, phase: &str) {
    phase.clone_into(&mut view.phase);
    view.next_run_at = None;
}

/// A run is under way.
pub(crate) fn begin(view: &mut StreamStatus, progress: &Progress) {
    view.expected_total = progress.expected_total.or(view.expected_total);
    let Some(run) = &progress.run else { return };
    update(view, &run.run_id, &run.reason, run.started_at, |known| {
        known.request_id.clone_from(&run.request_id);
        (known.outcome, known.finished_at) = (None, None);
        (known.error, known.retry_at) = (None, None);
    });
    summarize(view);
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
    use super::*;

    fn run(id: &str, reason: &str, records: i64) -> Run {
        Run {
            run_id: id.to_owned(),
            reason: reason.to_owned(),
            records,
            ..Run::default()
        }
    }

    #[test]
    fn a_status_keeps_the_last_run_when_the_checkpoint_has_none() {
        let mut view = StreamStatus::default();
        let mut checkpoint = Checkpoint {
            increments: Some(run("r", "incremental", 7)),
            records_total: 9,
            ..Checkpoint::default()
        };
        track(&mut view, &checkpoint);
        assert_eq!(
            (phase(&view), view.outcome.as_deref()),
            ("incremental", None)
        );
        checkpoint.increments = None;
        checkpoint.cursor = Some(5);
        view.runs[0].outcome = Some("succeeded".to_owned());
        track(&mut view, &checkpoint);
        assert_eq!((view.run_id.as_deref(), view.run_records), (Some("r"), 7));
        assert_eq!((view.cursor, view.total_records), (Some(5), 9));
        assert_eq!(phase(&view), "idle");
    }

    #[test]
    fn a_backfill_is_shown_while_increments_run_beside_it() {
        let mut view = StreamStatus::default();
        let checkpoint = Checkpoint {
            pass: Some(run("b", "backfill", 100)),
            ..Checkpoint::default()
        };
        track(&mut view, &checkpoint);
        update(&mut view, "i", "incremental", 1, |_| {});
        summarize(&mut view);
        assert_eq!(
            (view.run_id.as_deref(), phase(&view)),
            (Some("b"), "backfill")
        );
    }

    #[test]
    fn ended_runs_are_kept_up_to_a_number_and_unended_ones_all() {
        let mut view = StreamStatus::default();
        update(&mut view, "pass", "full", 0, |_| {});
        for number in 0..50 {
            update(
                &mut view,
                &number.to_string(),
                "incremental",
                number,
                |run| {
                    run.outcome = Some("succeeded".to_owned());
                },
            );
        }
        assert_eq!(view.runs.len(), ENDED_RUNS + 1);
        assert_eq!(view.runs[0].run_id, "49");
        assert!(view.runs.iter().any(|it| it.run_id == "pass"));
    }

    #[test]
    fn a_failing_pass_is_shown_and_holds_up_nothing() {
        let mut view = StreamStatus::default();
        update(&mut view, "p", "full", 0, |run| {
            run.error = Some(Problem::default());
            run.outcome = Some("failed".to_owned());
            run.retry_at = Some(9);
        });
        update(&mut view, "i", "incremental", 1, |run| {
            run.outcome = Some("succeeded".to_owned());
        });
        summarize(&mut view);
        assert_eq!(phase(&view), "idle");
        assert!(view.error.is_some());
        update(&mut view, "i", "incremental", 1, |run| {
            run.outcome = None;
            run.error = Some(Problem::default());
        });
        assert_eq!(phase(&view), "waiting");
    }
}
