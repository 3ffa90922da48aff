//! Applies full passes: once everything that a pass saw is loaded, the rows that
//! it did not see are marked as deleted.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chassis::kafka::reader::partition_count;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use schemas::FullPass;

use super::rebuild::Rebuilds;
use crate::ingest::{StreamPass, TableSet, parts::Parts, store::inserter::describe};

/// Applies each full pass once it is loaded.
pub(crate) struct FullPassJob {
    pub(crate) parts: Arc<Parts>,
    /// All full passes are applied again after a rebuild.
    pub(crate) rebuilds: Arc<Rebuilds>,
    /// Reads the group's offsets without being a member.
    pub(crate) group: Arc<BaseConsumer>,
}

impl FullPassJob {
    /// Runs until the process stops.
    pub(crate) async fn run(self) {
        let mut done = HashSet::new();
        let mut exchanges = self.rebuilds.exchanges();
        loop {
            let pause = tokio::time::sleep(Duration::from_secs(1));
            if self.parts.context.unless_draining(pause).await.is_none() {
                return;
            }
            let now = self.rebuilds.exchanges();
            if std::mem::replace(&mut exchanges, now) != now {
                done.clear();
            }
            let mut todo = self.parts.control.full_passes();
            todo.retain(|it| !done.contains(&AppliedPass::from(it)));
            if todo.is_empty() {
                continue;
            }
            let Some(committed) = self.committed().await else {
                continue;
            };
            for it in todo {
                if is_loaded(&it.pass, &committed) && self.apply(&it).await {
                    done.insert(AppliedPass::from(&it));
                }
            }
        }
    }

    async fn apply(&self, it: &StreamPass) -> bool {
        let StreamPass {
            connection,
            object_type,
            pass,
        } = it;
        let target = it.target(self.parts.control.as_ref(), TableSet::Live);
        let marked = async {
            let preparer = &self.parts.preparer;
            preparer.apply(&target, pass.portal_id).await?;
            self.parts.store.mark_deleted(&target, pass).await
        };
        match marked.await {
            Ok(rows) => {
                tracing::info!(
                    connection,
                    object_type,
                    run_id = pass.run_id,
                    rows,
                    "full pass applied"
                );
                true
            }
            Err(error) => {
                let error = describe(&error);
                tracing::warn!(
                    connection,
                    object_type,
                    error,
                    "full pass cannot be applied now; will retry"
                );
                false
            }
        }
    }

    /// By partition, the group's committed offset; 0 if it was not committed for
    /// this warehouse. `None` if Kafka does not answer.
    async fn committed(&self) -> Option<Vec<i64>> {
        let group = Arc::clone(&self.group);
        let topic = self.parts.topics.records.clone();
        let id = self.parts.warehouse.borrow().clone();
        let read = tokio::task::spawn_blocking(move || {
            let partitions = partition_count(&group, &topic)?;
            let mut list = TopicPartitionList::new();
            for partition in 0..partitions {
                list.add_partition(&topic, partition);
            }
            let list = group.committed_offsets(list, Duration::from_secs(10))?;
            let mut offsets = vec![0; usize::try_from(partitions)?];
            for element in list.elements() {
                if let (Offset::Offset(offset), Ok(partition)) =
                    (element.offset(), usize::try_from(element.partition()))
                    && element.metadata() == id
                    && let Some(slot) = offsets.get_mut(partition)
                {
                    *slot = offset;
                }
            }
            anyhow::Ok(offsets)
        });
        match read.await {
            Ok(Ok(offsets)) => Some(offsets),
            Ok(Err(error)) => {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "cannot read the committed offsets"
                );
                None
            }
            Err(_) => None,
        }
    }
}

/// Identifies a full pass that was applied.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AppliedPass {
    connection: String,
    object_type: String,
    run_id: String,
}

impl From<&StreamPass> for AppliedPass {
    fn from(it: &StreamPass) -> Self {
        Self {
            connection: it.connection.clone(),
            object_type: it.object_type.clone(),
            run_id: it.pass.run_id.clone(),
        }
    }
}

/// Whether every record of a full pass is stored.
fn is_loaded(pass: &FullPass, committed: &[i64]) -> bool {
    pass.end_offsets
        .iter()
        .enumerate()
        .all(|(partition, end)| *end <= committed.get(partition).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_loaded_when_every_partition_has_reached_its_end() {
        let pass = FullPass {
            end_offsets: vec![3, 0, 7],
            ..FullPass::default()
        };
        assert!(is_loaded(&pass, &[3, 0, 9]));
        assert!(!is_loaded(&pass, &[3, 0, 6]));
        assert!(!is_loaded(&pass, &[3, 0]));
    }
}
