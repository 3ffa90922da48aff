//! Rows of one target to blocks with their tokens, for tables that have the
//! columns which the rows may fill.
//!
//! It must not know where messages come from, nor when an offset is committed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use schemas::CrmRecord;
use tokio::sync::watch;
use twox_hash::XxHash3_128;

use super::{
    Block, Row, Store, StoreError, StoreErrorKind, Target,
    definitions::Known,
    intake::{Group, Patience, Source},
};

/// A group, encoded.
#[derive(Debug)]
pub(crate) struct Inserts {
    /// Blocks with their tokens.
    pub(crate) blocks: Vec<(Block, String)>,
    /// Index into the source and reason of each row that no column can take.
    pub(crate) refused: Vec<(usize, String)>,
}

/// Brings tables up to the definitions and encodes rows for them.
pub(crate) struct Encoder {
    store: Arc<dyn Store>,
    definitions: watch::Receiver<Known>,
    patience: Patience,
    /// By target and portal, the version of definitions that its tables have.
    applied: Mutex<HashMap<(Target, i64), i64>>,
    /// Versions that did not come in time; they are not waited for again.
    missed: Mutex<HashSet<(i64, String, i64)>>,
}

impl Encoder {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        definitions: watch::Receiver<Known>,
        patience: Patience,
    ) -> Self {
        Self {
            store,
            definitions,
            patience,
            applied: Mutex::default(),
            missed: Mutex::default(),
        }
    }

    /// Makes sure that the group's tables have the columns which its records
    /// may fill, as far as the definitions have come in time.
    pub(crate) async fn ready(&self, group: &Group) -> Result<(), StoreError> {
        self.wait_for_definitions(group).await;
        let known = self.version(group.portal_id, &group.target.object_type);
        let key = (group.target.clone(), group.portal_id);
        let applied = self
            .applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .copied();
        if applied.is_some_and(|version| version >= known) {
            return Ok(());
        }
        self.apply(&key.0, group.portal_id).await
    }

    /// Applies the newest definitions, whatever is applied.
    pub(crate) async fn apply(&self, target: &Target, portal_id: i64) -> Result<(), StoreError> {
        let definitions = self
            .definitions
            .borrow()
            .get(portal_id, &target.object_type)
            .cloned();
        self.store.apply(target, definitions.as_deref()).await?;
        let version = definitions.map_or(0, |it| it.version);
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((target.clone(), portal_id), version);
        Ok(())
    }

    /// Targets whose tables are behind the definitions.
    pub(crate) fn behind(&self) -> Vec<(Target, i64)> {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied
            .iter()
            .filter(|((target, portal), version)| {
                **version < self.version(*portal, &target.object_type)
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Forgets what is applied: the tables are others now.
    pub(crate) fn forget(&self) {
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Encodes some rows of a group.
    pub(crate) fn encode(
        &self,
        source: &Source,
        target: &Target,
        rows: &[usize],
    ) -> Result<Inserts, StoreError> {
        let decoded: Vec<Row<'_>> = rows
            .iter()
            .filter_map(|index| source.row(*index, CrmRecord::decode_again)?.ok())
            .collect();
        if decoded.len() != rows.len() {
            // INVARIANT: a group holds only rows that were decoded before.
            let context = "a row that was decoded before is not decodable";
            return Err(StoreError::new(StoreErrorKind::Fatal, context));
        }
        let encoded = self.store.encode(target, &decoded)?;
        let ranges = ranges(&decoded);
        let blocks = encoded
            .blocks
            .into_iter()
            .map(|block| {
                let token = token(&block, &source.topic, &ranges);
                (block, token)
            })
            .collect();
        let refused = encoded
            .refused
            .into_iter()
            .filter_map(|(index, why)| Some((*rows.get(index)?, why)))
            .collect();
        Ok(Inserts { blocks, refused })
    }

    fn version(&self, portal_id: i64, object_type: &str) -> i64 {
        self.definitions
            .borrow()
            .get(portal_id, object_type)
            .map_or(0, |it| it.version)
    }

    async fn wait_for_definitions(&self, group: &Group) {
        let wanted = group.definitions_version;
        let object_type = &group.target.object_type;
        if self.version(group.portal_id, object_type) >= wanted {
            return;
        }
        let miss = (group.portal_id, object_type.clone(), wanted);
        if self
            .missed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&miss)
        {
            return;
        }
        let mut definitions = self.definitions.clone();
        let arrived = definitions.wait_for(|known| {
            known
                .get(group.portal_id, object_type)
                .is_some_and(|it| it.version >= wanted)
        });
        let in_time = tokio::time::timeout(self.patience.definitions, arrived)
            .await
            .is_ok_and(|arrived| arrived.is_ok());
        if !in_time {
            tracing::warn!(
                portal_id = group.portal_id,
                object_type,
                version = wanted,
                "definitions did not come in time: unknown properties go to the extra column"
            );
            self.missed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(miss);
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

/// First and last offset by partition.
fn ranges(rows: &[Row<'_>]) -> BTreeMap<i32, (i64, i64)> {
    let mut ranges = BTreeMap::new();
    for row in rows {
        let range = ranges
            .entry(row.partition)
            .or_insert((row.offset, row.offset));
        range.0 = range.0.min(row.offset);
        range.1 = range.1.max(row.offset);
    }
    ranges
}

/// The same rows in the same encoding from the same place in the log, and
/// nothing else, have the same token.
fn token(block: &Block, topic: &str, ranges: &BTreeMap<i32, (i64, i64)>) -> String {
    let mut hash = XxHash3_128::new();
    for part in [&block.table, topic] {
        hash.write(&part.len().to_le_bytes());
        hash.write(part.as_bytes());
    }
    for (partition, (first, last)) in ranges {
        hash.write(&partition.to_le_bytes());
        hash.write(&first.to_le_bytes());
        hash.write(&last.to_le_bytes());
    }
    for part in &block.parts {
        hash.write(part);
    }
    format!("{:032x}", hash.finish_128())
}
