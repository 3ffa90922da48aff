//! Test doubles of the store, control state, registry and commits, with scripted
//! faults.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use chassis::registry::{RegistryError, SchemaSource};
use schemas::{CrmRecord, Definitions, Millis, PropertyMap};

use super::{
    Commits, ControlState, Inserts, KnownRebuild, LogPosition, Purged, PurgedEnd, ReadStream,
    RebuildLease, RebuildState, RefusedRow, Rows, Store, StoreError, StoreErrorKind, Stored,
    TableLoss, Target,
    poll::message::Message,
    store::dead_letter::{DeadLetter, DeadLetterSink},
};

pub(crate) const OWN: u32 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Away,
    AwayAfterWrite,
    Changed,
}

#[derive(Debug, Default)]
pub(crate) struct FakeStore {
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    /// Offsets of rows for which the store rejects the whole block.
    pub(crate) poison: Mutex<HashSet<i64>>,
    /// Offsets of rows that fit no column.
    pub(crate) unfit: Mutex<HashSet<i64>>,
    pub(crate) tokens: Mutex<HashSet<String>>,
    /// The warehouse's id, if not the default one.
    pub(crate) id: Mutex<Option<&'static str>>,
    pub(crate) rebuilt: Mutex<usize>,
    pub(crate) rebuilds: Mutex<Vec<KnownRebuild>>,
    recovered: Mutex<HashSet<LogPosition>>,
    pub(crate) purged: Mutex<Purged>,
    /// Databases whose tables fail, and how.
    pub(crate) broken: Mutex<HashMap<String, StoreErrorKind>>,
    pub(crate) loaded: Mutex<BTreeMap<i32, i64>>,
    /// How often it was noted how far is loaded.
    pub(crate) notes: Mutex<usize>,
    pub(crate) rows: Mutex<Vec<(String, i32, i64)>>,
    pub(crate) applied: Mutex<Vec<(Target, i64)>>,
    pub(crate) inserts: Mutex<usize>,
}

impl FakeStore {
    /// Deletes all rows, as if the warehouse had been emptied.
    pub(crate) fn clear(&self) {
        self.rows.lock().unwrap().clear();
        self.tokens.lock().unwrap().clear();
        self.loaded.lock().unwrap().clear();
    }

    pub(crate) fn offsets(&self) -> Vec<i64> {
        self.rows
            .lock()
            .unwrap()
            .iter()
            .map(|(_, _, offset)| *offset)
            .collect()
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn upgrade(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn warehouse_id(&self) -> Result<String, StoreError> {
        Ok(self.id.lock().unwrap().unwrap_or("this one").to_owned())
    }

    async fn apply(
        &self,
        target: &Target,
        definitions: Option<&Definitions>,
    ) -> Result<(), StoreError> {
        if let Some(kind) = self.broken.lock().unwrap().get(&target.destination) {
            return Err(StoreError::new(*kind, "broken"));
        }
        let version = definitions.map_or(0, |it| it.version);
        self.applied.lock().unwrap().push((target.clone(), version));
        Ok(())
    }

    fn inserts(&self, target: &Target) -> Result<Box<dyn Inserts + '_>, StoreError> {
        let table = format!("{}.{}", target.destination, target.object_type);
        Ok(Box::new(FakeInserts { store: self, table }))
    }

    async fn begin_rebuild(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn ask_rebuild(&self, asked: &RebuildState) -> Result<(), StoreError> {
        let mut known = self.rebuilds.lock().unwrap();
        if !known.iter().any(KnownRebuild::is_open) {
            let asked = KnownRebuild {
                state: asked.clone(),
                owner: String::new(),
                silent_for: Duration::ZERO,
            };
            known.insert(0, asked);
        }
        Ok(())
    }

    async fn rebuilds(&self) -> Result<Vec<KnownRebuild>, StoreError> {
        Ok(self.rebuilds.lock().unwrap().clone())
    }

    async fn note_rebuild(
        &self,
        state: &RebuildState,
        before: &str,
        owner: &str,
    ) -> Result<(), StoreError> {
        let mut known = self.rebuilds.lock().unwrap();
        let of_it = known.iter_mut().find(|it| it.state.id == state.id);
        if let Some(it) = of_it.filter(|it| it.owner == before) {
            it.state = state.clone();
            it.owner = owner.to_owned();
        }
        Ok(())
    }

    async fn rebuild_losses(&self, _: Millis) -> Result<Option<TableLoss>, StoreError> {
        Ok(None)
    }

    async fn finish_rebuild(&self, _: &RebuildLease) -> Result<(), StoreError> {
        *self.rebuilt.lock().unwrap() += 1;
        Ok(())
    }

    async fn close_rebuild(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn rebuild_is_unfinished(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn loaded(&self, _: &str) -> Result<BTreeMap<i32, i64>, StoreError> {
        Ok(self.loaded.lock().unwrap().clone())
    }

    async fn note_loaded(&self, _: &str, next: &BTreeMap<i32, i64>) -> Result<(), StoreError> {
        self.loaded.lock().unwrap().extend(next);
        *self.notes.lock().unwrap() += 1;
        Ok(())
    }

    async fn purged(&self, _: &str) -> Result<Purged, StoreError> {
        Ok(self.purged.lock().unwrap().clone())
    }

    async fn note_purged(
        &self,
        connection: &str,
        _: &str,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<(), StoreError> {
        let mut purged = self.purged.lock().unwrap();
        let ends = ends.iter().map(|(partition, offset)| {
            let (offset, at) = (*offset, 0);
            (*partition, PurgedEnd { offset, at })
        });
        purged.insert(connection.to_owned(), ends.collect());
        Ok(())
    }

    async fn recovered(&self) -> Result<HashSet<LogPosition>, StoreError> {
        Ok(self.recovered.lock().unwrap().clone())
    }

    async fn remember_recovered(&self, positions: &[LogPosition]) -> Result<(), StoreError> {
        self.recovered
            .lock()
            .unwrap()
            .extend(positions.iter().cloned());
        Ok(())
    }
}

struct FakeInserts<'s> {
    store: &'s FakeStore,
    table: String,
}

#[async_trait]
impl Inserts for FakeInserts<'_> {
    async fn insert(&self, rows: Rows<'_>) -> Result<Stored, StoreError> {
        let store = self.store;
        let database = self.table.split('.').next().unwrap_or_default();
        if let Some(kind) = store.broken.lock().unwrap().get(database) {
            return Err(StoreError::new(*kind, "broken"));
        }
        *store.inserts.lock().unwrap() += 1;
        let fault = store.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Away) => return Err(StoreError::new(StoreErrorKind::Unavailable, "away")),
            Some(Fault::Changed) => {
                return Err(StoreError::new(StoreErrorKind::SchemaChanged, "changed"));
            }
            Some(Fault::AwayAfterWrite) | None => {}
        }
        let positions: Vec<(i32, i64)> = rows
            .read()?
            .iter()
            .map(|row| (row.partition, row.offset))
            .collect();
        let poison = store.poison.lock().unwrap();
        if positions.iter().any(|(_, offset)| poison.contains(offset)) {
            return Err(StoreError::new(StoreErrorKind::Poison, "cannot parse"));
        }
        let unfit = store.unfit.lock().unwrap();
        let (refused, kept): (Vec<_>, Vec<_>) = (0..)
            .zip(positions)
            .partition(|(_, (_, offset))| unfit.contains(offset));
        let refused = refused.into_iter().map(|(index, _)| RefusedRow {
            index,
            error: "unfit".to_owned(),
        });
        let refused = refused.collect();
        if store.tokens.lock().unwrap().insert(rows.token()) {
            let mut all = store.rows.lock().unwrap();
            let kept = kept.into_iter();
            all.extend(kept.map(|(_, (p, o))| (self.table.clone(), p, o)));
        }
        match fault {
            Some(_) => Err(StoreError::new(StoreErrorKind::Unavailable, "cut off")),
            None => Ok(Stored {
                refused,
                ..Stored::default()
            }),
        }
    }
}

#[derive(Debug)]
pub(crate) struct FakeControlState;

impl ControlState for FakeControlState {
    fn destination(&self, connection: &str) -> Option<String> {
        match connection {
            "default" => Some("hubspot".to_owned()),
            "named" => Some("elsewhere".to_owned()),
            _ => None,
        }
    }

