//! Which column of a table holds which property, and how to change the columns
//! when the definitions change.
//!
//! The table itself is the only state: the comment of a column says which
//! property it holds. So all processes agree on a table.

use std::collections::{HashMap, HashSet};

use schemas::{Definitions, Property};
use serde::{Deserialize, Serialize};

/// Maximum number of property columns of a table. The values of further
/// properties go to `_extra`. Above about 1,000 columns, inserts and merges become
/// slow.
pub(crate) const COLUMN_LIMIT: usize = 800;

/// The type of a property's column. Each is `Nullable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// The text, unchanged.
    Text,
    /// A double.
    Number,
    /// A 64-bit identifier, which a double would round.
    Identifier,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// A time in milliseconds.
    Time,
}

impl ColumnType {
    /// The type for a property of HubSpot. HubSpot may add types: unknown ones
    /// are text.
    pub(crate) fn of(property: &Property) -> Self {
        let is_identifier =
            property.name == "hs_object_id" || property.referenced_object_type.is_some();
        match property.kind.as_str() {
            "number" if is_identifier => Self::Identifier,
            "number" => Self::Number,
            "bool" => Self::Boolean,
            "date" => Self::Date,
            "datetime" => Self::Time,
            _ => Self::Text,
        }
    }

    /// ClickHouse's name of the type.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Text => "Nullable(String)",
            Self::Number => "Nullable(Float64)",
            Self::Identifier => "Nullable(Int64)",
            Self::Boolean => "Nullable(Bool)",
            Self::Date => "Nullable(Date32)",
            Self::Time => "Nullable(DateTime64(3, 'UTC'))",
        }
    }

    /// Whether its values are strings in JSON, which has no type for them.
    pub(crate) fn is_text_in_json(self) -> bool {
        matches!(self, Self::Text | Self::Date | Self::Time)
    }

    fn from_sql(text: &str) -> Option<Self> {
        [
            Self::Text,
            Self::Number,
            Self::Identifier,
            Self::Boolean,
            Self::Date,
            Self::Time,
        ]
        .into_iter()
        .find(|kind| kind.sql() == text)
    }
}

/// A column that holds a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name in the table.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Its comment.
    pub note: ColumnNote,
    /// The property's name as the key of a JSON object, colon included.
    pub json_key: Vec<u8>,
}

impl Column {
    /// A column with this name and type.
    pub(crate) fn new(name: String, kind: ColumnType, note: ColumnNote) -> Self {
        // A text can always be written as JSON.
        let mut json_key = serde_json::to_vec(&note.property).unwrap_or_default();
        json_key.push(b':');
        Self {
            name,
            kind,
            note,
            json_key,
        }
    }
}

/// The comment of a column, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnNote {
    /// HubSpot's name of the property.
    pub property: String,
    /// HubSpot's label of the property.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// HubSpot's description of the property.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether HubSpot no longer lists it, or the connection no longer selects it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl ColumnNote {
    fn of(property: &Property) -> Self {
        Self {
            property: property.name.clone(),
            label: property.label.clone(),
            description: property.description.clone(),
            gone: property.gone,
        }
    }

    /// The comment, as stored in the table.
    pub(crate) fn json(&self) -> String {
        // Texts and a truth value can always be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The comment for people, as the view shows it.
    pub(crate) fn text(&self) -> String {
        let mut text = self.label.clone();
        if !self.description.is_empty() && self.description != self.label {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&self.description);
        }
        if self.gone {
            text.push_str(" (no longer read from HubSpot)");
        }
        text.trim_start().to_owned()
    }
}

/// The property columns of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// In the table's order.
    pub columns: Vec<Column>,
    /// By property, the index in `columns` of the column for new values.
    current: HashMap<String, usize>,
    /// Whether any property has more than one column.
    has_changed_types: bool,
    /// When the definitions of these columns were read from HubSpot.
    pub defined_at: i64,
}

