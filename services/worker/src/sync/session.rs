//! What the steps of one run share: its position, the definitions, and the pages that
//! wait for the sink; and how a run begins and ends.

mod capabilities;

use std::{collections::BTreeSet, sync::Arc};

use schemas::{
    Checkpoint, Definitions, Lack, ListPosition, Millis, Run, checkpoint::UNREADABLE_NAMED,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Advice, Capability, Change, End, Extent, Findings, Listed, Outcome, Page, Progress, Record,
    RunChange, RunContext, RunEnd, Sink, SinkClosed, Source, SourceError, StreamContext, confirm,
    outbox::Outbox,
};
use crate::schedule::{self, Reason, RunPlan, Start};

/// A run that has failed so often in a row begins again: its position may be what
/// HubSpot refuses.
const FAILURES_AT_ONE_POSITION: i32 = 3;

/// Why a run ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Closed,
    Failed(SourceError),
    Restart,
}

impl From<SinkClosed> for Stop {
    fn from(SinkClosed: SinkClosed) -> Self {
        Self::Closed
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// A run in progress.
pub(super) struct Session<'a, S, K> {
    pub(super) source: &'a S,
    pub(super) sink: &'a K,
    pub(super) stream: &'a StreamContext,
    pub(super) reason: Reason,
    pub(super) run: Run,
    /// Where increments go on.
    pub(super) cursor: Option<Millis>,
    /// When the last run started that has read what a run over late changes reads.
    pub(super) last_late_at: Option<Millis>,
    pub(super) single_lane: bool,
    /// Whether a list that this run has read was in the order of ids.
    pub(super) lists_are_in_order: bool,
    pub(super) definitions: Arc<Definitions>,
    pub(super) outbox: Outbox<'a, K>,
    /// Objects that could not be read, as far as they are known.
    pub(super) unreadable: BTreeSet<i64>,
    pub(super) progress: &'a watch::Sender<Progress>,
    /// What the object type does not have, as far as was known at the start.
    lacks: Vec<Lack>,
    /// What the run has learnt of that since.
    learnt: Vec<(Capability, Option<Lack>)>,
    /// Whether it writes every object, if it begins.
    rewrites: bool,
    /// When it started, if the interval counts from there.
    last_started_at: Option<Millis>,
    /// The version of the definitions at its start.
    first_version: i64,
}

impl<'a, S: Source, K: Sink> Session<'a, S, K> {
    pub(super) fn new(
        context: &RunContext<'a, S, K>,
        checkpoint: &Checkpoint,
        plan: RunPlan,
    ) -> Self {
        let &RunContext {
            source,
            sink,
            stream,
            progress,
        } = context;
        let fresh = || Run {
            run_id: new_run_id(),
            // Until HubSpot's first answer says so, which may be a failure.
            started_at: source.now(),
            ..Run::default()
        };
        let known = plan.reason.slot().of(checkpoint);
        let mut run = match (plan.start, known) {
            (Start::New, _) | (_, None) => fresh(),
            (Start::Resume, Some(run)) => run.clone(),
        };
        plan.reason.as_str().clone_into(&mut run.reason);
        run.request_id = plan.request_id;
        run.retry_at = None;
        let unreadable = run.unreadable_ids.iter().copied().collect();
        Self {
            source,
            sink,
            stream,
            reason: plan.reason,
            run,
            cursor: checkpoint.cursor,
            last_late_at: checkpoint.last_late_at.max(checkpoint.last_full_at),
            single_lane: checkpoint.single_lane,
            lists_are_in_order: false,
            definitions: Arc::clone(&stream.definitions),
            outbox: Outbox::new(sink),
            unreadable,
            progress,
            lacks: checkpoint.lacks.clone(),
            learnt: Vec::new(),
            rewrites: plan.rewrites,
            last_started_at: None,
            first_version: 0,
        }
    }

