//! Prepares tables: before rows are inserted, their tables have the columns of the
//! definitions that the rows name.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::ingest::{
    Store, StoreError, Target,
    decode::{
        definitions::KnownDefinitions,
        router::{RowGroup, WaitLimits},
    },
};

/// Applies definitions to tables.
pub(crate) struct TablePreparer {
    store: Arc<dyn Store>,
    definitions: watch::Receiver<KnownDefinitions>,
    wait_limits: WaitLimits,
    /// The version of the definitions that were applied.
    applied: Mutex<HashMap<Target, i64>>,
    /// Definitions that did not arrive in time. They are not waited for again.
    missed: Mutex<HashSet<MissedDefinitions>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MissedDefinitions {
    portal_id: i64,
    object_type: String,
    version: i64,
}

impl TablePreparer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        definitions: watch::Receiver<KnownDefinitions>,
        wait_limits: WaitLimits,
    ) -> Self {
        Self {
            store,
            definitions,
            wait_limits,
            applied: Mutex::default(),
            missed: Mutex::default(),
        }
    }

    /// Prepares the tables of a group. Waits for the definitions that its records
    /// name, up to [`WaitLimits::definitions`].
    pub(crate) async fn prepare(&self, group: &RowGroup) -> Result<(), StoreError> {
        self.wait_for_definitions(group).await;
        self.apply_new(&group.target).await
    }

    /// Applies the newest definitions, unless that is done.
    pub(crate) async fn apply_new(&self, target: &Target) -> Result<(), StoreError> {
        let known = self.version(target);
        let applied = self.applied().get(target).copied();
        if applied.is_some_and(|version| version >= known) {
            return Ok(());
        }
        self.apply(target).await
    }

    /// Applies the newest definitions, even if they were applied before.
    pub(crate) async fn apply(&self, target: &Target) -> Result<(), StoreError> {
        let definitions = self
            .definitions
            .borrow()
            .get(target.portal_id, &target.object_type)
            .cloned();
        self.store.apply(target, definitions.as_deref()).await?;
        let version = definitions.map_or(0, |it| it.version);
        self.applied().insert(target.clone(), version);
        Ok(())
    }

    /// Targets for which newer definitions have arrived.
    pub(crate) fn behind(&self) -> Vec<Target> {
        self.applied()
            .iter()
            .filter(|(target, version)| **version < self.version(target))
            .map(|(target, _)| target.clone())
            .collect()
    }

    /// Forgets what was applied to a target, because its tables failed.
    pub(crate) fn forget_target(&self, target: &Target) {
        self.applied().remove(target);
    }

    /// Forgets what was applied, because the tables were exchanged.
    pub(crate) fn forget(&self) {
        self.applied().clear();
    }

    fn applied(&self) -> MutexGuard<'_, HashMap<Target, i64>> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missed(&self) -> MutexGuard<'_, HashSet<MissedDefinitions>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self, target: &Target) -> i64 {
        self.definitions
            .borrow()
            .get(target.portal_id, &target.object_type)
            .map_or(0, |it| it.version)
    }

    async fn wait_for_definitions(&self, group: &RowGroup) {
        let wanted = group.definitions_version;
        let Target {
            portal_id,
            object_type,
            ..
        } = &group.target;
        if self.version(&group.target) >= wanted {
            return;
        }
        let miss = MissedDefinitions {
            portal_id: *portal_id,
            object_type: object_type.clone(),
            version: wanted,
        };
        if self.missed().contains(&miss) {
            return;
        }
        let mut definitions = self.definitions.clone();
        let arrived = definitions.wait_for(|known| {
            known
                .get(*portal_id, object_type)
                .is_some_and(|it| it.version >= wanted)
        });
        let in_time = tokio::time::timeout(self.wait_limits.definitions, arrived)
            .await
            .is_ok_and(|arrived| arrived.is_ok());
        if !in_time {
            tracing::warn!(
                portal_id,
                object_type,
                version = wanted,
                "definitions did not arrive in time; unknown properties go to the extra column"
            );
            self.missed().insert(miss);
        }
    }
}

impl fmt::Debug for TablePreparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TablePreparer")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}