/// One part of an `ALTER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnChange {
    /// A new column.
    Add(Column),
    /// A new comment on a column.
    Comment(Column),
}

impl Layout {
    /// The layout of a table with these columns: name, type, comment. Skips the
    /// columns that hold no property.
    pub(crate) fn read<'a>(
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
        defined_at: i64,
    ) -> Self {
        let mut layout = Self {
            defined_at,
            ..Self::default()
        };
        for (name, kind, comment) in rows {
            let column = ColumnType::from_sql(kind)
                .zip(serde_json::from_str::<ColumnNote>(comment).ok())
                .map(|(kind, note)| Column::new(name.to_owned(), kind, note));
            if let Some(column) = column.filter(|_| !name.starts_with('_')) {
                layout.push(column);
            }
        }
        layout
    }

    fn push(&mut self, column: Column) {
        // A later column of the same property has the newer type.
        let earlier = self
            .current
            .insert(column.note.property.clone(), self.columns.len());
        self.has_changed_types |= earlier.is_some();
        self.columns.push(column);
    }

    /// The column for new values of a property, and its index.
    pub(crate) fn current(&self, property: &str) -> Option<(usize, &Column)> {
        let index = *self.current.get(property)?;
        Some((index, self.columns.get(index)?))
    }

    /// Whether the column with this index takes new values of its property.
    pub(crate) fn is_current(&self, index: usize) -> bool {
        let property = self
            .columns
            .get(index)
            .map(|column| column.note.property.as_str());
        // Only a property with a changed type has more than one column.
        !self.has_changed_types
            || property.and_then(|property| self.current.get(property)) == Some(&index)
    }

    /// Each property with its columns, the latest first. Ordered by first column.
    pub(crate) fn properties(&self) -> Vec<(&str, Vec<&Column>)> {
        let mut indexes: HashMap<&str, usize> = HashMap::new();
        let mut found: Vec<(&str, Vec<&Column>)> = Vec::new();
        for column in &self.columns {
            let property = column.note.property.as_str();
            let index = *indexes.entry(property).or_insert(found.len());
            match found.get_mut(index) {
                Some((_, columns)) => columns.insert(0, column),
                None => found.push((property, vec![column])),
            }
        }
        found
    }

    /// The changes that these definitions need. Definitions older than the table's
    /// change nothing, so that a late process cannot revert a type.
    pub(crate) fn plan(&self, definitions: &Definitions) -> Vec<ColumnChange> {
        if definitions.fetched_at < self.defined_at {
            return Vec::new();
        }
        let mut taken: HashSet<String> = self
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect();
        let mut seen = HashSet::new();
        let mut changes = Vec::new();
        for property in &definitions.properties {
            if property.name.is_empty() || !seen.insert(property.name.as_str()) {
                continue;
            }
            let kind = ColumnType::of(property);
            let note = ColumnNote::of(property);
            match self.current(&property.name) {
                Some((_, column)) if column.kind == kind => {
                    if column.note != note {
                        changes.push(ColumnChange::Comment(Column {
                            note,
                            ..column.clone()
                        }));
                    }
                }
                Some(_) | None if taken.len() >= COLUMN_LIMIT => {}
                Some(_) | None => {
                    let name = free_name(&property.name, &taken);
                    taken.insert(name.clone());
                    changes.push(ColumnChange::Add(Column::new(name, kind, note)));
                }
            }
        }
        changes
    }
}

/// The name of a property's column: HubSpot's name, with a number where that is
/// taken. Names that begin with an underscore are reserved for the columns that
/// are not properties.
fn free_name(property: &str, taken: &HashSet<String>) -> String {
    let base = if property.starts_with('_') {
        format!("property{property}")
    } else {
        property.to_owned()
    };
    if !taken.contains(&base) {
        return base;
    }
    (2..=u32::MAX)
        .map(|number| format!("{base}__{number}"))
        .find(|name| !taken.contains(name))
        .unwrap_or(base)
}

#[cfg(test)]
mod tests;
