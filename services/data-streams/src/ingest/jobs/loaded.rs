//! Waits until what the log has is stored, or lets what it has of a connection be
//! skipped.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chassis::kafka::reader::TopicReader;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use super::JobError;
use crate::ingest::{parts::Parts, poll::metadata};

/// Time between two looks at the committed offsets.
const PAUSE: Duration = Duration::from_millis(500);

/// Time until every member has noticed what is to be skipped.
const NOTICE: Duration = Duration::from_secs(3);

/// How long Kafka may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The ends of partitions, and the offsets that the group has committed.
struct Offsets {
    consumer: BaseConsumer,
    topic: String,
    /// By partition, the offset after its last message, be that committed or not.
    ends: BTreeMap<i32, i64>,
}

/// Waits until every record that the log has now is stored, by whichever member of the
/// group: until the committed offsets have reached the present ends of all partitions.
/// Records that wait for their tables are not waited for; false where there are some.
pub(crate) async fn until_loaded(parts: Arc<Parts>) -> Result<bool, JobError> {
    let settings = Arc::clone(&parts);
    let offsets = Arc::new(blocking(move || Offsets::of(&settings)).await?);
    let is_all = loop {
        let asked = Arc::clone(&offsets);
        let warehouse = parts.warehouse.borrow().clone();
        let loaded = blocking(move || asked.loaded(&warehouse)).await?;
        if let Some(is_all) = loaded {
            break is_all;
        }
        let pause = tokio::time::sleep(PAUSE);
        let waited = parts.context.unless_draining(pause).await;
        waited.ok_or(JobError::Stopped)?;
    };
    // Closing a client blocks.
    blocking(move || {
        drop(offsets);
        Ok(is_all)
    })
    .await
}

/// From now on, no member of the group stores what the log has of these connections.
pub(crate) async fn skip(parts: Arc<Parts>, connections: &[String]) -> Result<(), JobError> {
    let settings = Arc::clone(&parts);
    let ends = blocking(move || {
        let config = settings.reader("ends");
        Ok(TopicReader::ends_of(&config, &settings.topics.records)?)
    });
    let ends = ends.await?;
    let topic = &parts.topics.records;
    for connection in connections {
        parts.store.note_purged(connection, topic, &ends).await?;
    }
    tokio::time::sleep(NOTICE).await;
    Ok(())
}

impl Offsets {
    fn of(parts: &Parts) -> anyhow::Result<Self> {
        let topic = parts.topics.records.clone();
        let config = parts
            .settings
            .kafka
            .consumer("data-streams.offsets", &parts.group());
        let ends = TopicReader::ends_of(&config, &topic)?;
        let consumer: BaseConsumer = config.create()?;
        Ok(Self {
            consumer,
            topic,
            ends,
        })
    }

    /// Once the committed offsets are of this warehouse and have reached the ends but for
    /// records that wait: whether there are none of those.
    fn loaded(&self, warehouse: &str) -> anyhow::Result<Option<bool>> {
        let mut list = TopicPartitionList::new();
        for partition in self.ends.keys() {
            list.add_partition(&self.topic, *partition);
        }
        let committed = self.consumer.committed_offsets(list, ANSWER_LIMIT)?;
        let (mut positions, mut read) = (BTreeMap::new(), BTreeMap::new());
        for element in committed.elements() {
            element.error()?;
            let Offset::Offset(offset) = element.offset() else {
                continue;
            };
            let (of_warehouse, read_to) = metadata::parse(element.metadata(), offset);
            if of_warehouse == warehouse {
                positions.insert(element.partition(), offset);
                read.insert(element.partition(), read_to);
            }
        }
        let is_loaded = have_reached(&read, &self.ends);
        Ok(is_loaded.then(|| have_reached(&positions, &self.ends)))
    }
}

/// Whether every position is at the end of its partition. A partition without messages
/// has no position.
fn have_reached(positions: &BTreeMap<i32, i64>, ends: &BTreeMap<i32, i64>) -> bool {
    ends.iter().all(|(partition, end)| {
        let position = positions.get(partition).copied().unwrap_or_default();
        position >= *end
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, JobError> {
    super::flatten(tokio::task::spawn_blocking(work).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_to_be_stored_to_its_end() {
        let ends = BTreeMap::from([(0, 10), (1, 0), (2, 7)]);
        let reached =
            |positions: &[(i32, i64)]| have_reached(&positions.iter().copied().collect(), &ends);
        assert!(reached(&[(0, 10), (2, 7)]));
        assert!(reached(&[(0, 12), (1, 3), (2, 9)]));
        assert!(!reached(&[(0, 10), (2, 6)]));
        assert!(!reached(&[(0, 10)]));
    }
}
