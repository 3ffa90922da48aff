//! The demo data, generated from a seed.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    config::PortalConfig,
    definitions::{Definition, Source},
    record::Record,
    state::State,
    timestamps::DAY_MS,
    values::Values,
    words,
};

/// Fills an empty portal.
pub(crate) fn fill(state: &mut State, config: &PortalConfig, base_ms: i64) {
    let contacts = Plan {
        object_type: "contacts",
        rows: config.contacts,
        properties: config.properties,
        set: config.set_properties,
        distinct: config.distinct,
        defaults: words::CONTACT_PROPERTIES,
    };
    let companies = Plan {
        object_type: "companies",
        rows: config.companies,
        properties: config.properties.min(30),
        set: config.set_properties.min(22),
        distinct: config.distinct,
        defaults: words::COMPANY_PROPERTIES,
    };
    let mut rng = StdRng::seed_from_u64(config.seed);
    let people = contacts.fill(state, &mut rng, config.archived_percent, base_ms);
    let firms = companies.fill(state, &mut rng, config.archived_percent, base_ms);
    for name in ["deals", "tickets", "products", "line_items", "leads"] {
        if let Some(table) = state.table_mut(name) {
            for (name, kind, field) in words::DEAL_PROPERTIES {
                table.define(default_property(name, kind, field));
            }
        }
    }
    if firms.is_empty() {
        return;
    }
    for person in people {
        if rng.random_ratio(4, 5)
            && let Some(firm) = firms.get(rng.random_range(0..firms.len()))
        {
            state
                .links
                .add(("contacts", person), ("companies", *firm), None);
        }
    }
}

/// The demo data of an object type.
struct Plan {
    object_type: &'static str,
    rows: u32,
    properties: u16,
    set: u16,
    /// How many rows have distinct values; 0 is all.
    distinct: u32,
    defaults: &'static [(&'static str, &'static str, &'static str)],
}

impl Plan {
    fn fill(
        &self,
        state: &mut State,
        rng: &mut StdRng,
        archived_percent: f64,
        base_ms: i64,
    ) -> Vec<u64> {
        let Some(table) = state.table_mut(self.object_type) else {
            return Vec::new();
        };
        // The number of properties includes the four system properties.
        let own = usize::from(self.properties).saturating_sub(4);
        for (name, kind, field) in self.defaults.iter().take(own) {
            table.define(default_property(name, kind, field));
        }
        for number in 0..own.saturating_sub(self.defaults.len()) {
            table.define(custom_property(number));
        }
        let stored: Vec<(u16, Definition)> = table
            .definitions
            .all_active()
            .filter(|(_, it)| it.source == Source::Stored && it.name != "hs_merged_object_ids")
            .map(|(slot, it)| (slot, it.clone()))
            .collect();
        let share = (f64::from(self.set)
            / f64::from(u16::try_from(stored.len().max(1)).unwrap_or(u16::MAX)))
        .min(1.0);
        let mut pool: Vec<Arc<Values>> = Vec::new();
        let mut ids = Vec::with_capacity(self.rows as usize);
        // Real portals have old, short ids and new, long ones.
        let mut id = 50;
        for row in 0..self.rows {
            id = if row == self.rows / 20 + 1 {
                20_000_000_000
            } else {
                id
            };
            id += if row <= self.rows / 20 {
                50
            } else {
                rng.random_range(1..2_000)
            };
            let created = base_ms - rng.random_range(DAY_MS..1_100 * DAY_MS);
            let updated = rng.random_range(created..base_ms - 60_000);
            let values = if self.distinct > 0 && row >= self.distinct {
                let earlier = rng.random_range(0..pool.len().max(1));
                pool.get(earlier).cloned().unwrap_or_default()
            } else {
                let mut values: Vec<(u16, String)> = Vec::with_capacity(stored.len());
                for (order, (slot, definition)) in stored.iter().enumerate() {
                    // The first three are names, which every object has.
                    if order < 3 || rng.random_bool(share) {
                        let value = words::value(definition, rng, u64::from(row), base_ms);
                        values.push((*slot, value));
                    }
                }
                let packed = values.iter().map(|(slot, value)| (*slot, value.as_str()));
                let packed = Values::pack(packed);
                if self.distinct > 0 {
                    pool.push(Arc::new(packed.shared()));
                    pool.last().cloned().unwrap_or_default()
                } else {
                    Arc::new(packed)
                }
            };
            let mut record = Record::new(id, created, updated, values);
            if rng.random_bool(archived_percent / 100.0) {
                record.archived_ms = Some(rng.random_range(updated..base_ms));
            } else {
                ids.push(id);
            }
            table.insert_seeded(record);
        }
        ids
    }
}

fn default_property(name: &str, kind: &str, field_type: &str) -> Definition {
    let mut definition = Definition {
        hubspot_defined: true,
        options: words::options(name),
        description: format!("The {} as HubSpot defines it", name.replace('_', " ")),
        ..Definition::new(name, kind, field_type)
    };
    definition.calculated = field_type.starts_with("calculation");
    definition.hidden = name.starts_with("hs_");
    definition.references = match name {
        "associatedcompanyid" => Some("COMPANY".to_owned()),
        "hubspot_owner_id" => Some("OWNER".to_owned()),
        _ => None,
    };
    definition
}

/// A property defined by the customer, of one of eight kinds.
fn custom_property(number: usize) -> Definition {
    let (kind, field_type) = match number % 8 {
        0 => ("string", "text"),
        1 => ("number", "number"),
        2 => ("date", "date"),
        3 => ("enumeration", "select"),
        4 => ("bool", "booleancheckbox"),
        5 => ("datetime", "date"),
        6 => ("enumeration", "checkbox"),
        _ => ("string", "textarea"),
    };
    let mut definition = Definition::new(&format!("custom_{kind}_{number}"), kind, field_type);
    if kind == "enumeration" {
        definition.options = ["bronze", "silver", "gold", "platinum"]
            .map(str::to_owned)
            .into();
    }
    definition
}
