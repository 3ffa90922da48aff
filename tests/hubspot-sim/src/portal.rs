//! One portal: its data behind a lock, its log on disk, its scopes and its rate
//! limits.

mod scopes;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    auth::Caller,
    change::{Change, ChangeError, Changed, Properties},
    clock::SimClock,
    config::{Limits, PortalConfig, Quirks},
    definitions::Definition,
    journal::{Journal, Origin},
    limits::{Allowance, Bucket, Buckets, Policy},
    links::AssociationType,
    sensitivity::Sensitivity,
    state::State,
    table::{Table, Truth},
};

/// A handle to a portal; clones share it.
#[derive(Debug, Clone)]
pub struct Portal {
    inner: Arc<PortalInner>,
}

#[derive(Debug)]
struct PortalInner {
    id: u64,
    utc_offset_ms: i64,
    clock: SimClock,
    data: Mutex<Data>,
    rules: Mutex<Rules>,
}

/// The data that changes modify.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) state: State,
    /// Property lists of requests, resolved; cleared by each change.
    pub(crate) selections: HashMap<String, crate::selection::Selection>,
    /// Searches so far, for the quirk of short pages.
    pub(crate) searches: u32,
    journal: Option<Journal>,
    last_ms: i64,
}

#[derive(Debug)]
struct Rules {
    limits: Limits,
    quirks: Quirks,
    buckets: Buckets,
    missing_scopes: BTreeSet<String>,
    /// The scopes for sensitive values that the tokens have.
    sensitive_scopes: BTreeSet<(String, Sensitivity)>,
}

