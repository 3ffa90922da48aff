//! The properties that an answer shows.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{answer::Answer, json, sensitivity::Withheld, table::Table};

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
    withheld: &Withheld,
) -> Result<Selection, Answer> {
    let Some(raw) = raw.filter(|raw| !raw.is_empty()) else {
        return defaults(table, withheld);
    };
    let key = format!("{}?{raw} {withheld:?}", table.name);
    if let Some(selection) = kept.get(&key) {
        return Ok(selection.clone());
    }
    let names = json::decode(raw);
    let selection = resolve(table, names.split(','), withheld)?;
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, selection.clone());
    Ok(selection)
}

/// The properties named in a body.
pub(crate) fn of_names<'a>(
    table: &Table,
    names: impl IntoIterator<Item = &'a str>,
    given: bool,
    withheld: &Withheld,
) -> Result<Selection, Answer> {
    if given {
        resolve(table, names, withheld)
    } else {
        defaults(table, withheld)
    }
}

/// Unknown names are ignored; three properties are always shown.
fn resolve<'a>(
    table: &Table,
    names: impl IntoIterator<Item = &'a str>,
    withheld: &Withheld,
) -> Result<Selection, Answer> {
    let definitions = &table.definitions;
    let mut slots: BTreeSet<u16> = definitions
        .all_active()
        .filter(|(_, definition)| definition.source.is_always_shown())
        .map(|(slot, _)| slot)
        .collect();
    for name in names {
        if let Some((slot, definition)) = definitions.active(name.trim())
            && withheld.shows(&table.name, definition.sensitivity)?
        {
            slots.insert(slot);
        }
    }
    Ok(if slots.len() == definitions.all_active().count() {
        Selection::All
    } else {
        Selection::Some(slots.into_iter().collect())
    })
}

/// The properties shown when none is requested.
fn defaults(table: &Table, withheld: &Withheld) -> Result<Selection, Answer> {
    resolve(
        table,
        [
            "email",
            "firstname",
            "lastname",
            "name",
            "domain",
            "dealname",
        ],
        withheld,
    )
}