    fn has_read_all(&self) -> bool {
        true
    }

    fn is_deleted(&self, connection: &str) -> bool {
        connection == "deleted"
    }

    fn read_streams(&self) -> Vec<ReadStream> {
        Vec::new()
    }
}

/// Records commits and dead letters, in order.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) commits: Mutex<Vec<BTreeMap<i32, i64>>>,
    pub(crate) letters: Mutex<Vec<DeadLetter>>,
}

#[async_trait]
impl Commits for Recorder {
    async fn commit(
        &self,
        next: &BTreeMap<i32, i64>,
        _: &BTreeMap<i32, i64>,
    ) -> Result<(), String> {
        self.commits.lock().unwrap().push(next.clone());
        Ok(())
    }
}

#[async_trait]
impl DeadLetterSink for Recorder {
    async fn write(&self, letter: &DeadLetter) -> Result<(), String> {
        self.letters.lock().unwrap().push(letter.clone());
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct FakeRegistry {
    away: bool,
    schemas: Mutex<BTreeMap<u32, String>>,
}

impl FakeRegistry {
    pub(crate) fn away() -> Self {
        Self {
            away: true,
            ..Self::default()
        }
    }

    pub(crate) fn insert(&self, id: u32, schema: String) {
        self.schemas.lock().unwrap().insert(id, schema);
    }
}

#[async_trait]
impl SchemaSource for FakeRegistry {
    async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        if self.away {
            return Err(RegistryError::Unavailable("refused".into()));
        }
        Ok(self.schemas.lock().unwrap().get(&id).cloned())
    }
}

pub(crate) fn record(offset: i64, schema_id: u32) -> Message {
    record_of(offset, schema_id, "default", 0)
}

pub(crate) fn record_of(offset: i64, schema_id: u32, connection: &str, version: i64) -> Message {
    let properties = PropertyMap::from_iter([("email", "a@example.com")]);
    let record = CrmRecord {
        connection,
        run_id: "run",
        reason: "backfill",
        fetch_sequence: 1,
        definitions_version: version,
        ..CrmRecord::new(1, "contacts", offset, &properties)
    };
    Message {
        offset,
        key: Some(record.key().into_bytes().into()),
        value: Some(record.encode(schema_id).into()),
        ..Message::default()
    }
}
