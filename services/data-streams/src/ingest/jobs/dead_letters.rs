//! Lists dead letters, finds the objects of a stream that have some, and stores those
//! that can be stored now.
//!
//! Nothing is written to Kafka: a row is stored with its original log position,
//! and the store notes that the dead letter of that position is recovered.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use chassis::kafka::reader::TopicReader;
use schemas::record_key;

use super::{JobError, flatten};
use crate::ingest::{
    LogPosition, TableSet,
    parts::Parts,
    poll::message::Message,
    store::{dead_letter::DeadLetter, inserter::Unstored},
};

/// Reading fails if Kafka returns nothing for this time.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// Result of reprocessing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reprocessed {
    /// Dead letters that are stored now.
    pub stored: u64,
    /// Dead letters that still cannot be stored.
    pub left: u64,
}

/// A dead letter without its value: many values of up to 32 MiB do not fit in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedLetter {
    /// The position of its message in the log.
    pub position: LogPosition,
    /// Stable code, in `snake_case`.
    pub reason: String,
    /// What is wrong with it.
    pub error: String,
    /// When the broker appended the message, in ms.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Size of its value.
    pub bytes: usize,
}

impl From<DeadLetter> for ListedLetter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            bytes: letter.value.as_ref().map_or(0, Vec::len),
            position: letter.position,
            reason: letter.reason,
            error: letter.error,
            timestamp: letter.timestamp,
            key: letter.key,
        }
    }
}

/// The newest dead letters that are not stored yet, oldest first.
pub(crate) async fn newest(parts: Arc<Parts>, limit: usize) -> Result<Vec<ListedLetter>, JobError> {
    let recovered = parts.store.recovered().await?;
    let read = tokio::task::spawn_blocking(move || {
        let mut last = VecDeque::new();
        each_letter(&parts, &recovered, |letter| {
            if last.len() >= limit {
                last.pop_front();
            }
            last.push_back(ListedLetter::from(letter));
        })?;
        anyhow::Ok(last.into())
    });
    flatten(read.await)
}

/// The objects of a stream for which `wanted` holds and of which a dead letter is not
/// stored yet.
pub(crate) async fn objects(
    parts: Arc<Parts>,
    portal_id: i64,
    object_type: &str,
    wanted: impl Fn(i64) -> bool + Send + 'static,
) -> Result<BTreeSet<i64>, JobError> {
    let recovered = parts.store.recovered().await?;
    let prefix = record_prefix(portal_id, object_type);
    let read = tokio::task::spawn_blocking(move || {
        let mut objects = BTreeSet::new();
        each_letter(&parts, &recovered, |letter| {
            let id = letter.key.and_then(|key| object_of(&key, &prefix));
            objects.extend(id.filter(|id| wanted(*id)));
        })?;
        anyhow::Ok(objects)
    });
    flatten(read.await)
}

/// What the keys of a stream's records begin with.
pub(super) fn record_prefix(portal_id: i64, object_type: &str) -> String {
    let mut key = record_key(portal_id, object_type, 0);
    key.pop();
    key
}

/// The object that a record's key names.
fn object_of(key: &[u8], prefix: &str) -> Option<i64> {
    std::str::from_utf8(key)
        .ok()?
        .strip_prefix(prefix)?
        .parse()
        .ok()
}

/// Stores the dead letters that can be stored now.
pub(crate) async fn reprocess(parts: Arc<Parts>) -> Result<Reprocessed, JobError> {
    let recovered = parts.store.recovered().await?;
    let read = tokio::task::spawn_blocking(move || {
        let mut outcome = Reprocessed::default();
        let mut waiting: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        let mut bytes = 0;
        each_letter(&parts, &recovered, |letter| {
            let message = Message {
                partition: letter.position.partition,
                offset: letter.position.offset,
                timestamp: letter.timestamp,
                key: letter.key.map(Into::into),
                value: letter.value.map(Into::into),
                trace: None,
            };
            bytes += message.size();
            waiting
                .entry(letter.position.topic)
                .or_default()
                .push(message);
            if bytes >= parts.settings.limits.bytes {
                bytes = 0;
                store_letters(&parts, std::mem::take(&mut waiting), &mut outcome);
            }
        })?;
        store_letters(&parts, waiting, &mut outcome);
        anyhow::Ok(outcome)
    });
    flatten(read.await)
}

