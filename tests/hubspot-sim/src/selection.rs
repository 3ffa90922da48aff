//! The properties that an answer shows.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{definitions::Definitions, json, table::Table};

/// How many resolved lists are kept; a client sends few different ones.
const KEPT: usize = 64;

/// The properties of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Selection {
    /// All properties of the portal; this rendering is cached.
    All,
    /// The properties in these slots, in order.
    Some(Arc<[u16]>),
}

/// The properties named in a query string, separated by commas.
pub(crate) fn of_query(
    kept: &mut HashMap<String, Selection>,
    table: &Table,
    raw: Option<&str>,
) -> Selection {
    let Some(raw) = raw.filter(|raw| !raw.is_empty()) else {
        return defaults(table);
    };
    let key = format!("{}?{raw}", table.name);
    if let Some(selection) = kept.get(&key) {
        return selection.clone();
    }
    let names = json::decode(raw);
    let selection = resolve(&table.definitions, names.split(','));
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, selection.clone());
    selection
}

/// The properties named in a body.
pub(crate) fn of_names<'a>(
    table: &Table,
    names: impl IntoIterator<Item = &'a str>,
    given: bool,
) -> Selection {
    if given {
        resolve(&table.definitions, names)
    } else {
        defaults(table)
    }
}

/// Unknown names are ignored; three properties are always shown.
fn resolve<'a>(definitions: &Definitions, names: impl IntoIterator<Item = &'a str>) -> Selection {
    let mut slots: BTreeSet<u16> = definitions
        .all_active()
        .filter(|(_, definition)| definition.source.is_always_shown())
        .map(|(slot, _)| slot)
        .collect();
    slots.extend(
        names
            .into_iter()
            .filter_map(|name| Some(definitions.active(name.trim())?.0)),
    );
    if slots.len() == definitions.all_active().count() {
        Selection::All
    } else {
        Selection::Some(slots.into_iter().collect())
    }
}

/// The properties shown when none is requested.
fn defaults(table: &Table) -> Selection {
    resolve(
        &table.definitions,
        [
            "email",
            "firstname",
            "lastname",
            "name",
            "domain",
            "dealname",
        ],
    )
}
