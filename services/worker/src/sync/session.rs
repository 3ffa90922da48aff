//! What the steps of one run share: checkpoint, definitions, fetch sequence, and the
//! pages that wait for the sink; and how a run begins and ends.

use std::sync::Arc;

use schemas::{Checkpoint, ContentHasher, Definitions, ListPosition, Millis, Run};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Advice, Findings, Outcome, Page, Progress, Record, RunContext, RunEnd, Sink, SinkClosed,
    Source, SourceError, StreamContext, definitions, outbox::Outbox,
};
use crate::schedule::{Reason, RunPlan, Start};

/// How long, in ms, no run starts after [`Advice::EndRun`].
const HOLD_MS: Millis = 60_000;

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

/// The definitions were read.
struct DefinitionsRead {
    /// HubSpot's time of the request.
    sent_at: Millis,
    /// Whether a property is new or came back.
    grew: bool,
}

/// A run in progress.
pub(super) struct Session<'a, S, K> {
    pub(super) source: &'a S,
    pub(super) sink: &'a K,
    pub(super) stream: &'a StreamContext,
    pub(super) reason: Reason,
    pub(super) checkpoint: Checkpoint,
    pub(super) run: Run,
    pub(super) definitions: Arc<Definitions>,
    /// Of these definitions.
    hasher: ContentHasher,
    pub(super) outbox: Outbox<'a, K>,
    progress: &'a watch::Sender<Progress>,
    /// Whether this version of the definitions has not been sent yet.
    definitions_unsent: bool,
}

impl<'a, S: Source, K: Sink> Session<'a, S, K> {
    pub(super) fn new(
        context: &RunContext<'a, S, K>,
        mut checkpoint: Checkpoint,
        plan: RunPlan,
    ) -> Self {
        let &RunContext {
            source,
            sink,
            stream,
            progress,
        } = context;
        checkpoint.connection.clone_from(&stream.connection);
        checkpoint.stream.clone_from(&stream.object_type);
        checkpoint.portal_id = stream.portal_id;
        let fresh = || Run {
            run_id: new_run_id(),
            ..Run::default()
        };
        let mut run = match (plan.start, checkpoint.run.take()) {
            (Start::New, _) | (_, None) => fresh(),
            (Start::Resume, Some(run)) => run,
        };
        plan.reason.as_str().clone_into(&mut run.reason);
        run.request_id = plan.request_id;
        Self {
            source,
            sink,
            stream,
            reason: plan.reason,
            checkpoint,
            run,
            definitions: Arc::clone(&stream.definitions),
            hasher: ContentHasher::new(&stream.definitions),
            outbox: Outbox::new(sink),
            progress,
            definitions_unsent: false,
        }
    }

    /// Reads the definitions, the first step of every run.
    pub(super) async fn begin(&mut self) -> Result<(), Stop> {
        let has_position = self.run.list.is_some() || self.run.search.is_some();
        let DefinitionsRead { sent_at, grew } = self.read_definitions().await?;
        if !has_position {
            self.run.started_at = sent_at;
            if self.reason.restarts_interval() {
                self.checkpoint.last_started_at = Some(sent_at);
            }
        }
        if grew {
            // A pass over both lists that starts now reads everything with the
            // new property.
            if has_position || !self.reason.reads_both_lists() {
                self.checkpoint.full_wanted = true;
            }
            self.run.definitions_grew |= has_position;
            if self.run.search.is_some() {
                return Err(Stop::Restart);
            }
        }
        self.progress.send_modify(|progress| {
            *progress = Progress {
                run: Some(self.run.clone()),
                expected_total: None,
            };
        });
        Ok(())
    }

    /// Reads the definitions again before the cursor advances. If they grew, a
    /// search starts again; a pass over the lists ends, and another one is due.
    pub(super) async fn confirm_definitions(&mut self) -> Result<(), Stop> {
        if self.read_definitions().await?.grew {
            self.checkpoint.full_wanted = true;
            self.run.definitions_grew = true;
            if !self.reason.reads_both_lists() {
                return Err(Stop::Restart);
            }
        }
        Ok(())
    }

    /// Reads the definitions.
    async fn read_definitions(&mut self) -> Result<DefinitionsRead, Stop> {
        let listed = self.source.definitions(&self.stream.object_type).await?;
        let floor = self.checkpoint.definitions_version;
        let change = definitions::merge(&self.definitions, listed.value, listed.sent_at, floor);
        let Some(change) = change else {
            // A new stream of a portal whose definitions are known.
            self.checkpoint.definitions_version = floor.max(self.definitions.version);
            return Ok(DefinitionsRead {
                sent_at: listed.sent_at,
                grew: false,
            });
        };
        self.checkpoint.definitions_version = change.definitions.version;
        self.hasher = ContentHasher::new(&change.definitions);
        self.definitions = Arc::new(change.definitions);
        self.definitions_unsent = true;
        Ok(DefinitionsRead {
            sent_at: listed.sent_at,
            grew: change.grew,
        })
    }

    /// The next fetch sequence, for one answer. No object has two reads in flight,
    /// so the order of answers is the order of the reads of each object.
    pub(super) fn sequence(&mut self, sent_at: Millis) -> i64 {
        let next = sent_at.max(self.checkpoint.fetch_sequence.saturating_add(1));
        self.checkpoint.fetch_sequence = next;
        next
    }

