//! Membership of the consumer group: rebalance callbacks, client statistics and
//! commits.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use metrics::gauge;
use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    topic_partition_list::TopicPartitionListElem,
};
use tokio::sync::watch;

use super::{guard::AssignmentGuard, metadata};
use crate::ingest::{Commits, metrics as names};

/// How long a revocation waits for the batch in flight. A longer wait would hold
/// up the rebalance of the whole group.
const REVOKE_LIMIT: Duration = Duration::from_secs(10);

/// A rebalance that the poller has to apply.
#[derive(Debug)]
pub(super) enum Event {
    Revoked,
    Assigned(Vec<i32>),
}

/// Callbacks of the consumer.
pub(crate) struct GroupContext {
    guard: Arc<AssignmentGuard>,
    topic: String,
    events: Mutex<Vec<Event>>,
    ends: Mutex<HashMap<i32, i64>>,
    /// Whether a broker is connected.
    pub(super) connected: AtomicBool,
}

impl GroupContext {
    pub(crate) fn new(guard: Arc<AssignmentGuard>, topic: &str) -> Self {
        Self {
            guard,
            topic: topic.to_owned(),
            events: Mutex::default(),
            ends: Mutex::default(),
            connected: AtomicBool::new(true),
        }
    }

    /// By partition, its end offset when the consumer last reached it.
    pub(super) fn ends(&self) -> MutexGuard<'_, HashMap<i32, i64>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rebalances that the poller has not applied yet.
    pub(super) fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for GroupContext {
    fn stats(&self, statistics: Statistics) {
        let connected = statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP");
        self.connected.store(connected, Ordering::Relaxed);
        let Some(topic) = statistics.topics.get(&self.topic) else {
            return;
        };
        let mut ends = self.ends();
        for (partition, state) in &topic.partitions {
            if *partition < 0 || !state.desired {
                continue;
            }
            if state.eof_offset >= 0 {
                ends.insert(*partition, state.eof_offset);
            }
            if state.consumer_lag >= 0 {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                gauge!(names::LAG, "partition" => partition.to_string())
                    .set(state.consumer_lag as f64);
            }
        }
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) => {
                // The next owner reports them.
                for partition in partitions.elements() {
                    let partition = partition.partition().to_string();
                    gauge!(names::LAG, "partition" => partition).set(0.0);
                }
                self.guard.revoke(REVOKE_LIMIT);
                self.events().push(Event::Revoked);
            }
            Rebalance::Assign(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            let partitions = list
                .elements()
                .iter()
                .map(TopicPartitionListElem::partition)
                .collect();
            self.events().push(Event::Assigned(partitions));
        }
    }
}

/// Commits offsets as a member of the group.
pub(crate) struct GroupCommits {
    pub(crate) consumer: Arc<BaseConsumer<GroupContext>>,
    pub(crate) topic: String,
    pub(crate) warehouse: watch::Receiver<String>,
}

#[async_trait]
impl Commits for GroupCommits {
    async fn commit(
        &self,
        next: &BTreeMap<i32, i64>,
        read: &BTreeMap<i32, i64>,
    ) -> Result<(), String> {
        let id = self.warehouse.borrow().clone();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in next {
            let mut element = list.add_partition(&self.topic, *partition);
            element
                .set_offset(Offset::Offset(*offset))
                .map_err(|error| error.to_string())?;
            let read = read.get(partition).copied().unwrap_or(*offset);
            element.set_metadata(metadata::beside(&id, *offset, read));
        }
        let consumer = Arc::clone(&self.consumer);
        tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }
}

impl fmt::Debug for GroupCommits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommits")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
