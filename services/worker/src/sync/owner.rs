//! What is known of a stream from all that was submitted: checkpoint, definitions and
//! index. Each page goes through it before it is queued.

use std::sync::Arc;

use schemas::{
    Checkpoint, ContentHasher, Definitions, Millis, Property, PropertySelection, Run, Verdict,
};

use super::{Change, Extent, Fetched, Page, Suspects, admission::admit, definitions};
use crate::{
    index::{StreamIndex, Write},
    schedule::{Size, Slot},
};

/// The one owner of a stream's state.
#[derive(Debug)]
pub(crate) struct StreamOwner {
    /// The checkpoint last submitted.
    pub(crate) checkpoint: Checkpoint,
    /// All properties ever seen.
    pub(crate) definitions: Arc<Definitions>,
    /// Of these definitions.
    hasher: ContentHasher,
    /// Whether the definitions go into the next page.
    definitions_unsent: bool,
    /// The version in which a property last appeared while this process had the stream.
    grown_version: i64,
    /// What was submitted of each object.
    pub(crate) index: StreamIndex,
    /// The runs of the pages last submitted, also once they have ended.
    last_runs: [Option<Run>; 3],
    /// Which properties the last command selects.
    selection: Selection,
}

/// Which properties are read.
#[derive(Debug, PartialEq, Eq)]
enum Selection {
    /// No command has said so to this process.
    Unknown,
    /// These; `None` for all.
    Of(Option<PropertySelection>),
}

/// What a page becomes.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The checkpoint after it.
    pub(crate) checkpoint: Checkpoint,
    /// The run that the records belong to.
    pub(crate) run: Option<Run>,
    /// What it changes in the index.
    pub(crate) writes: Vec<Write>,
    /// What the log has after it, if it decides the last object that seemed to be gone
    /// at the end of a pass.
    pub(crate) verdict: Option<Verdict>,
}

/// The definitions after they were listed.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// All properties ever seen.
    pub(crate) definitions: Arc<Definitions>,
    /// The version in which a property last appeared while this process had the stream.
    pub(crate) grown_version: i64,
    /// The last fetch sequence that was used.
    pub(crate) fetch_sequence: i64,
}

impl StreamOwner {
    /// The owner of what the log has.
    pub(crate) fn new(
        checkpoint: Checkpoint,
        definitions: Arc<Definitions>,
        index: StreamIndex,
    ) -> Self {
        Self {
            last_runs: Slot::ALL.map(|slot| slot.of(&checkpoint).cloned()),
            checkpoint,
            hasher: ContentHasher::new(&definitions),
            definitions,
            definitions_unsent: false,
            grown_version: 0,
            index,
            selection: Selection::Unknown,
        }
    }

    /// Takes the properties that the portal lists. If other ones are to be read than
    /// before, all runs under way have read records without them or with them, and a full
    /// pass is due, unless the reader is one that begins.
    pub(crate) fn list_definitions(
        &mut self,
        listed: Fetched<Vec<Property>>,
        selection: Option<&PropertySelection>,
        begins_full_pass: bool,
    ) -> Listed {
        let floor = self.checkpoint.definitions_version;
        let sent_at = listed.sent_at;
        let listed = definitions::select(listed.value, selection);
        let change = definitions::merge(&self.definitions, listed, sent_at, floor);
        if let Some(change) = change {
            let version = change.definitions.version;
            self.hasher = ContentHasher::new(&change.definitions);
            self.definitions = Arc::new(change.definitions);
            self.definitions_unsent = true;
            if change.grew {
                self.grown_version = version;
                self.checkpoint.full_wanted |= !begins_full_pass;
                let Checkpoint {
                    pass,
                    increments,
                    check,
                    ..
                } = &mut self.checkpoint;
                for run in [pass, increments, check].into_iter().flatten() {
                    run.definitions_grew = true;
                }
            }
        }
        // Also for a new stream of a portal whose definitions are known.
        self.checkpoint.definitions_version = floor.max(self.definitions.version);
        Listed {
            definitions: Arc::clone(&self.definitions),
            grown_version: self.grown_version,
            fetch_sequence: self.checkpoint.fetch_sequence,
        }
    }

    /// What was submitted of the objects of a list.
    pub(crate) fn extent(&self, archived: bool) -> Extent {
        let counts = self.index.counts();
        let objects = if archived {
            counts.archived
        } else {
            counts.live
        };
        Extent {
            ids: self.index.spread_ids(),
            objects: i64::try_from(objects).ok(),
            ..Extent::default()
        }
    }

    /// The checkpoint after a page, but for what the owner counts.
    pub(crate) fn preview(&self, page: &Page) -> Checkpoint {
        let mut checkpoint = self.checkpoint.clone();
        page.change.apply(&mut checkpoint, false);
        checkpoint
    }

    /// New definitions, which are written before the records of the next page.
    pub(crate) fn unsent_definitions(&self) -> Option<&Definitions> {
        self.definitions_unsent.then_some(&*self.definitions)
    }

