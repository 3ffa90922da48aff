//! The properties of records, read from `changes` as they were stored.

use std::{collections::HashMap, time::Duration};

use super::{
    RecordReader,
    heads::{Head, list},
};
use crate::warehouse::{error::WarehouseError, names::literal};

/// Maximum number of reads for properties that are not there yet.
const ATTEMPTS: usize = 20;

/// Time between two of these reads.
const RETRY_DELAY: Duration = Duration::from_millis(50);

impl RecordReader<'_> {
    /// Reads the properties of exactly these versions, by object id. `by_id` names
    /// the ids, for heads that are sparse in their range of ids.
    ///
    /// The two tables are filled at the same time, each by an insert of its own.
    /// So `changes` may be a moment behind; what is missing is read again.
    pub(super) async fn properties(
        &self,
        heads: &[Head],
        by_id: bool,
    ) -> Result<HashMap<u64, String>, WarehouseError> {
        let mut found = HashMap::with_capacity(heads.len());
        let mut missing = heads.to_vec();
        for attempt in 0..ATTEMPTS {
            let Some(statement) = self.statement(&missing, by_id || attempt > 0) else {
                break;
            };
            if attempt > 0 {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            let request = self
                .session
                .records(&statement)
                .fetch_all::<(u64, u128, String)>();
            let rows = self.session.within("read properties", request).await?;
            let versions: HashMap<_, _> =
                missing.iter().map(|head| (head.id, head.version)).collect();
            found.extend(
                rows.into_iter()
                    .filter(|(id, version, _)| versions.get(id) == Some(version))
                    .map(|(id, _, properties)| (id, properties)),
            );
            missing.retain(|head| !found.contains_key(&head.id));
        }
        Ok(found)
    }

    /// Selects the rows with the fetch sequences of these versions, nearly all of
    /// which are the versions themselves: parsing a list of 128-bit versions takes
    /// longer than the rest of the query. `None` without heads.
    fn statement(&self, heads: &[Head], by_id: bool) -> Option<String> {
        let (first, last) = (heads.first()?.id, heads.last()?.id);
        let mut sequences: Vec<u64> = heads.iter().map(Head::fetch_sequence).collect();
        sequences.sort_unstable();
        sequences.dedup();
        let ids = if by_id {
            let ids = list(heads.iter().map(|head| head.id));
            format!(" AND object_id IN ({ids})")
        } else {
            String::new()
        };
        Some(format!(
            "SELECT object_id, version, properties FROM {} PREWHERE object_type = {} \
             AND object_id >= {first} AND object_id <= {last}{ids} \
             AND fetch_sequence IN ({})",
            self.changes,
            literal(self.object_type),
            list(sequences.into_iter()),
        ))
    }
}
