//! Where a stream submits its pages to its partition's transactions, and what is
//! known of the stream from its submissions and their commits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use schemas::{
    Budget, Checkpoint, Definitions, EncodeError, IndexKey, Property, PropertySelection, Run,
    StreamStatus,
};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Committer, Item, commit_span::CommitSpan};
use crate::{
    crash,
    index::{StreamIndex, Write},
    messages::Message,
    schedule::{Size, Slot},
    status,
    sync::{Extent, Fetched, Listed, Page, Sink, SinkClosed, StreamOwner, Suspects, Taken},
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
    owner: StreamOwner,
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
    /// The checkpoint after it.
    pub(super) checkpoint: Checkpoint,
    /// Its message; taken by the transaction.
    pub(super) checkpoint_message: Option<Message>,
    /// The page's definitions; taken by the transaction.
    pub(super) definitions: Option<Message>,
    /// What the page changes in the index, and the verdict on a pass that it decides;
    /// taken by the transaction.
    pub(super) others: Vec<Message>,
    /// The run that the records belong to.
    pub(super) run: Option<Run>,
    pub(super) sequence: u64,
    pub(super) state: Arc<StreamState>,
    /// From here to the commit, in traces.
    pub(super) span: CommitSpan,
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
        self.known().owner.checkpoint.clone()
    }

    /// The run of a slot's page last submitted, also once it has ended.
    pub(crate) fn last_run(&self, slot: Slot) -> Option<Run> {
        self.known().owner.last_run(slot).cloned()
    }

    /// How many objects the stream has.
    pub(crate) fn size(&self) -> Size {
        self.known().owner.size()
    }

    /// The destination of the records from now on; see [`StreamOwner::set_destination`].
    pub(crate) fn set_destination(&self, destination: &str) {
        self.known().owner.set_destination(destination);
    }

    /// Which properties are read from now on; see [`StreamOwner::select_properties`].
    pub(crate) fn select_properties(&self, selection: Option<&PropertySelection>) {
        self.known().owner.select_properties(selection);
    }

    /// The log of records was made anew; see [`StreamOwner::start_log_anew`].
    pub(crate) fn start_log_anew(&self) {
        self.known().owner.start_log_anew();
    }

    /// All properties ever seen.
    pub(crate) fn definitions(&self) -> Arc<Definitions> {
        Arc::clone(&self.known().owner.definitions)
    }

    /// Whether nothing is known of any object.
    pub(crate) fn has_no_index(&self) -> bool {
        self.known().owner.index.is_empty()
    }

    /// Keys of all messages that the index topic has of the stream.
    pub(crate) fn index_keys(&self) -> Vec<IndexKey> {
        self.known().owner.index.keys()
    }

    /// Changes the stream's status, and returns it for the next message.
    pub(crate) fn view(&self, change: impl FnOnce(&mut StreamStatus)) -> StreamStatus {
        let mut known = self.known();
        change(&mut known.view);
        known.shown = known.sequence;
        known.written_at = Some(Instant::now());
        known.view.clone()
    }

    /// Changes how much of the account's limits is used, for the next status that is
    /// written.
    pub(crate) fn set_budget(&self, budget: Option<Budget>) {
        self.known().view.budget = budget;
    }

    /// The status after a page; `None` unless one is due to be written with it.
    /// A page is written later than it is submitted, so this never replaces a
    /// status that the stream has changed since.
    pub(super) fn progress(&self, sequence: u64, checkpoint: &Checkpoint) -> Option<StreamStatus> {
        let mut known = self.known();
        if sequence <= known.shown {
            return None;
        }
        status::track(&mut known.view, checkpoint);
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
        index: StreamIndex,
    ) -> Self {
        let mut view = StreamStatus {
            name: checkpoint.stream.clone(),
            // Until a run shows another one; a page may be written before that.
            phase: "waiting".to_owned(),
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
                owner: StreamOwner::new(checkpoint, definitions, index),
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

    fn encode(&self, checkpoint: &Checkpoint) -> Result<Message, EncodeError> {
        let messages = &self.committer.context.messages;
        messages.checkpoint(self.committer.partition, checkpoint)
    }

    fn encode_index(&self, writes: Vec<Write>) -> Result<Vec<Message>, EncodeError> {
        let messages = &self.committer.context.messages;
        let (partition, state) = (self.committer.partition, &self.state);
        let writes = writes.into_iter();
        writes
            .map(|write| messages.index(partition, &state.connection, &state.stream, write))
            .collect()
    }

    /// Waits until all pages submitted so far are committed.
    pub(crate) async fn settle(&self) -> Result<(), SinkClosed> {
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

    /// Estimate of the bytes that a page takes in memory.
    fn size(page: &Page) -> usize {
        let records: usize = page
            .records
            .iter()
            .map(|it| it.object.properties.encoded_len() + 256)
            .sum();
        records + page.seed.len() * 64 + 256
    }
}

impl Sink for StreamSink {
    async fn submit(&self, mut page: Page) -> Result<(), SinkClosed> {
        if self.state.failure().is_some() {
            return Err(SinkClosed);
        }
        let fail = |error| {
            self.state.fail(error);
            SinkClosed
        };
        let size = Self::size(&page).min(self.committer.capacity);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let span = CommitSpan::begin(page.records.len(), self.committer.partition);
        let permits = Arc::clone(&self.committer.permits)
            .acquire_many_owned(size)
            .await
            .or(Err(SinkClosed))?;
        let mut known = self.state.known();
        // Before anything is changed: what does not fit its schema never gets into a
        // transaction.
        self.encode(&known.owner.preview(&page)).map_err(fail)?;
        let messages = &self.committer.context.messages;
        let definitions = known.owner.unsent_definitions();
        let definitions = definitions.map(|it| messages.definitions(it)).transpose();
        let definitions = definitions.map_err(fail)?;
        let Taken {
            checkpoint,
            run,
            writes,
            verdict,
        } = known.owner.take(&mut page);
        let checkpoint_message = self.encode(&checkpoint).map_err(fail)?;
        let mut others = self.encode_index(writes).map_err(fail)?;
        if let Some(verdict) = verdict {
            status::decided(&mut known.view, &verdict);
            let (partition, connection) = (self.committer.partition, &self.state.connection);
            let message = messages.verdict(partition, connection, verdict);
            others.push(message.map_err(fail)?);
        }
        known.sequence += 1;
        let sequence = known.sequence;
        let state = Arc::clone(&self.state);
        let submitted = Submitted {
            page,
            checkpoint,
            checkpoint_message: Some(checkpoint_message),
            definitions,
            others,
            run,
            sequence,
            state,
            span,
            _permits: permits,
        };
        // Under the lock, so that the queue is in the order of the sequence.
        let sent = self.committer.items.send(Item::Page(Box::new(submitted)));
        drop(known);
        crash::point(crash::Point::AfterFetch);
        sent.or(Err(SinkClosed))
    }

    fn suspects(&self) -> Suspects {
        self.state.known().owner.suspects()
    }

    fn extent(&self, archived: bool) -> Extent {
        self.state.known().owner.extent(archived)
    }

    fn list_definitions(
        &self,
        listed: Fetched<Vec<Property>>,
        selection: Option<&PropertySelection>,
        begins_full_pass: bool,
    ) -> Listed {
        let mut known = self.state.known();
        known
            .owner
            .list_definitions(listed, selection, begins_full_pass)
    }
}
