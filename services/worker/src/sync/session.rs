//! What the steps of one run share: the position, the definitions, the fetch
//! sequence, the pages on their way, and how a run begins and ends.
//!
//! It must not know how records are found.

use std::sync::Arc;

use schemas::{Checkpoint, Closing, Definitions, FullPass, ListPosition, Millis, Run};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Advice, Fetched, Object, Outcome, Page, Progress, Record, RunEnd, Sink, SinkClosed, Source,
    SourceError, StreamContext, definitions, outbox::Outbox,
};
use crate::schedule::{Reason, RunPlan, Start};

/// How long nothing starts after an answer that made no sense.
const HOLD_MS: Millis = 60_000;

/// Why a run ends before it is through.
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

/// One run under way.
pub(super) struct Session<'a, S, K> {
    pub(super) source: &'a S,
    pub(super) sink: &'a K,
    pub(super) stream: &'a StreamContext,
    pub(super) reason: Reason,
    pub(super) checkpoint: Checkpoint,
    pub(super) run: Run,
    pub(super) definitions: Arc<Definitions>,
    pub(super) outbox: Outbox<'a, K>,
    progress: &'a watch::Sender<Progress>,
    /// The definitions have not been written under their number.
    definitions_unsent: bool,
    full_pass: Option<FullPass>,
}

impl<'a, S: Source, K: Sink> Session<'a, S, K> {
    #[expect(
        clippy::too_many_arguments,
        reason = "each of them is its own, and the caller holds them apart"
    )]
    pub(super) fn new(
        source: &'a S,
        sink: &'a K,
        stream: &'a StreamContext,
        mut checkpoint: Checkpoint,
        plan: RunPlan,
        progress: &'a watch::Sender<Progress>,
    ) -> Self {
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
            (Start::GoOn, Some(run)) => Run {
                run_id: new_run_id(),
                records: 0,
                ..run
            },
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
            outbox: Outbox::new(sink),
            progress,
            definitions_unsent: false,
            full_pass: None,
        }
    }

    /// Reads the definitions, with which every run begins.
    pub(super) async fn begin(&mut self) -> Result<(), Stop> {
        let has_position = self.run.list.is_some() || self.run.search.is_some();
        let (at, grew) = self.read_definitions().await?;
        if !has_position {
            self.run.started_at = at;
            if self.reason.restarts_interval() {
                self.checkpoint.last_started_at = Some(at);
            }
        }
        if grew {
            // What a pass over both lists has not begun to read, it reads with
            // the new property.
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

    /// Reads the definitions again before the cursor passes what was read. A
    /// pass over the lists is not read again for it: another follows.
    pub(super) async fn confirm_definitions(&mut self) -> Result<(), Stop> {
        let (_, grew) = self.read_definitions().await?;
        if grew {
            self.checkpoint.full_wanted = true;
            self.run.definitions_grew = true;
            if !self.reason.reads_both_lists() {
                return Err(Stop::Restart);
            }
        }
        Ok(())
    }

    /// HubSpot's time of the request, and whether a property is new.
    async fn read_definitions(&mut self) -> Result<(Millis, bool), Stop> {
        let listed = self.source.definitions(&self.stream.object_type).await?;
        let floor = self.checkpoint.definitions_version;
        let change = definitions::merge(&self.definitions, listed.value, listed.sent_at, floor);
        let Some(change) = change else {
            return Ok((listed.sent_at, false));
        };
        self.checkpoint.definitions_version = change.definitions.version;
        self.definitions = Arc::new(change.definitions);
        self.definitions_unsent = true;
        Ok((listed.sent_at, change.grew))
    }

    /// The next fetch sequence, for an answer: no object has two reads in
    /// flight, so answers in their order are reads of any object in theirs.
    pub(super) fn sequence(&mut self, sent_at: Millis) -> i64 {
        let next = sent_at.max(self.checkpoint.fetch_sequence.saturating_add(1));
        self.checkpoint.fetch_sequence = next;
        next
    }

    /// Where a pass over the lists begins.
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

    /// Puts records on their way, with the position after them.
    pub(super) fn send(&mut self, records: Vec<Record>) {
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        self.run.records = self.run.records.saturating_add(count);
        self.checkpoint.records_total = self.checkpoint.records_total.saturating_add(count);
        let checkpoint = Checkpoint {
            run: Some(self.run.clone()),
            ..self.checkpoint.clone()
        };
        self.send_page(records, checkpoint);
    }

    fn send_page(&mut self, records: Vec<Record>, checkpoint: Checkpoint) {
        let definitions = std::mem::take(&mut self.definitions_unsent)
            .then(|| Definitions::clone(&self.definitions));
        self.outbox.push(Page {
            records,
            checkpoint,
            definitions,
        });
    }

    /// Ends the run: the last page says how.
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
            full_pass: self.full_pass,
            expected_total: self.progress.borrow().expected_total,
        }
    }

    async fn settle(&mut self, result: Result<(), Stop>) -> Result<Outcome, SinkClosed> {
        let outcome = match result {
            Ok(()) => {
                self.outbox.drain().await?;
                self.succeed().await?;
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
                if error.advice == Advice::EndRun {
                    self.checkpoint.hold_until = Some(self.source.now().saturating_add(HOLD_MS));
                } else {
                    self.checkpoint.run = Some(self.run.clone());
                }
                Outcome::Failed(error)
            }
        };
        self.send_page(Vec::new(), self.checkpoint.clone());
        self.outbox.drain().await?;
        Ok(outcome)
    }

    /// Moves the position behind what was read.
    async fn succeed(&mut self) -> Result<(), SinkClosed> {
        let lag = self.stream.settings.index_lag;
        let started_at = Some(self.run.started_at);
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
            Reason::Archived => {
                checkpoint.last_archived_at = started_at;
                if let Some(closing) = checkpoint.closing.take() {
                    self.close(closing).await?;
                }
            }
            Reason::Backfill | Reason::Full => {
                checkpoint.last_full_at = started_at;
                checkpoint.full_wanted = self.run.definitions_grew;
                if let Some(position) = &self.run.list {
                    // Every change before the pass began was read in it.
                    let before = Some(position.began_at.saturating_sub(lag));
                    checkpoint.cursor = checkpoint.cursor.max(before);
                    checkpoint.closing = Some(Closing {
                        run_id: self.run.run_id.clone(),
                        began_sequence: position.began_sequence,
                        request_id,
                    });
                }
            }
        }
        Ok(())
    }

    /// Ends a full pass: its last record is committed, so the ends of the log
    /// lie behind it.
    async fn close(&mut self, closing: Closing) -> Result<(), SinkClosed> {
        self.sink.settle().await?;
        let full_pass = FullPass {
            run_id: closing.run_id,
            portal_id: self.stream.portal_id,
            began_sequence: closing.began_sequence,
            end_offsets: self.sink.end_offsets().await?,
        };
        if closing.request_id.is_some() {
            self.checkpoint.request_done = closing.request_id;
        }
        self.checkpoint.full_pass = Some(full_pass.clone());
        self.full_pass = Some(full_pass);
        Ok(())
    }
}

