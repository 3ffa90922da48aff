//! What a page changes in the checkpoint of its stream. Runs of several slots change
//! the same checkpoint, so each names only what is its own. Pure.

use schemas::{Checkpoint, ClosedPass, Lack, Millis, Run};

use super::Capability;
use crate::schedule::{self, Reason};

/// What a page changes in the checkpoint, beside what its owner counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    #[default]
    None,
    /// A run has come further, or has ended.
    Run(Box<RunChange>),
    /// The stream was stopped.
    Stopped,
    /// The index has more of what the log had before.
    Seeded {
        /// The newest fetch sequence that the log has of the portal's objects.
        newest: i64,
        /// Whether the index has all of it now.
        is_complete: bool,
    },
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunChange {
    /// Why it is made.
    pub(crate) reason: Reason,
    /// The run; its counts are the owner's.
    pub(crate) run: Run,
    /// When it started, if the interval counts from there.
    pub(crate) last_started_at: Option<Millis>,
    /// Every change before it is in the log once the run, or the backfill, has ended.
    pub(crate) cursor: Option<Millis>,
    /// The list's cursor is not an object id.
    pub(crate) single_lane: bool,
    /// What the run has learnt of the object type: a capability that HubSpot refused, or,
    /// with `None`, one that it has after all.
    pub(crate) learnt: Vec<(Capability, Option<Lack>)>,
    /// How the run has ended; `None` while it is under way.
    pub(crate) end: Option<End>,
}

/// How a run has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// All was read, at this time.
    Succeeded {
        /// HubSpot's time of its end.
        at: Millis,
        /// When objects that still seem to be gone are read again.
        confirm_at: Millis,
    },
    /// Another run reads the same again.
    Restarted {
        /// Id of that run.
        run_id: String,
    },
    /// It continues later.
    Suspended,
    /// It is not continued; objects that seem to be gone are read again at this time.
    Dropped {
        /// HubSpot's time.
        confirm_at: Millis,
        /// The deletions are too many to be made without a person's word, which names a
        /// pass: if none has found the objects, one is due.
        needs_pass: bool,
    },
}

impl Change {
    /// Applies the change. `has_suspects` is whether objects seem to be gone after it.
    pub(super) fn apply(&self, checkpoint: &mut Checkpoint, has_suspects: bool) {
        match self {
            Self::None => {}
            Self::Run(change) => change.apply(checkpoint, has_suspects),
            Self::Stopped => {
                schedule::end_by_stop(checkpoint, super::session::new_run_id);
            }
            Self::Seeded {
                newest,
                is_complete,
            } => {
                checkpoint.fetch_sequence = checkpoint.fetch_sequence.max(*newest);
                checkpoint.indexed = *is_complete;
            }
        }
    }
}

impl RunChange {
    fn apply(&self, checkpoint: &mut Checkpoint, has_suspects: bool) {
        checkpoint.single_lane |= self.single_lane;
        checkpoint.last_started_at = self.last_started_at.or(checkpoint.last_started_at);
        for (capability, lack) in &self.learnt {
            checkpoint
                .lacks
                .retain(|it| it.capability != capability.as_str());
            checkpoint.lacks.extend(lack.clone());
        }
        let slot = self.reason.slot().of_mut(checkpoint);
        let mut run = self.run.clone();
        // Another slot may have seen that the definitions grew.
        let known = slot.take().filter(|it| it.run_id == run.run_id);
        run.definitions_grew |= known.is_some_and(|it| it.definitions_grew);
        match &self.end {
            None => {
                *slot = Some(run);
                if self.reason == Reason::Backfill && checkpoint.cursor.is_none() {
                    // Increments need not wait for its end.
                    checkpoint.cursor = self.cursor;
                }
            }
            Some(End::Suspended) => *slot = Some(run),
            Some(End::Restarted { run_id }) => {
                *slot = Some(Run {
                    run_id: run_id.clone(),
                    reason: run.reason,
                    request_id: run.request_id,
                    started_at: run.started_at,
                    ..Run::default()
                });
            }
            Some(End::Dropped {
                confirm_at,
                needs_pass,
            }) => {
                if has_suspects {
                    checkpoint.confirm_at = Some(*confirm_at);
                }
                checkpoint.full_wanted |= *needs_pass && checkpoint.closed_pass.is_none();
            }
            Some(End::Succeeded { at, confirm_at }) => {
                self.succeed(checkpoint, run, has_suspects.then_some(*confirm_at));
                // Increments beside the backfill are no success of the stream yet.
                if checkpoint.last_full_at.is_some() {
                    checkpoint.last_success_at = Some(*at);
                }
            }
        }
    }

    /// Advances the checkpoint past what was read. `confirm_at` is when objects that
    /// seem to be gone are read again.
    fn succeed(&self, checkpoint: &mut Checkpoint, run: Run, confirm_at: Option<Millis>) {
        let started_at = Some(run.started_at);
        let request_id = run.request_id;
        match self.reason {
            Reason::Incremental | Reason::Requested => {
                checkpoint.cursor = checkpoint.cursor.max(self.cursor);
                checkpoint.request_done = request_id.or(checkpoint.request_done.take());
            }
            Reason::Late => checkpoint.last_late_at = started_at,
            Reason::Archived => checkpoint.last_archived_at = started_at,
            Reason::Backfill | Reason::Full => {
                if checkpoint.full_wanted && self.reason == Reason::Full {
                    checkpoint.last_growth_at = started_at;
                }
                checkpoint.last_full_at = started_at;
                checkpoint.last_archived_at = started_at;
                checkpoint.full_wanted = run.definitions_grew;
                checkpoint.rewrite_wanted &= run.rewrites_below.is_none();
                checkpoint.cursor = checkpoint.cursor.max(self.cursor);
                let before = checkpoint.closed_pass.take();
                checkpoint.closed_pass = Some(ClosedPass {
                    run_id: run.run_id,
                    reason: run.reason,
                    request_id: request_id.or(before.and_then(|it| it.request_id)),
                    started_at: run.started_at,
                    changed: run.records,
                    deleted: 0,
                    unreadable: run.unreadable,
                });
            }
            Reason::Confirm => checkpoint.confirm_at = confirm_at.or(checkpoint.confirm_at),
        }
    }
}
