//! Notes in the store how far the log is loaded, and notices when the store has gone
//! back to an earlier state, as one that was restored from a backup has.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::ingest::{Store, StoreError};

/// Time between two notes. So much of the log, at most, is read again after a start. A
/// store that goes back by less within this time is not noticed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at what the store has, while nothing is loaded.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// How far this process has loaded a topic.
#[derive(Debug)]
pub(crate) struct LoadedNotes {
    store: Arc<dyn Store>,
    topic: String,
    /// By partition, the next offset to read; committed to Kafka and not noted.
    waiting: BTreeMap<i32, i64>,
    /// As this process last noted it.
    noted: BTreeMap<i32, i64>,
    last_at: Instant,
}

impl LoadedNotes {
    pub(crate) fn new(store: Arc<dyn Store>, topic: &str) -> Self {
        Self {
            store,
            topic: topic.to_owned(),
            waiting: BTreeMap::new(),
            noted: BTreeMap::new(),
            last_at: Instant::now(),
        }
    }

    /// Everything before these offsets is stored.
    pub(crate) fn add(&mut self, next: BTreeMap<i32, i64>) {
        self.waiting.extend(next);
    }

    /// Writes a note when one is due; see [`Self::write`]. Whether the store has gone back
    /// is looked at also when there is nothing new.
    pub(crate) async fn write_due(&mut self) -> Result<BTreeMap<i32, i64>, StoreError> {
        let interval = if self.waiting.is_empty() {
            IDLE_INTERVAL
        } else {
            INTERVAL
        };
        if self.last_at.elapsed() < interval {
            return Ok(BTreeMap::new());
        }
        self.write().await
    }

    /// Writes a note. Returns the partitions that the store has less of than was noted,
    /// with the offset to load them from; nothing is noted then.
    pub(crate) async fn write(&mut self) -> Result<BTreeMap<i32, i64>, StoreError> {
        self.last_at = Instant::now();
        if self.waiting.is_empty() && self.noted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let known = self.store.loaded(&self.topic).await?;
        let lost: BTreeMap<i32, i64> = self
            .noted
            .iter()
            .map(|(partition, noted)| {
                let known = known.get(partition).copied().unwrap_or(0);
                (*partition, known, *noted)
            })
            .filter(|(_, known, noted)| known < noted)
            .map(|(partition, known, _)| (partition, known))
            .collect();
        if lost.is_empty() {
            self.store.note_loaded(&self.topic, &self.waiting).await?;
            self.noted.append(&mut self.waiting);
        } else {
            self.waiting.clear();
            self.noted.clear();
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::fakes::FakeStore;

    fn offset(partition: i32, offset: i64) -> BTreeMap<i32, i64> {
        BTreeMap::from([(partition, offset)])
    }

    fn notes() -> (Arc<FakeStore>, LoadedNotes) {
        let store = Arc::new(FakeStore::default());
        let notes = LoadedNotes::new(Arc::clone(&store) as Arc<dyn Store>, "records");
        (store, notes)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_loaded_is_noted_after_a_while() {
        let (store, mut notes) = notes();
        notes.add(offset(0, 7));
        assert_eq!(notes.write_due().await.unwrap(), BTreeMap::new());
        assert_eq!(*store.loaded.lock().unwrap(), BTreeMap::new());
        tokio::time::advance(INTERVAL).await;
        notes.add(offset(1, 3));
        assert_eq!(notes.write_due().await.unwrap(), BTreeMap::new());
        let noted = BTreeMap::from([(0, 7), (1, 3)]);
        assert_eq!(*store.loaded.lock().unwrap(), noted);
    }

    #[tokio::test]
    async fn a_store_that_has_gone_back_is_noticed_before_anything_is_noted() {
        let (store, mut notes) = notes();
        notes.add(BTreeMap::from([(0, 7), (1, 3)]));
        notes.write().await.unwrap();
        store.loaded.lock().unwrap().insert(0, 5);
        notes.add(offset(0, 9));
        assert_eq!(notes.write().await.unwrap(), offset(0, 5));
        assert_eq!(store.loaded.lock().unwrap().get(&0), Some(&5));
        // It is loaded again from there.
        notes.add(offset(0, 6));
        assert_eq!(notes.write().await.unwrap(), BTreeMap::new());
        assert_eq!(store.loaded.lock().unwrap().get(&0), Some(&6));
    }

    #[tokio::test]
    async fn a_store_without_notes_is_loaded_from_the_beginning() {
        let (store, mut notes) = notes();
        notes.add(offset(0, 7));
        notes.write().await.unwrap();
        store.loaded.lock().unwrap().clear();
        assert_eq!(notes.write().await.unwrap(), offset(0, 0));
    }
}