    /// Reads the definitions, the first step of every run.
    pub(super) async fn begin(&mut self) -> Result<(), Stop> {
        let has_position = self.run.list.is_some() || self.run.search.is_some();
        let known = self.definitions.version;
        let (sent_at, listed) = self.read_definitions(!has_position).await?;
        let grown_version = listed.grown_version;
        self.first_version = self.definitions.version;
        if has_position {
            self.run.definitions_grew |= grown_version > known;
            if self.run.definitions_grew && self.run.search.is_some() {
                return Err(Stop::Restart);
            }
        } else {
            self.run.started_at = sent_at;
            self.last_started_at = self.reason.restarts_interval().then_some(sent_at);
            self.run.rewrites_below = self.rewrites.then_some(listed.fetch_sequence + 1);
        }
        self.progress
            .send_modify(|progress| progress.run = Some(self.run.clone()));
        Ok(())
    }

    /// Reads the definitions again before the cursor advances. If they grew, a
    /// search starts again; a pass over the lists ends, and another one is due.
    pub(super) async fn confirm_definitions(&mut self) -> Result<(), Stop> {
        let (_, listed) = self.read_definitions(false).await?;
        if listed.grown_version > self.first_version {
            self.run.definitions_grew = true;
            if !self.reason.reads_both_lists() {
                return Err(Stop::Restart);
            }
        }
        Ok(())
    }

    /// Reads the definitions. Returns the time of the request as well.
    async fn read_definitions(&mut self, is_begin: bool) -> Result<(Millis, Listed), Stop> {
        let listed = self.read_listed_properties().await?;
        let sent_at = listed.sent_at;
        let begins_full_pass = is_begin && self.reason.reads_both_lists();
        let selection = self.stream.properties.as_ref();
        let listed = self
            .sink
            .list_definitions(listed, selection, begins_full_pass);
        self.definitions = Arc::clone(&listed.definitions);
        Ok((sent_at, listed))
    }

    /// The position of a list at the beginning of a pass.
    pub(super) fn begin_list(&mut self, archived: bool) -> ListPosition {
        ListPosition {
            archived,
            began_at: self.run.started_at,
            lanes: Vec::new(),
        }
    }

    /// What is known of a list before it is read: of a backfill's what search says, and of
    /// any other pass's what the log has.
    pub(super) fn extent(&self, archived: bool) -> Extent {
        let Progress {
            expected_total,
            highest_id,
            ..
        } = *self.progress.borrow();
        let known = self.sink.extent(archived);
        let is_backfill = self.reason == Reason::Backfill;
        Extent {
            highest: highest_id,
            objects: if is_backfill {
                expected_total.filter(|_| !archived)
            } else {
                known.objects
            },
            is_in_order: self.lists_are_in_order,
            ..known
        }
    }

    /// Why no further page of the pass is requested: it is no backfill, nobody asked for
    /// it, and the share of the daily allowance that such passes have is spent.
    pub(super) fn spent_share(&self) -> Option<SourceError> {
        let is_recheck = matches!(self.reason, Reason::Full | Reason::Archived);
        let until = self.source.rechecks_from();
        let until = until.filter(|it| *it > self.source.now());
        let until = until.filter(|_| is_recheck && self.run.request_id.is_none())?;
        Some(SourceError {
            advice: Advice::WaitUntil(until),
            code: "recheck_share_spent",
            problem: "the part of the account's daily allowance that passes over the lists may \
                      use is spent"
                .to_owned(),
            remedy: "none needed: the pass continues where it is at midnight of the account, \
                     and changes are read meanwhile"
                .to_owned(),
        })
    }

    /// Counts and names objects that HubSpot did not give even alone.
    pub(super) fn skip(&mut self, ids: &[i64]) {
        for id in ids {
            if !self.unreadable.insert(*id) {
                continue;
            }
            let stream = self.stream.object_type.as_str();
            tracing::warn!(stream, id, "hubspot cannot give an object, it is skipped");
            self.run.unreadable = self.run.unreadable.saturating_add(1);
            if self.run.unreadable_ids.len() < UNREADABLE_NAMED {
                self.run.unreadable_ids.push(*id);
            }
        }
    }