impl Portal {
    pub(crate) fn open(config: &PortalConfig, clock: SimClock) -> std::io::Result<Self> {
        let mut origin = Origin {
            base_ms: clock.now_ms(),
            seed: config.seed,
            contacts: config.contacts,
            companies: config.companies,
            properties: config.properties,
            set_properties: config.set_properties,
            archived_percent: config.archived_percent,
            distinct: config.distinct,
        };
        let (mut journal, mut entries) = (None, Vec::new());
        if let Some(folder) = &config.state_dir {
            let (opened, kept, past) = Journal::open(folder, origin)?;
            (journal, origin, entries) = (Some(opened), kept, past);
        }
        let config = PortalConfig {
            seed: origin.seed,
            contacts: origin.contacts,
            companies: origin.companies,
            properties: origin.properties,
            set_properties: origin.set_properties,
            archived_percent: origin.archived_percent,
            distinct: origin.distinct,
            ..config.clone()
        };
        let mut state = State::seeded(&config, origin.base_ms);
        let mut last_ms = origin.base_ms;
        for entry in entries {
            state
                .apply(&entry.change, entry.at)
                .map_err(std::io::Error::other)?;
            last_ms = last_ms.max(entry.at);
        }
        if config.prerender {
            state.tables.iter().for_each(Table::prerender);
        }
        // A clock that was moved forward does not go back over a restart.
        let behind = u64::try_from(last_ms - clock.now_ms()).unwrap_or(0);
        clock.advance(std::time::Duration::from_millis(behind));
        let data = Data {
            state,
            selections: HashMap::new(),
            searches: 0,
            journal,
            last_ms,
        };
        let rules = Rules {
            limits: config.limits,
            quirks: config.quirks,
            buckets: Buckets::default(),
            missing_scopes: BTreeSet::new(),
            sensitive_scopes: BTreeSet::new(),
        };
        let inner = PortalInner {
            id: config.portal_id,
            utc_offset_ms: config.utc_offset_minutes * 60_000,
            clock,
            data: Mutex::new(data),
            rules: Mutex::new(rules),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// HubSpot's id of the portal.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// Offset of the account's time zone from UTC, in ms.
    pub(crate) fn utc_offset_ms(&self) -> i64 {
        self.inner.utc_offset_ms
    }

    /// HubSpot's time, in ms since 1970.
    pub fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }

    pub(crate) fn data(&self) -> MutexGuard<'_, Data> {
        self.inner
            .data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.inner
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change and writes it to the log on disk before anyone sees it.
    pub fn apply(&self, change: &Change) -> Result<Changed, ChangeError> {
        let mut data = self.data();
        // HubSpot's times of change do not go back.
        let at = self.now_ms().max(data.last_ms);
        let changed = data.state.apply(change, at)?;
        data.last_ms = at;
        data.selections.clear();
        if let Some(journal) = &mut data.journal {
            journal.append(at, change).map_err(ChangeError::Log)?;
        }
        Ok(changed)
    }

    /// Creates an object and returns its id.
    pub fn create(
        &self,
        object_type: &str,
        properties: &[(&str, &str)],
    ) -> Result<u64, ChangeError> {
        let change = Change::Create {
            object_type: object_type.to_owned(),
            id: None,
            properties: to_properties(properties),
        };
        self.apply(&change).map(|changed| first_id(&changed))
    }

    /// Sets values of an object and returns its new last-modified, in ms since 1970.
    pub fn update(
        &self,
        object_type: &str,
        id: u64,
        properties: &[(&str, &str)],
    ) -> Result<i64, ChangeError> {
        let object_type = object_type.to_owned();
        let change = Change::Update {
            object_type,
            id,
            properties: to_properties(properties),
        };
        self.apply(&change).map(|changed| changed.at)
    }

    /// Sets values and keeps last-modified, as for calculated properties.
    pub fn calculate(
        &self,
        object_type: &str,
        id: u64,
        properties: &[(&str, &str)],
    ) -> Result<(), ChangeError> {
        let object_type = object_type.to_owned();
        let change = Change::Calculate {
            object_type,
            id,
            properties: to_properties(properties),
        };
        self.apply(&change).map(drop)
    }

    /// Sets values of many objects with one last-modified, and returns that.
    pub fn bulk(
        &self,
        object_type: &str,
        ids: &[u64],
        properties: &[(&str, &str)],
    ) -> Result<i64, ChangeError> {
        let (object_type, ids) = (object_type.to_owned(), ids.to_vec());
        let change = Change::Bulk {
            object_type,
            ids,
            at: None,
            properties: to_properties(properties),
        };
        self.apply(&change).map(|changed| changed.at)
    }

    /// Puts an object into the recycle bin.
    pub fn archive(&self, object_type: &str, id: u64) -> Result<(), ChangeError> {
        self.apply(&Change::Archive {
            object_type: object_type.to_owned(),
            id,
        })
        .map(drop)
    }

    /// Takes an object out of the recycle bin.
    pub fn restore(&self, object_type: &str, id: u64) -> Result<(), ChangeError> {
        self.apply(&Change::Restore {
            object_type: object_type.to_owned(),
            id,
        })
        .map(drop)
    }

    /// Deletes an object permanently.
    pub fn erase(&self, object_type: &str, id: u64) -> Result<(), ChangeError> {
        self.apply(&Change::Erase {
            object_type: object_type.to_owned(),
            id,
        })
        .map(drop)
    }

    /// Merges two objects and returns the id of the new one.
    pub fn merge(
        &self,
        object_type: &str,
        primary: u64,
        secondary: u64,
    ) -> Result<u64, ChangeError> {
        let object_type = object_type.to_owned();
        self.apply(&Change::Merge {
            object_type,
            primary,
            secondary,
        })
        .map(|changed| first_id(&changed))
    }

    /// Defines a property, or changes the definition of one.
    pub fn define_property(
        &self,
        object_type: &str,
        definition: Definition,
    ) -> Result<(), ChangeError> {
        let object_type = object_type.to_owned();
        self.apply(&Change::DefineProperty {
            object_type,
            definition: Box::new(definition),
        })
        .map(drop)
    }

    /// The names of the properties that are not archived.
    pub fn property_names(&self, object_type: &str) -> Vec<String> {
        self.list(object_type, |table| {
            let names = table.definitions.all_active();
            names.map(|(_, it)| it.name.clone()).collect()
        })
    }

    /// The ids of the live objects of a type, in order.
    pub fn ids(&self, object_type: &str) -> Vec<u64> {
        self.list(object_type, |table| table.live.keys().copied().collect())
    }

    /// The ids of the archived objects of a type, in order.
    pub fn archived_ids(&self, object_type: &str) -> Vec<u64> {
        self.list(object_type, |table| {
            table.archived.keys().copied().collect()
        })
    }

    /// The live objects of a type that a live object is associated with, in order.
    pub fn associated(&self, from_type: &str, from: u64, to_type: &str) -> Vec<u64> {
        let data = self.data();
        let tables = (data.state.table(from_type), data.state.table(to_type));
        let (Some(from_table), Some(to_table)) = tables else {
            return Vec::new();
        };
        data.state.associated(from_table, from, to_table)
    }

    /// The kinds of association of two objects.
    pub fn association_types(&self, one: (&str, u64), other: (&str, u64)) -> Vec<AssociationType> {
        self.data().state.association_types(one, other)
    }

    /// A list made from a type; empty if there is no such type.
    fn list<T>(&self, object_type: &str, of: impl FnOnce(&Table) -> Vec<T>) -> Vec<T> {
        let data = self.data();
        data.state.table(object_type).map(of).unwrap_or_default()
    }

    /// What a type holds, object by object.
    pub fn truth(&self, object_type: &str) -> Option<Truth> {
        self.truth_of(object_type, true)
    }

    /// What a type holds; without the objects unless `objects` is set.
    pub(crate) fn truth_of(&self, object_type: &str, objects: bool) -> Option<Truth> {
        let now_ms = self.now_ms();
        self.data()
            .state
            .table(object_type)
            .map(|table| table.truth(now_ms, objects))
    }

    /// Whether search shows every change made up to a time, in ms since 1970.
    pub fn search_shows(&self, time_ms: i64) -> bool {
        self.now_ms() >= time_ms + self.data().state.index_lag_ms()
    }

    /// Changes the rate limits.
    pub fn set_limits(&self, limits: Limits) {
        self.rules().limits = limits;
    }

    pub(crate) fn limits(&self) -> Limits {
        self.rules().limits.clone()
    }

    /// Changes the quirks; earlier changes keep their index lag.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.data().state.set_quirks(&quirks);
        self.rules().quirks = quirks;
    }

    pub(crate) fn quirks(&self) -> Quirks {
        self.rules().quirks.clone()
    }

    pub(crate) fn take(
        &self,
        bucket: Bucket,
        caller: &Caller,
    ) -> Result<Option<Allowance>, Policy> {
        let local_ms = self.now_ms() + self.inner.utc_offset_ms;
        let mut rules = self.rules();
        let Rules {
            limits, buckets, ..
        } = &mut *rules;
        buckets.take(limits, bucket, caller, (Instant::now(), local_ms))
    }

    pub(crate) fn used_today(&self) -> u32 {
        let rules = self.rules();
        rules.buckets.used_today(&rules.limits)
    }
}

fn to_properties(properties: &[(&str, &str)]) -> Properties {
    properties
        .iter()
        .map(|&(name, value)| (name.to_owned(), Some(value.to_owned())))
        .collect()
}

fn first_id(changed: &Changed) -> u64 {
    changed.ids.first().copied().unwrap_or(0)
}
