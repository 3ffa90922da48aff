//! Where a stream submits its pages to its partition's transactions, and what is
//! known of the stream from its submissions and their commits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use schemas::{Checkpoint, Definitions, EncodeError, Run, StreamStatus};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Committer, Item};
use crate::{
    crash,
    messages::Message,
    status,
    sync::{Page, Sink, SinkClosed},
};

/// How often a stream's progress is written while it runs.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of a stream, from its submissions and their commits.
#[derive(Debug)]
pub(crate) struct StreamState {
    connection: String,
    stream: String,
    known: Mutex<Known>,
    committed: watch::Sender<u64>,
    /// Why the sink accepts no page.
    failure: Mutex<Option<EncodeError>>,
}

#[derive(Debug)]
struct Known {
    sequence: u64,
    checkpoint: Checkpoint,
    definitions: Arc<Definitions>,
    run: Option<Run>,
    view: StreamStatus,
    /// The last page that the status covers: the one submitted last when the
    /// stream itself changed its status.
    shown: u64,
    written_at: Option<Instant>,
}

/// A page in the queue. Dropping it frees its share of the queue's bytes.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) page: Page,
    /// The page's checkpoint; taken by the transaction.
    pub(super) checkpoint: Option<Message>,
    /// The page's definitions; taken by the transaction.
    pub(super) definitions: Option<Message>,
    pub(super) run: Option<Run>,
    pub(super) sequence: u64,
    pub(super) state: Arc<StreamState>,
    _permits: OwnedSemaphorePermit,
}

impl StreamState {
    /// Name of the connection.
    pub(crate) fn connection(&self) -> &str {
        &self.connection
    }

    /// Object type.
    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    /// The checkpoint last submitted; after a settle, the one in the log.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.known().checkpoint.clone()
    }

    /// The run of the page last submitted, also once it has ended.
    pub(crate) fn last_run(&self) -> Option<Run> {
        self.known().run.clone()
    }

    /// The definitions last submitted.
    pub(crate) fn definitions(&self) -> Arc<Definitions> {
        Arc::clone(&self.known().definitions)
    }

    /// Changes the stream's status, and returns it for the next message.
    pub(crate) fn view(&self, change: impl FnOnce(&mut StreamStatus)) -> StreamStatus {
        let mut known = self.known();
        change(&mut known.view);
        known.shown = known.sequence;
        known.written_at = Some(Instant::now());
        known.view.clone()
    }

    /// The status after a page; `None` unless one is due to be written with it.
    /// A page is written later than it is submitted, so this never replaces a
    /// status that the stream has changed since.
    pub(super) fn progress(
        &self,
        sequence: u64,
        checkpoint: &Checkpoint,
        run: Option<&Run>,
    ) -> Option<StreamStatus> {
        let mut known = self.known();
        if sequence <= known.shown {
            return None;
        }
        status::track(&mut known.view, checkpoint);
        if let Some(run) = run {
            known.view.run_records = run.records;
        }
        if known
            .written_at
            .is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL)
        {
            return None;
        }
        known.written_at = Some(Instant::now());
        Some(known.view.clone())
    }

    pub(super) fn committed(&self, sequence: u64) {
        self.committed.send_if_modified(|committed| {
            let grew = sequence > *committed;
            *committed = sequence.max(*committed);
            grew
        });
    }

    /// Closes the sink, as a value of the stream does not fit its schema.
    pub(super) fn fail(&self, error: EncodeError) {
        self.failure().get_or_insert(error);
    }

    /// Why the sink accepts no page; it accepts the next one.
    pub(crate) fn take_failure(&self) -> Option<EncodeError> {
        self.failure().take()
    }

    fn failure(&self) -> MutexGuard<'_, Option<EncodeError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink of one stream. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StreamSink {
    committer: Committer,
    state: Arc<StreamState>,
}