fn store_letters(
    parts: &Parts,
    waiting: BTreeMap<String, Vec<Message>>,
    outcome: &mut Reprocessed,
) {
    for (topic, messages) in waiting {
        let count = messages.len();
        let settled = parts.runtime.block_on(store_topic(parts, &topic, messages));
        let Settled { stored, purged } = settled.unwrap_or_else(|error| {
            tracing::warn!(%error, "dead letters could not be stored");
            Settled::default()
        });
        outcome.stored += stored as u64;
        outcome.left += count.saturating_sub(stored + purged) as u64;
    }
}

/// Numbers of dead letters that need nothing more.
#[derive(Default)]
struct Settled {
    stored: usize,
    /// Of connections whose records were purged since; they are not stored.
    purged: usize,
}

async fn store_topic(
    parts: &Parts,
    topic: &str,
    messages: Vec<Message>,
) -> Result<Settled, JobError> {
    let inserter = parts.own_inserter();
    let mut router = parts.router(TableSet::Live);
    router.set_purged(parts.store.purged(topic).await?);
    let routed = router.route(topic, messages).await;
    let position = |index: &usize| {
        let message = routed.decoded.messages.get(*index)?;
        Some(LogPosition {
            topic: topic.to_owned(),
            partition: message.partition,
            offset: message.offset,
        })
    };
    let mut stored = Vec::new();
    for group in &routed.groups {
        let refused = async {
            inserter.prepare_tables(group).await?;
            inserter.store(&routed.decoded, group).await
        };
        let refused: HashSet<usize> = match refused.await {
            Ok(refused) => refused.into_iter().map(|row| row.index).collect(),
            Err(Unstored::Stopped) => return Err(JobError::Stopped),
            // The other streams' dead letters may be stored.
            Err(Unstored::Target(error)) => {
                tracing::warn!(error = error.describe(), "dead letters could not be stored");
                continue;
            }
        };
        let rows = group.rows.iter().filter(|index| !refused.contains(index));
        stored.extend(rows.filter_map(position));
    }
    let settled = Settled {
        stored: stored.len(),
        purged: routed.purged.len(),
    };
    stored.extend(routed.purged.iter().filter_map(position));
    parts.store.remember_recovered(&stored).await?;
    Ok(settled)
}

/// Hands over every dead letter that is not stored yet, once: a crash may have
/// written one twice.
fn each_letter(
    parts: &Parts,
    recovered: &HashSet<LogPosition>,
    mut take: impl FnMut(DeadLetter),
) -> anyhow::Result<()> {
    let topic = &parts.topics.dead_letters;
    let mut reader = TopicReader::whole(&parts.reader("dead-letters"), topic)?;
    let mut seen = HashSet::new();
    reader.read_to_end(SILENCE, |message| {
        let letter = DeadLetter::read(message);
        if !recovered.contains(&letter.position) && seen.insert(letter.position.clone()) {
            take(letter);
        }
        Ok(ControlFlow::Continue(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_record_names_its_object() {
        let prefix = record_prefix(4, "contacts");
        let object = |key: &[u8]| object_of(key, &prefix);
        assert_eq!(object(record_key(4, "contacts", 71).as_bytes()), Some(71));
        for other in [
            record_key(4, "companies", 71),
            record_key(41, "contacts", 7),
        ] {
            assert_eq!(object(other.as_bytes()), None);
        }
        assert_eq!(object(b"4/contacts/x"), None);
        assert_eq!(object(&[0xff]), None);
    }
}
