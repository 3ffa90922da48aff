//! The objects of one type: live, archived, merged; and how they change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    change::{ChangeError, Properties},
    definitions::{Definition, Definitions, Source},
    digest::{Digest, object_hash},
    index::SearchIndex,
    index_lag::IndexLag,
    record::Record,
    values::Values,
};

/// One object type of a portal.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The name in paths, such as `contacts`.
    pub(crate) name: String,
    /// HubSpot's id of the type, such as `0-1`.
    pub(crate) type_id: String,
    /// Shared with answers under way.
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) live: BTreeMap<u64, Record>,
    pub(crate) archived: BTreeMap<u64, Record>,
    /// Merged ids, with the id of the object that replaced them.
    pub(crate) merged: HashMap<u64, u64>,
    pub(crate) index: SearchIndex,
    pub(crate) index_lag: IndexLag,
    /// The highest id so far.
    highest: u64,
}

/// What a type holds, to compare the result of a sync with.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Truth {
    /// Number of objects, live and archived.
    pub count: u64,
    /// Number of archived objects.
    pub archived: u64,
    /// The digest of all objects; 16 hexadecimal digits in JSON.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// HubSpot's time of the comparison, in ms since 1970.
    pub now_ms: i64,
    /// The objects, ordered by id; empty if not requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<TrueObject>,
}

/// One object of the truth.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TrueObject {
    /// Its id.
    pub id: u64,
    /// Its time of creation, in ms since 1970.
    pub created_at_ms: i64,
    /// Its time of last change, in ms since 1970.
    pub updated_at_ms: i64,
    /// Whether it is in the recycle bin.
    pub archived: bool,
    /// The properties that are set, as HubSpot's API writes them.
    pub properties: BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn as_text<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

impl Table {
    pub(crate) fn new(name: &str, type_id: &str, index_lag: IndexLag) -> Self {
        let mut table = Self {
            name: name.to_owned(),
            type_id: type_id.to_owned(),
            index_lag,
            ..Self::default()
        };
        let (created, modified) = time_properties(name, type_id);
        for (name, kind, field_type, source) in [
            ("hs_object_id", "number", "number", Source::Id),
            (created, "datetime", "date", Source::Created),
            (modified, "datetime", "date", Source::Modified),
            (
                "hs_merged_object_ids",
                "enumeration",
                "checkbox",
                Source::Stored,
            ),
        ] {
            let definition = Definition {
                hubspot_defined: true,
                source,
                ..Definition::new(name, kind, field_type)
            };
            table.define(definition);
        }
        table
    }

    /// Adds a definition, or replaces the one of that name.
    pub(crate) fn define(&mut self, definition: Definition) {
        Arc::make_mut(&mut self.definitions).put(definition);
    }

    /// The definition of a property that is not archived.
    pub(crate) fn definition(&self, name: &str) -> Result<&Definition, ChangeError> {
        let found = self.definitions.active(name);
        found
            .map(|(_, definition)| definition)
            .ok_or_else(|| ChangeError::NoSuchProperty(name.to_owned()))
    }

    /// The live objects, or those in the recycle bin.
    pub(crate) fn rows(&self, archived: bool) -> &BTreeMap<u64, Record> {
        if archived { &self.archived } else { &self.live }
    }

    /// Renders each object, so that the first page is as fast as later ones.
    pub(crate) fn prerender(&self) {
        let mut scratch = Vec::new();
        for record in self.live.values().chain(self.archived.values()) {
            record.write_all(&self.definitions, &mut scratch);
            scratch.clear();
        }
    }

    /// The current id of an object, which may have been merged.
    pub(crate) fn current_id(&self, mut id: u64) -> u64 {
        while let Some(&winner) = self.merged.get(&id) {
            id = winner;
        }
        id
    }

    pub(crate) fn create(
        &mut self,
        id: Option<u64>,
        properties: &Properties,
        at: i64,
    ) -> Result<u64, ChangeError> {
        let id = id.unwrap_or_else(|| self.next_id());
        if self.live.contains_key(&id)
            || self.archived.contains_key(&id)
            || self.merged.contains_key(&id)
        {
            return Err(ChangeError::IdInUse(id));
        }
        let mut record = Record::new(id, at, at, Values::default());
        record.set(&self.slots(properties)?);
        self.insert(record, at);
        Ok(id)
    }