    /// What an answer says of objects that it did not bring: nothing yet.
    pub(super) fn findings(sent_at: Millis) -> Findings {
        Findings {
            fetched_at: sent_at,
            ..Findings::default()
        }
    }

    /// Queues what was read with the position after it.
    pub(super) fn send(&mut self, records: Vec<Record>, findings: Findings) {
        // What is read goes on, so it does not fail any more.
        self.run.failures = 0;
        let change = self.change(None);
        self.outbox.push(Page {
            records,
            rewrites_below: self.run.rewrites_below,
            findings,
            seed: Vec::new(),
            change,
        });
    }

    fn change(&self, end: Option<End>) -> Change {
        let lag = self.stream.settings.index_lag;
        let before = |position: &ListPosition| position.began_at.saturating_sub(lag);
        Change::Run(Box::new(RunChange {
            reason: self.reason,
            run: self.run.clone(),
            last_started_at: self.last_started_at,
            cursor: match self.reason {
                // It reads every change before it began. So does a full pass, but where its
                // list lacks a new object, increments still find it.
                Reason::Backfill => self.run.list.as_ref().map(before),
                _ => self.run.search.as_ref().map(|position| position.to),
            },
            single_lane: self.single_lane,
            learnt: self.learnt.clone(),
            end,
        }))
    }

    /// Ends the run; its last page has how it ended.
    pub(super) async fn end(mut self, result: Result<(), Stop>) -> RunEnd {
        let run_id = self.run.run_id.clone();
        let request_id = self.run.request_id.clone();
        let outcome = match self.settle(result).await {
            Ok(outcome) => outcome,
            Err(SinkClosed) => Outcome::Closed,
        };
        RunEnd {
            run_id,
            reason: self.reason,
            request_id,
            outcome,
            expected_total: self.progress.borrow().expected_total,
        }
    }

    async fn settle(&mut self, result: Result<(), Stop>) -> Result<Outcome, SinkClosed> {
        let now = self.source.now();
        let confirm_at = now.saturating_add(self.stream.settings.confirm_interval);
        let (end, outcome) = match result {
            Ok(()) => {
                let end = End::Succeeded {
                    at: now,
                    confirm_at,
                };
                (end, Outcome::Succeeded)
            }
            Err(Stop::Closed) => return Err(SinkClosed),
            Err(Stop::Restart) => {
                let run_id = new_run_id();
                (End::Restarted { run_id }, Outcome::Restarted)
            }
            Err(Stop::Failed(error)) => {
                let end = if self.reason == Reason::Confirm {
                    End::Dropped {
                        confirm_at,
                        needs_pass: error.code == confirm::DELETIONS_WAIT,
                    }
                } else {
                    match error.advice {
                        Advice::EndRun => self.retry_later(now, schedule::backoff),
                        Advice::DoWithout(capability) => {
                            self.do_without(capability, &error);
                            self.retry_later(now, schedule::retry_lack);
                        }
                        Advice::WaitUntil(_) | Advice::SkipStream | Advice::StopConnection => {}
                    }
                    End::Suspended
                };
                (end, Outcome::Failed(error))
            }
        };
        self.outbox.drain().await?;
        let change = self.change(Some(end));
        self.outbox.push(Page {
            change,
            ..Page::default()
        });
        self.outbox.drain().await?;
        Ok(outcome)
    }

    /// The run continues after a while; after some failures it begins again.
    fn retry_later(&mut self, now: Millis, wait: impl Fn(i32) -> Millis) {
        let failures = self.run.failures.saturating_add(1);
        self.run.failures = failures;
        self.run.retry_at = Some(now.saturating_add(wait(failures)));
        if failures >= FAILURES_AT_ONE_POSITION {
            self.run.list = None;
            self.run.search = None;
            // They are tried again.
            self.run.unreadable = 0;
            self.run.unreadable_ids.clear();
        }
    }
}

pub(super) fn new_run_id() -> String {
    Uuid::now_v7().to_string()
}
