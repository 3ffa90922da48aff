//! Tables that have the columns which rows may fill, before the rows come.
//!
//! It must not know how a row is stored.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::ingest::{
    Store, StoreError, Target,
    decode::router::{Group, Patience},
    definitions::Known,
};

/// Brings tables up to the definitions.
pub(crate) struct Preparer {
    store: Arc<dyn Store>,
    definitions: watch::Receiver<Known>,
    patience: Patience,
    /// By target and portal, the version of definitions that its tables have.
    applied: Mutex<HashMap<(Target, i64), i64>>,
    /// Versions that did not come in time; they are not waited for again.
    missed: Mutex<HashSet<(i64, String, i64)>>,
}

impl Preparer {
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

impl fmt::Debug for Preparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparer")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}
