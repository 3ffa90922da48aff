//! Targets whose tables fail while others work. Their rows wait in Kafka, not in memory:
//! of each partition only the lowest offset is kept that is not stored, below which
//! nothing is committed. One row is tried again from time to time; once it is stored,
//! the partitions are read again from those offsets, and what the other targets have
//! already replaces itself.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chassis::Health;
use metrics::gauge;
use tokio::{task::JoinSet, time::Instant};

use super::inserter::Inserter;
use crate::ingest::{
    StoreError, StoreErrorKind, Target,
    conditions::TARGETS,
    decode::router::{DecodedMessages, RowGroup},
    metrics as names,
};

/// Time from a failed attempt to the next one: grows up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Time limit of one attempt.
const ATTEMPT_LIMIT: Duration = Duration::from_mins(1);

/// Why targets wait, for the API. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct WaitingReasons(Arc<Mutex<HashMap<Target, String>>>);

impl WaitingReasons {
    /// The streams of a connection that wait, and why.
    pub(crate) fn of(&self, connection: &str) -> BTreeMap<String, String> {
        let reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = reasons.iter().filter(|(it, _)| it.connection == connection);
        of_it
            .map(|(target, why)| (target.object_type.clone(), why.clone()))
            .collect()
    }

    fn set(&self, all: HashMap<Target, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// A target that waits.
#[derive(Debug)]
struct Waiting {
    /// By partition, the lowest offset that is not stored.
    lowest: BTreeMap<i32, i64>,
    error: String,
    /// One row of it, to try with.
    row: Arc<(DecodedMessages, RowGroup)>,
    next: Instant,
    pause: Duration,
    is_tried: bool,
}

/// The targets that wait.
#[derive(Debug)]
pub(crate) struct WaitingTargets {
    by_target: HashMap<Target, Waiting>,
    attempts: JoinSet<(Target, Result<(), StoreError>)>,
    health: Health,
    reasons: WaitingReasons,
}

impl WaitingTargets {
    pub(crate) fn new(health: Health, reasons: WaitingReasons) -> Self {
        Self {
            by_target: HashMap::new(),
            attempts: JoinSet::new(),
            health,
            reasons,
        }
    }

    /// Forgets all of them: everything that is not committed is read again.
    pub(crate) fn clear(&mut self) {
        self.attempts.abort_all();
        self.by_target.clear();
        self.show();
    }

    /// Adds the rows of a group to those that wait, if its target does.
    pub(crate) fn takes(&mut self, decoded: &DecodedMessages, group: &RowGroup) -> bool {
        let Some(waiting) = self.by_target.get_mut(&group.target) else {
            return false;
        };
        lower(&mut waiting.lowest, decoded, group);
        true
    }

    /// Lets the rows of a group wait, after this error.
    pub(crate) fn add(&mut self, decoded: &DecodedMessages, group: &RowGroup, error: &StoreError) {
        let Target {
            connection,
            destination,
            object_type,
            ..
        } = &group.target;
        let error = error.describe();
        tracing::warn!(
            connection,
            destination,
            object_type,
            error,
            "the tables of this stream cannot be stored into; its records wait in Kafka, the \
             others load on"
        );
        let first = group.rows.first().and_then(|index| decoded.only(*index));
        let Some(first) = first else { return };
        let one = RowGroup {
            rows: vec![0],
            ..group.clone()
        };
        let mut waiting = Waiting {
            lowest: BTreeMap::new(),
            error,
            row: Arc::new((first, one)),
            next: Instant::now() + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            is_tried: false,
        };
        lower(&mut waiting.lowest, decoded, group);
        self.by_target.insert(group.target.clone(), waiting);
        self.show();
    }

    /// Lowers offsets to commit to what every target has.
    pub(crate) fn cap(&self, next: &mut BTreeMap<i32, i64>) {
        for waiting in self.by_target.values() {
            for (partition, lowest) in &waiting.lowest {
                if let Some(offset) = next.get_mut(partition) {
                    *offset = (*offset).min(*lowest);
                }
            }
        }
    }

    /// Starts the attempts that are due. Returns the offsets from which to read again,
    /// by partition, because a target works again, or because `is_hopeless` says that
    /// its rows will never be stored.
    pub(crate) fn try_again(
        &mut self,
        inserter: &Arc<Inserter>,
        is_hopeless: impl Fn(&Target, StoreErrorKind) -> bool,
    ) -> BTreeMap<i32, i64> {
        let mut again: BTreeMap<i32, i64> = BTreeMap::new();
        while let Some(ended) = self.attempts.try_join_next() {
            let Ok((target, outcome)) = ended else {
                continue;
            };
            let is_over = outcome
                .as_ref()
                .map_or_else(|error| is_hopeless(&target, error.kind), |()| true);
            if is_over {
                let waited = self.by_target.remove(&target);
                for (partition, lowest) in waited.into_iter().flat_map(|it| it.lowest) {
                    let offset = again.entry(partition).or_insert(lowest);
                    *offset = lowest.min(*offset);
                }
                let (connection, object_type) = (&target.connection, &target.object_type);
                tracing::info!(connection, object_type, "the stream is loaded on");
            } else if let Some(waiting) = self.by_target.get_mut(&target) {
                waiting.is_tried = false;
                waiting.pause = waiting.pause.saturating_mul(2).min(LONGEST_PAUSE);
                waiting.next = Instant::now() + waiting.pause;
                if let Err(error) = outcome {
                    waiting.error = error.describe();
                }
            }
            self.show();
        }
        let now = Instant::now();
        for (target, waiting) in &mut self.by_target {
            if waiting.is_tried || waiting.next > now {
                continue;
            }
            waiting.is_tried = true;
            let (inserter, target) = (Arc::clone(inserter), target.clone());
            let row = Arc::clone(&waiting.row);
            self.attempts.spawn(async move {
                let attempt = inserter.try_store(&row.0, &row.1);
                let outcome = tokio::time::timeout(ATTEMPT_LIMIT, attempt).await;
                let outcome = outcome.unwrap_or_else(|_| {
                    let kind = StoreErrorKind::Target;
                    Err(StoreError::new(kind, "the store did not answer in time"))
                });
                (target, outcome)
            });
        }
        again
    }

    /// Shows which targets wait and why, in the readiness, a metric and the API.
    fn show(&self) {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        gauge!(names::WAITING_TARGETS).set(self.by_target.len() as f64);
        let why = self.by_target.iter();
        let why: HashMap<_, _> = why
            .map(|(it, how)| (it.clone(), how.error.clone()))
            .collect();
        let mut shown: Vec<_> = why
            .iter()
            .map(|(it, why)| format!("{} of {}: {why}", it.object_type, it.destination))
            .collect();
        shown.sort();
        if shown.is_empty() {
            self.health.holds(TARGETS);
        } else {
            self.health.fails(TARGETS, shown.join("; "));
        }
        self.reasons.set(why);
    }
}

/// Lowers offsets to those of a group.
fn lower(lowest: &mut BTreeMap<i32, i64>, decoded: &DecodedMessages, group: &RowGroup) {
    let messages = group.rows.iter();
    for message in messages.filter_map(|index| decoded.messages.get(*index)) {
        let offset = lowest.entry(message.partition).or_insert(message.offset);
        *offset = message.offset.min(*offset);
    }
}