    /// Takes a page, with the definitions that were unsent: numbers its reads, reduces it
    /// to what the log lacks, and applies what it changes in the checkpoint.
    pub(crate) fn take(&mut self, page: &mut Page) -> Taken {
        self.number(page);
        for record in &mut page.records {
            record.content_hash = record.hash(&mut self.hasher);
        }
        let entries = admit(&self.index, page);
        let writes = self.index.put(entries);
        let counts = self.index.counts();
        let has_suspects = counts.live_suspects + counts.archived_suspects > 0;
        let written = i64::try_from(page.records.len()).unwrap_or(i64::MAX);
        let checkpoint = &mut self.checkpoint;
        page.change.apply(checkpoint, has_suspects);
        let run = if let Change::Run(change) = &page.change {
            let slot = change.reason.slot();
            let last = slot.of_array_mut(&mut self.last_runs);
            let before = last.take().filter(|it| it.run_id == change.run.run_id);
            let run = Run {
                records: before.map_or(0, |it| it.records).saturating_add(written),
                ..change.run.clone()
            };
            let known = slot.of_mut(checkpoint).as_mut();
            if let Some(known) = known.filter(|it| it.run_id == run.run_id) {
                known.records = run.records;
            }
            let closed = checkpoint.closed_pass.as_mut();
            if let Some(closed) = closed.filter(|it| it.run_id == run.run_id) {
                closed.changed = run.records;
            }
            *last = Some(run.clone());
            Some(run)
        } else {
            None
        };
        checkpoint.records_total = checkpoint.records_total.saturating_add(written);
        checkpoint.confirm_at =
            has_suspects.then(|| checkpoint.confirm_at.unwrap_or(page.findings.fetched_at));
        if let Some(closed) = &mut checkpoint.closed_pass {
            let deletions = page.records.iter().filter(|it| it.deleted).count();
            closed.deleted += i64::try_from(deletions).unwrap_or(0);
        }
        self.definitions_unsent = false;
        let verdict = (!has_suspects).then(|| self.decide(page)).flatten();
        Taken {
            checkpoint: self.checkpoint.clone(),
            run,
            writes,
            verdict,
        }
    }

    /// Says what the log has, if a pass is closed: no object seems to be gone any more.
    fn decide(&mut self, page: &Page) -> Option<Verdict> {
        let closed = self.checkpoint.closed_pass.take()?;
        let checkpoint = &mut self.checkpoint;
        if closed.request_id.is_some() {
            checkpoint.request_done.clone_from(&closed.request_id);
        }
        let ended_at = checkpoint.last_success_at.unwrap_or(closed.started_at);
        Some(Verdict {
            stream: checkpoint.stream.clone(),
            portal_id: checkpoint.portal_id,
            run_id: closed.run_id,
            reason: closed.reason,
            request_id: closed.request_id,
            started_at: closed.started_at,
            finished_at: ended_at.max(page.findings.fetched_at),
            fetch_sequence: checkpoint.fetch_sequence,
            objects: i64::try_from(self.index.counts().live).unwrap_or(i64::MAX),
            changed: closed.changed,
            deleted: closed.deleted,
            unreadable: closed.unreadable,
            ranges: self.index.digest(),
        })
    }

    /// The destination of the records from now on. A pass that writes every object is due
    /// if they had another one before: it lacks what was written to that.
    pub(crate) fn set_destination(&mut self, destination: &str) {
        let checkpoint = &mut self.checkpoint;
        if checkpoint.destination != destination {
            checkpoint.rewrite_wanted |=
                !checkpoint.destination.is_empty() && checkpoint.cursor.is_some();
            destination.clone_into(&mut checkpoint.destination);
        }
    }

    /// Which properties are read from now on. If that has changed, a full pass is due at
    /// once, however short the time since one for new properties.
    pub(crate) fn select_properties(&mut self, selection: Option<&PropertySelection>) {
        let selection = Selection::Of(selection.cloned());
        let before = std::mem::replace(&mut self.selection, selection);
        if before != Selection::Unknown && before != self.selection {
            self.checkpoint.full_wanted |= self.checkpoint.cursor.is_some();
            self.checkpoint.last_growth_at = None;
        }
    }

    /// The log of records lacks what was written, so a pass has to write every object.
    pub(crate) fn start_log_anew(&mut self) {
        self.checkpoint.records_total = 0;
        self.checkpoint.rewrite_wanted = true;
    }

    /// How many objects the stream has.
    pub(crate) fn size(&self) -> Size {
        let counts = self.index.counts();
        Size {
            live: counts.live,
            archived: counts.archived,
        }
    }

    /// Gives each answer of a page the next fetch sequence.
    fn number(&mut self, page: &mut Page) {
        let last = &mut self.checkpoint.fetch_sequence;
        let mut next = |sent_at: Millis| {
            *last = sent_at.max(last.saturating_add(1));
            *last
        };
        let mut answer = None;
        for record in &mut page.records {
            let known = answer.filter(|(sent_at, _)| *sent_at == record.fetched_at);
            let (_, sequence) =
                known.unwrap_or_else(|| (record.fetched_at, next(record.fetched_at)));
            answer = Some((record.fetched_at, sequence));
            record.fetch_sequence = sequence;
        }
        if page.findings.says_anything() {
            page.findings.sequence = next(page.findings.fetched_at);
        }
    }

    /// The run of a slot's page last submitted, also once it has ended.
    pub(crate) fn last_run(&self, slot: Slot) -> Option<&Run> {
        slot.of_array(&self.last_runs).as_ref()
    }

    /// The objects that seem to be gone.
    pub(crate) fn suspects(&self) -> Suspects {
        let counts = self.index.counts();
        let suspects = self.index.suspects();
        Suspects {
            ids: suspects.into_iter().map(|it| it.id).collect(),
            live: counts.live_suspects,
            live_objects: counts.live,
            archived: counts.archived_suspects,
            archived_objects: counts.archived,
        }
    }
}
