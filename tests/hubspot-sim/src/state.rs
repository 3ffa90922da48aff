//! The data of a portal: object types, associations, and how changes apply.

use crate::{
    change::{Change, ChangeError, Changed},
    config::{PortalConfig, Quirks},
    index_lag::IndexLag,
    links::{AssociationType, End, Links},
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

/// The data of a portal.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tables: Vec<Table>,
    pub(crate) links: Links,
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
            links: Links::default(),
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
            Change::Associate { .. } | Change::Dissociate { .. } => self.apply_to_links(change)?,
            Change::DefineProperty { .. }
            | Change::ArchiveProperty { .. }
            | Change::RelabelProperty { .. }
            | Change::AddType { .. } => self.apply_to_definitions(change, at)?,
        }
        Ok(Changed { ids, at })
    }

    fn apply_to_links(&mut self, change: &Change) -> Result<(), ChangeError> {
        let (Change::Associate {
            from_type,
            from,
            to_type,
            to,
            ..
        }
        | Change::Dissociate {
            from_type,
            from,
            to_type,
            to,
        }) = change
        else {
            return Ok(());
        };
        let from_type = self.need(from_type)?.name.clone();
        let to_type = self.need(to_type)?.name.clone();
        let (one, other) = ((from_type.as_str(), *from), (to_type.as_str(), *to));
        match change {
            Change::Associate { label, .. } => self.links.add(one, other, label.as_deref()),
            _ => self.links.remove(one, other),
        }
        Ok(())
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

    /// The kinds of association of two objects: category, id of the kind, and label.
    pub(crate) fn association_types(&self, one: End<'_>, other: End<'_>) -> Vec<AssociationType> {
        let labels = self.links.labels(one, other).into_iter().zip(1..);
        let labelled = labels.map(|(label, number)| AssociationType {
            category: "USER_DEFINED",
            type_id: number,
            label: Some(label.to_owned()),
        });
        std::iter::once(AssociationType::default())
            .chain(labelled)
            .collect()
    }

    /// The live objects of `to` that a live object of `from` is associated with, ascending.
    pub(crate) fn associated(&self, from: &Table, id: u64, to: &Table) -> Vec<u64> {
        if !from.live.contains_key(&id) {
            return Vec::new();
        }
        let linked = self.links.of((&from.name, id), &to.name).iter();
        let is_live = |id: &&u64| to.live.contains_key(*id);
        linked.filter(is_live).copied().collect()
    }
}

/// `companies` as `company`: both are accepted in paths.
pub(crate) fn singular(name: &str) -> String {
    match name.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => name.strip_suffix('s').unwrap_or(name).to_owned(),
    }
}
