//! The data of a portal: object types, associations, and how changes apply.

use std::collections::BTreeMap;

use crate::{
    change::{Change, ChangeError, Changed},
    config::{PortalConfig, Quirks},
    index_lag::IndexLag,
    seed,
    table::Table,
};

/// Standard object types: name and HubSpot's id.
const TYPES: [(&str, &str); 18] = [
    ("contacts", "0-1"),
    ("companies", "0-2"),
    ("deals", "0-3"),
    ("tickets", "0-5"),
    ("products", "0-7"),
    ("line_items", "0-8"),
    ("quotes", "0-14"),
    ("communications", "0-18"),
    ("tasks", "0-27"),
    ("notes", "0-46"),
    ("meetings", "0-47"),
    ("calls", "0-48"),
    ("emails", "0-49"),
    ("invoices", "0-53"),
    ("subscriptions", "0-69"),
    ("users", "0-115"),
    ("orders", "0-123"),
    ("leads", "0-136"),
];

/// Associated ids in one direction, by id.
type Links = BTreeMap<u64, Vec<u64>>;

/// The data of a portal.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tables: Vec<Table>,
    links: BTreeMap<(String, String), Links>,
    quirks: Quirks,
}

impl State {
    /// The portal with its demo data, at the time `base_ms` (ms since 1970).
    pub(crate) fn seeded(config: &PortalConfig, base_ms: i64) -> Self {
        let quirks = config.quirks.clone();
        let tables = TYPES
            .iter()
            .map(|(name, id)| Table::new(name, id, IndexLag::of(&quirks, name)))
            .collect();
        let mut state = Self {
            tables,
            links: BTreeMap::new(),
            quirks,
        };
        seed::fill(&mut state, config, base_ms);
        state
    }

    /// The longest index lag of all types, in ms.
    pub(crate) fn index_lag_ms(&self) -> i64 {
        let lags = self.tables.iter().map(|table| table.index_lag.longest_ms());
        lags.max().unwrap_or(0)
    }

    /// Changes the index lag; earlier changes keep theirs.
    pub(crate) fn set_quirks(&mut self, quirks: &Quirks) {
        self.quirks = quirks.clone();
        for table in &mut self.tables {
            table.index_lag = IndexLag::of(quirks, &table.name);
        }
    }

    /// The type of that name or id: `contacts`, `contact`, `0-1`, `p_cars`.
    pub(crate) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(self.index(name)?)
    }

    /// See [`State::table`].
    pub(crate) fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        let index = self.index(name)?;
        self.tables.get_mut(index)
    }

    fn index(&self, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        self.tables.iter().position(|table| {
            table.name == name || table.type_id == name || singular(&table.name) == name
        })
    }

    /// Applies a change at a time of HubSpot's clock, in ms since 1970.
    pub(crate) fn apply(&mut self, change: &Change, at: i64) -> Result<Changed, ChangeError> {
        let mut ids = Vec::new();
        match change {
            Change::Create {
                object_type,
                id,
                properties,
            } => {
                ids.push(self.need(object_type)?.create(*id, properties, at)?);
            }
            Change::Update {
                object_type,
                id,
                properties,
            } => {
                self.need(object_type)?
                    .update(&[*id], properties, Some(at), at)?;
                ids.push(*id);
            }
            Change::Calculate {
                object_type,
                id,
                properties,
            } => {
                self.need(object_type)?
                    .update(&[*id], properties, None, at)?;
                ids.push(*id);
            }
            Change::Bulk {
                object_type,
                ids: all,
                at: when,
                properties,
            } => {
                self.need(object_type)?
                    .update(all, properties, Some(when.unwrap_or(at)), at)?;
                ids.clone_from(all);
            }
            Change::Archive { object_type, id } => {
                self.need(object_type)?.archive(*id, at)?;
                ids.push(*id);
            }
            Change::Restore { object_type, id } => {
                self.need(object_type)?.restore(*id, at)?;
                ids.push(*id);
            }
            Change::Erase { object_type, id } => {
                self.need(object_type)?.erase(*id, at)?;
                ids.push(*id);
            }
            Change::Merge {
                object_type,
                primary,
                secondary,
            } => {
                ids.push(self.need(object_type)?.merge(*primary, *secondary, at)?);
            }
            Change::Associate {
                from_type,
                from,
                to_type,
                to,
            } => {
                let (from_type, to_type) = (
                    self.need(from_type)?.name.clone(),
                    self.need(to_type)?.name.clone(),
                );
                self.associate(&from_type, *from, &to_type, *to);
            }
            Change::DefineProperty { .. }
            | Change::ArchiveProperty { .. }
            | Change::RelabelProperty { .. }
            | Change::AddType { .. } => self.apply_to_definitions(change, at)?,
        }
        Ok(Changed { ids, at })
    }

    fn apply_to_definitions(&mut self, change: &Change, at: i64) -> Result<(), ChangeError> {
        match change {
            Change::DefineProperty {
                object_type,
                definition,
            } => {
                let mut definition = (**definition).clone();
                definition.updated_at = at;
                self.need(object_type)?.define(definition);
            }
            Change::ArchiveProperty { object_type, name } => {
                let table = self.need(object_type)?;
                let mut definition = table.definition(name)?.clone();
                definition.archived_at = Some(at);
                table.define(definition);
            }
            Change::RelabelProperty {
                object_type,
                name,
                label,
            } => {
                let table = self.need(object_type)?;
                let mut definition = table.definition(name)?.clone();
                label.clone_into(&mut definition.label);
                definition.updated_at = at;
                table.define(definition);
            }
            Change::AddType { name, type_id } if self.index(name).is_none() => {
                let index_lag = IndexLag::of(&self.quirks, name);
                self.tables.push(Table::new(name, type_id, index_lag));
            }
            _ => {}
        }
        Ok(())
    }

    fn need(&mut self, name: &str) -> Result<&mut Table, ChangeError> {
        self.table_mut(name)
            .ok_or_else(|| ChangeError::NoSuchType(name.to_owned()))
    }

    /// Associates two objects, in both directions.
    pub(crate) fn associate(&mut self, from_type: &str, from: u64, to_type: &str, to: u64) {
        for (one_type, one, other_type, other) in [
            (from_type, from, to_type, to),
            (to_type, to, from_type, from),
        ] {
            let links = self
                .links
                .entry((one_type.to_owned(), other_type.to_owned()))
                .or_default();
            let linked = links.entry(one).or_default();
            if let Err(index) = linked.binary_search(&other) {
                linked.insert(index, other);
            }
        }
    }

    /// The ids of `to` that are associated with an id of `from`.
    pub(crate) fn associated(&self, from: &Table, id: u64, to: &Table) -> &[u64] {
        self.links
            .get(&(from.name.clone(), to.name.clone()))
            .and_then(|links| links.get(&id))
            .map_or(&[], Vec::as_slice)
    }
}

/// `companies` as `company`: both are accepted in paths.
pub(crate) fn singular(name: &str) -> String {
    match name.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => name.strip_suffix('s').unwrap_or(name).to_owned(),
    }
}