    /// The checkpoint of a list at the beginning of a pass.
    pub(super) fn begin_list(&mut self, archived: bool) -> ListPosition {
        let began_at = self.run.started_at;
        let began_sequence = self.sequence(began_at);
        ListPosition {
            archived,
            began_at,
            began_sequence,
            lanes: Vec::new(),
        }
    }

    pub(super) fn expect_total(&self, total: i64) {
        self.progress
            .send_modify(|progress| progress.expected_total = Some(total));
    }

    /// What an answer says of objects that it did not bring: nothing yet.
    pub(super) fn findings(&mut self, sent_at: Millis) -> Findings {
        Findings {
            fetched_at: sent_at,
            sequence: self.sequence(sent_at),
            ..Findings::default()
        }
    }

    /// Queues what was read with the checkpoint after it.
    pub(super) fn send(&mut self, mut records: Vec<Record>, findings: Findings) {
        for record in &mut records {
            record.content_hash = record.hash(&mut self.hasher);
        }
        let checkpoint = Checkpoint {
            run: Some(self.run.clone()),
            ..self.checkpoint.clone()
        };
        self.send_page(records, findings, checkpoint);
    }

    fn send_page(&mut self, records: Vec<Record>, findings: Findings, checkpoint: Checkpoint) {
        let definitions = std::mem::take(&mut self.definitions_unsent)
            .then(|| Definitions::clone(&self.definitions));
        self.outbox.push(Page {
            records,
            writes_all: self.writes_all(),
            findings,
            seed: Vec::new(),
            checkpoint,
            definitions,
        });
    }

    /// Whether records are written that the log has: for a new connection, whose
    /// destination may be new, and where somebody asked for it.
    fn writes_all(&self) -> bool {
        match self.reason {
            Reason::Backfill => true,
            Reason::Full => self.run.request_id.is_some(),
            _ => false,
        }
    }

    /// Ends the run; its last page has the final checkpoint.
    pub(super) async fn end(mut self, result: Result<(), Stop>) -> RunEnd {
        let run_id = self.run.run_id.clone();
        let request_id = self.run.request_id.clone();
        let outcome = match self.settle(result).await {
            Ok(outcome) => outcome,
            Err(SinkClosed) => Outcome::Closed,
        };
        RunEnd {
            checkpoint: self.checkpoint,
            definitions: self.definitions,
            run_id,
            reason: self.reason,
            request_id,
            outcome,
            expected_total: self.progress.borrow().expected_total,
        }
    }

    async fn settle(&mut self, result: Result<(), Stop>) -> Result<Outcome, SinkClosed> {
        let outcome = match result {
            Ok(()) => {
                self.outbox.drain().await?;
                self.succeed();
                Outcome::Succeeded
            }
            Err(Stop::Closed) => return Err(SinkClosed),
            Err(Stop::Restart) => {
                self.checkpoint.run = Some(Run {
                    run_id: new_run_id(),
                    reason: self.run.reason.clone(),
                    request_id: self.run.request_id.clone(),
                    started_at: self.run.started_at,
                    ..Run::default()
                });
                Outcome::Restarted
            }
            Err(Stop::Failed(error)) => {
                if self.reason == Reason::Confirm {
                    self.confirm_later();
                } else if error.advice == Advice::EndRun {
                    self.checkpoint.hold_until = Some(self.source.now().saturating_add(HOLD_MS));
                } else {
                    self.checkpoint.run = Some(self.run.clone());
                }
                Outcome::Failed(error)
            }
        };
        self.send_page(Vec::new(), Findings::default(), self.checkpoint.clone());
        self.outbox.drain().await?;
        Ok(outcome)
    }

    /// Advances the checkpoint past what was read.
    fn succeed(&mut self) {
        let lag = self.stream.settings.index_lag;
        let started_at = Some(self.run.started_at);
        let has_suspects = !self.sink.suspects().ids.is_empty();
        let request_id = self.run.request_id.take();
        let checkpoint = &mut self.checkpoint;
        checkpoint.last_success_at = Some(self.source.now());
        checkpoint.hold_until = None;
        match self.reason {
            Reason::Incremental | Reason::Requested => {
                let end = self.run.search.as_ref().map(|position| position.to);
                checkpoint.cursor = checkpoint.cursor.max(end);
                checkpoint.request_done = request_id.or(checkpoint.request_done.take());
            }
            Reason::Late => checkpoint.last_late_at = started_at,
            Reason::Archived => checkpoint.last_archived_at = started_at,
            Reason::Backfill | Reason::Full => {
                checkpoint.last_full_at = started_at;
                checkpoint.last_archived_at = started_at;
                checkpoint.full_wanted = self.run.definitions_grew;
                if let Some(position) = &self.run.list {
                    // The pass read every change before it began.
                    let before = Some(position.began_at.saturating_sub(lag));
                    checkpoint.cursor = checkpoint.cursor.max(before);
                }
                if has_suspects {
                    checkpoint.confirm_request = request_id.or(checkpoint.confirm_request.take());
                } else {
                    checkpoint.request_done = request_id.or(checkpoint.request_done.take());
                }
            }
            Reason::Confirm if has_suspects => self.confirm_later(),
            Reason::Confirm => {
                let request = checkpoint.confirm_request.take();
                checkpoint.request_done = request.or(checkpoint.request_done.take());
            }
        }
    }

    /// Suspects are read again after a while.
    fn confirm_later(&mut self) {
        let interval = self.stream.settings.confirm_interval;
        self.checkpoint.confirm_at = Some(self.source.now().saturating_add(interval));
    }
}

fn new_run_id() -> String {
    Uuid::now_v7().to_string()
}