impl StreamSink {
    pub(super) fn new(
        committer: Committer,
        checkpoint: Checkpoint,
        definitions: Arc<Definitions>,
    ) -> Self {
        let mut view = StreamStatus {
            name: checkpoint.stream.clone(),
            ..StreamStatus::default()
        };
        status::track(&mut view, &checkpoint);
        let state = StreamState {
            connection: checkpoint.connection.clone(),
            stream: checkpoint.stream.clone(),
            committed: watch::channel(0).0,
            failure: Mutex::default(),
            known: Mutex::new(Known {
                sequence: 0,
                run: checkpoint.run.clone(),
                checkpoint,
                definitions,
                view,
                shown: 0,
                written_at: None,
            }),
        };
        Self {
            committer,
            state: Arc::new(state),
        }
    }

    /// What is known of the stream.
    pub(crate) fn state(&self) -> &Arc<StreamState> {
        &self.state
    }

    /// Where the partition's messages are queued.
    pub(crate) fn committer(&self) -> &Committer {
        &self.committer
    }

    /// The messages of a page's checkpoint and definitions. They are made before the
    /// page is accepted: what does not fit its schema never gets into a transaction.
    fn encode(&self, page: &Page) -> Result<(Message, Option<Message>), EncodeError> {
        let messages = &self.committer.context.messages;
        let checkpoint = messages.checkpoint(self.committer.partition, &page.checkpoint)?;
        let definitions = page.definitions.as_ref().map(|it| messages.definitions(it));
        Ok((checkpoint, definitions.transpose()?))
    }

    /// Estimate of the bytes that a page takes in memory.
    fn size(page: &Page) -> usize {
        let records: usize = page
            .records
            .iter()
            .map(|it| it.object.properties.encoded_len() + 256)
            .sum();
        records
            + page
                .definitions
                .as_ref()
                .map_or(0, |it| it.properties.len() * 256)
            + 256
    }
}

impl Sink for StreamSink {
    async fn submit(&self, page: Page) -> Result<(), SinkClosed> {
        if self.state.failure().is_some() {
            return Err(SinkClosed);
        }
        let (checkpoint, definitions) = self.encode(&page).map_err(|error| {
            self.state.fail(error);
            SinkClosed
        })?;
        let size = Self::size(&page).min(self.committer.capacity);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let permits = Arc::clone(&self.committer.permits)
            .acquire_many_owned(size)
            .await
            .or(Err(SinkClosed))?;
        let mut known = self.state.known();
        known.sequence += 1;
        let before = known.checkpoint.records_total;
        known.checkpoint = page.checkpoint.clone();
        if let Some(definitions) = &page.definitions {
            known.definitions = Arc::new(definitions.clone());
        }
        // The checkpoint of a run's last page no longer has the run.
        let ended = known.run.clone().map(|mut run| {
            run.records += page.checkpoint.records_total - before;
            run
        });
        let run = page.checkpoint.run.clone().or(ended);
        known.run.clone_from(&run);
        let sequence = known.sequence;
        let state = Arc::clone(&self.state);
        let submitted = Submitted {
            page,
            checkpoint: Some(checkpoint),
            definitions,
            run,
            sequence,
            state,
            _permits: permits,
        };
        // Under the lock, so that the queue is in the order of the sequence.
        let sent = self.committer.items.send(Item::Page(Box::new(submitted)));
        drop(known);
        crash::point(crash::Point::AfterFetch);
        sent.or(Err(SinkClosed))
    }

    async fn settle(&self) -> Result<(), SinkClosed> {
        let goal = self.state.known().sequence;
        let mut committed = self.state.committed.subscribe();
        tokio::select! {
            biased;
            settled = committed.wait_for(|committed| *committed >= goal) => {
                settled.map(drop).or(Err(SinkClosed))
            }
            () = self.committer.ended() => {
                if *self.state.committed.borrow() >= goal { Ok(()) } else { Err(SinkClosed) }
            }
        }
    }

    async fn end_offsets(&self) -> Result<Vec<i64>, SinkClosed> {
        self.committer.end_offsets().await
    }
}