/// Turns the objects of one answer into records, with a deletion for every id
/// that was merged into one of them. That has the winner's time, which is at
/// or behind the merge and so newer than anything of the loser.
pub(super) fn records(objects: Fetched<Vec<Object>>, sequence: i64, out: &mut Vec<Record>) {
    out.reserve(objects.value.len());
    for object in objects.value {
        for id in &object.merged_ids {
            if *id != object.id {
                let winner = Some((object.id, object.updated_at));
                let mut record = deletion(*id, winner, objects.sent_at, sequence);
                // So that a winner met in both lists says it once of each.
                record.object.archived = object.archived;
                out.push(record);
            }
        }
        out.push(Record {
            object,
            deleted: false,
            merged_into: None,
            fetched_at: objects.sent_at,
            fetch_sequence: sequence,
        });
    }
}

/// A record that says that an object is no more. Of one that is simply gone
/// the last-modified time is not known; it gets the time at which it was found
/// gone, which is newer than any version of it. Were the time too old, the
/// deletion would be passed over; too new does no harm, as neither an erased
/// nor a merged object comes back (an archived one is not gone).
pub(super) fn deletion(
    id: i64,
    winner: Option<(i64, Millis)>,
    fetched_at: Millis,
    fetch_sequence: i64,
) -> Record {
    Record {
        object: Object {
            id,
            updated_at: winner.map_or(fetched_at, |(_, updated_at)| updated_at),
            ..Object::default()
        },
        deleted: true,
        merged_into: winner.map(|(id, _)| id),
        fetched_at,
        fetch_sequence,
    }
}

fn new_run_id() -> String {
    Uuid::now_v7().to_string()
}