    /// Sets values of live objects, with one last-modified.
    pub(crate) fn update(
        &mut self,
        ids: &[u64],
        properties: &Properties,
        modified_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<(), ChangeError> {
        let slots = self.slots(properties)?;
        if let Some(id) = ids.iter().find(|id| !self.live.contains_key(id)) {
            return Err(ChangeError::NoSuchObject(*id));
        }
        for id in ids {
            let Some(record) = self.live.get_mut(id) else {
                continue;
            };
            record.set(&slots);
            if let Some(ms) = modified_ms {
                record.updated_ms = ms;
                self.note(now_ms, *id, Some(ms));
            }
        }
        Ok(())
    }

    pub(crate) fn archive(&mut self, id: u64, at: i64) -> Result<(), ChangeError> {
        let mut record = self.live.remove(&id).ok_or(ChangeError::NoSuchObject(id))?;
        record.archived_ms = Some(at);
        self.archived.insert(id, record);
        self.note(at, id, None);
        Ok(())
    }

    pub(crate) fn restore(&mut self, id: u64, at: i64) -> Result<(), ChangeError> {
        let mut record = self
            .archived
            .remove(&id)
            .ok_or(ChangeError::NoSuchObject(id))?;
        record.archived_ms = None;
        self.insert(record, at);
        Ok(())
    }

    pub(crate) fn erase(&mut self, id: u64, at: i64) -> Result<(), ChangeError> {
        if self
            .live
            .remove(&id)
            .or_else(|| self.archived.remove(&id))
            .is_none()
        {
            return Err(ChangeError::NoSuchObject(id));
        }
        self.note(at, id, None);
        Ok(())
    }

    pub(crate) fn merge(&mut self, first: u64, second: u64, at: i64) -> Result<u64, ChangeError> {
        if first == second {
            return Err(ChangeError::NoSuchObject(second));
        }
        let merged_slot = self
            .definitions
            .slot("hs_merged_object_ids")
            .unwrap_or(u16::MAX);
        let primary = self
            .live
            .get(&first)
            .ok_or(ChangeError::NoSuchObject(first))?;
        let secondary = self
            .live
            .get(&second)
            .ok_or(ChangeError::NoSuchObject(second))?;
        let mut away = vec![first.to_string(), second.to_string()];
        for side in [primary, secondary] {
            let before = side.values.get(merged_slot).unwrap_or("");
            away.extend(
                before
                    .split(';')
                    .filter(|id| !id.is_empty())
                    .map(str::to_owned),
            );
        }
        let away = away.join(";");
        // Values of the primary win; the secondary adds the others.
        let wins: Vec<(u16, Option<&str>)> = primary
            .values
            .iter()
            .map(|(slot, value)| (slot, Some(value)))
            .collect();
        let values = secondary.values.with(&wins);
        let values = values.with(&[(merged_slot, Some(&away))]);
        let created_ms = primary.created_ms.min(secondary.created_ms);
        let winner = self.next_id();
        for id in [first, second] {
            self.live.remove(&id);
            self.merged.insert(id, winner);
            self.note(at, id, None);
        }
        self.insert(Record::new(winner, created_ms, at, values), at);
        Ok(winner)
    }

    /// Hands a change to the search index, which shows it after its lag.
    fn note(&mut self, now_ms: i64, id: u64, modified_ms: Option<i64>) {
        let visible_at_ms = now_ms + self.index_lag.of_object(id);
        self.index.note(visible_at_ms, id, modified_ms);
    }

    pub(crate) fn insert(&mut self, record: Record, now_ms: i64) {
        self.note(now_ms, record.id, Some(record.updated_ms));
        self.highest = self.highest.max(record.id);
        self.live.insert(record.id, record);
    }

    /// Adds an object of the demo data, which search shows at once.
    pub(crate) fn insert_seeded(&mut self, record: Record) {
        self.highest = self.highest.max(record.id);
        if record.archived_ms.is_some() {
            self.archived.insert(record.id, record);
        } else {
            self.index.put(record.id, Some(record.updated_ms));
            self.live.insert(record.id, record);
        }
    }

    /// The next id. As in real portals, ids have gaps and are never used again.
    fn next_id(&self) -> u64 {
        let highest = self.highest.max(1_000);
        highest + 1 + highest % 7
    }

    fn slots<'a>(
        &self,
        properties: &'a Properties,
    ) -> Result<Vec<(u16, Option<&'a str>)>, ChangeError> {
        properties
            .iter()
            .map(|(name, value)| match self.definitions.active(name) {
                Some((slot, definition)) if definition.source == Source::Stored => {
                    Ok((slot, value.as_deref()))
                }
                _ => Err(ChangeError::NoSuchProperty(name.clone())),
            })
            .collect()
    }

    /// What the type holds now.
    pub(crate) fn truth(&self, now_ms: i64, with_objects: bool) -> Truth {
        let mut truth = Truth {
            count: (self.live.len() + self.archived.len()) as u64,
            archived: self.archived.len() as u64,
            digest: Digest::default(),
            now_ms,
            objects: Vec::new(),
        };
        for record in self.live.values().chain(self.archived.values()) {
            let properties = record.set_properties(&self.definitions);
            let archived = record.archived_ms.is_some();
            let pairs = properties
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            truth
                .digest
                .add(object_hash(record.id, record.updated_ms, archived, pairs));
            if with_objects {
                truth.objects.push(TrueObject {
                    id: record.id,
                    created_at_ms: record.created_ms,
                    updated_at_ms: record.updated_ms,
                    archived,
                    properties: properties.into_iter().collect(),
                });
            }
        }
        truth.objects.sort_by_key(|object| object.id);
        truth
    }
}

/// The names of the properties with the times of creation and last change.
fn time_properties(name: &str, type_id: &str) -> (&'static str, &'static str) {
    const ACTIVITIES: [&str; 10] = [
        "calls",
        "emails",
        "meetings",
        "notes",
        "tasks",
        "communications",
        "quotes",
        "feedback_submissions",
        "deal_split",
        "subscriptions",
    ];
    if name == "contacts" {
        ("createdate", "lastmodifieddate")
    } else if type_id.starts_with("2-") || ACTIVITIES.contains(&name) {
        ("hs_createdate", "hs_lastmodifieddate")
    } else {
        ("createdate", "hs_lastmodifieddate")
    }
}
