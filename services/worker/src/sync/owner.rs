//! What is known of a stream from all that was submitted: checkpoint, definitions and
//! index. Each page goes through it before it is queued.

use std::sync::Arc;

use schemas::{Checkpoint, Definitions, Run};

use super::{Page, Suspects, admission::admit};
use crate::index::{StreamIndex, Write};

/// The one owner of a stream's state.
#[derive(Debug)]
pub(crate) struct StreamOwner {
    /// The checkpoint last submitted.
    pub(crate) checkpoint: Checkpoint,
    /// The definitions last submitted.
    pub(crate) definitions: Arc<Definitions>,
    /// The run of the page last submitted, also once it has ended.
    pub(crate) run: Option<Run>,
    /// What was submitted of each object.
    pub(crate) index: StreamIndex,
}

impl StreamOwner {
    /// The owner of what the log has.
    pub(crate) fn new(
        checkpoint: Checkpoint,
        definitions: Arc<Definitions>,
        index: StreamIndex,
    ) -> Self {
        Self {
            run: checkpoint.run.clone(),
            checkpoint,
            definitions,
            index,
        }
    }

    /// Takes a page: reduces it to what the log lacks, completes its checkpoint, and
    /// returns what it changes in the index.
    ///
    /// Counts of records are the owner's, as only it knows what is written, and so is
    /// when suspects are read again.
    pub(crate) fn take(&mut self, page: &mut Page) -> Vec<Write> {
        let entries = admit(&self.index, page);
        let writes = self.index.put(entries);
        let written = i64::try_from(page.records.len()).unwrap_or(i64::MAX);
        let checkpoint = &mut page.checkpoint;
        checkpoint.records_total = self.checkpoint.records_total.saturating_add(written);
        let counts = self.index.counts();
        checkpoint.confirm_at = (counts.live_suspects + counts.archived_suspects > 0).then(|| {
            let known = checkpoint.confirm_at.or(self.checkpoint.confirm_at);
            known.unwrap_or(page.findings.fetched_at)
        });
        let count = |before: Option<&Run>| {
            let before = before.map_or(0, |it| it.records);
            before.saturating_add(written)
        };
        if let Some(run) = &mut checkpoint.run {
            run.records = count(self.run.as_ref().filter(|it| it.run_id == run.run_id));
            self.run = Some(run.clone());
        } else if let Some(run) = &mut self.run {
            // The checkpoint of a run's last page no longer has the run.
            run.records = count(Some(run));
        }
        self.checkpoint = checkpoint.clone();
        if let Some(definitions) = &page.definitions {
            self.definitions = Arc::new(definitions.clone());
        }
        writes
    }

    /// The objects that seem to be gone.
    pub(crate) fn suspects(&self) -> Suspects {
        let counts = self.index.counts();
        let suspects = self.index.suspects();
        Suspects {
            ids: suspects.into_iter().map(|it| it.id).collect(),
            live_suspects: counts.live_suspects,
            live: counts.live,
        }
    }
}
