//! Associations of objects, with their labels.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// Associated ids in one direction, by id. Most have no label, and there are as many as
/// objects, so labels are kept apart.
type Ids = BTreeMap<u64, Vec<u64>>;

/// Both objects of an association, in one direction.
type Ends = (String, u64, String, u64);

/// All associations of a portal.
#[derive(Debug, Default)]
pub(crate) struct Links {
    ids: BTreeMap<(String, String), Ids>,
    labels: BTreeMap<Ends, BTreeSet<String>>,
}

/// A kind of association.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AssociationType {
    /// Who defined it.
    pub category: &'static str,
    /// Its id, unique within its category.
    pub type_id: i64,
    /// The label, if it has one.
    pub label: Option<String>,
}

impl Default for AssociationType {
    /// The association without a label.
    fn default() -> Self {
        Self {
            category: "HUBSPOT_DEFINED",
            type_id: 279,
            label: None,
        }
    }
}

/// An object: its type and its id.
pub(crate) type End<'a> = (&'a str, u64);

impl Links {
    /// Associates two objects, in both directions, with a label or without one.
    pub(crate) fn add(&mut self, one: End<'_>, other: End<'_>, label: Option<&str>) {
        for ((from_type, from), (to_type, to)) in [(one, other), (other, one)] {
            let types = (from_type.to_owned(), to_type.to_owned());
            let linked = self.ids.entry(types).or_default().entry(from).or_default();
            if let Err(index) = linked.binary_search(&to) {
                linked.insert(index, to);
            }
            if let Some(label) = label {
                let ends = (from_type.to_owned(), from, to_type.to_owned(), to);
                self.labels
                    .entry(ends)
                    .or_default()
                    .insert(label.to_owned());
            }
        }
    }

    /// Ends all associations of two objects, in both directions.
    pub(crate) fn remove(&mut self, one: End<'_>, other: End<'_>) {
        for ((from_type, from), (to_type, to)) in [(one, other), (other, one)] {
            let types = (from_type.to_owned(), to_type.to_owned());
            if let Some(linked) = self.ids.get_mut(&types).and_then(|it| it.get_mut(&from)) {
                linked.retain(|id| *id != to);
            }
            let ends = (from_type.to_owned(), from, to_type.to_owned(), to);
            self.labels.remove(&ends);
        }
    }

    /// The ids of a type that are associated with an object, ascending.
    pub(crate) fn of(&self, (from_type, from): End<'_>, to_type: &str) -> &[u64] {
        let types = (from_type.to_owned(), to_type.to_owned());
        let ids = self.ids.get(&types).and_then(|it| it.get(&from));
        ids.map_or(&[], Vec::as_slice)
    }

    /// The labels of an association.
    pub(crate) fn labels(&self, (from_type, from): End<'_>, (to_type, to): End<'_>) -> Vec<&str> {
        let ends = (from_type.to_owned(), from, to_type.to_owned(), to);
        let labels = self.labels.get(&ends).into_iter().flatten();
        labels.map(String::as_str).collect()
    }
}
