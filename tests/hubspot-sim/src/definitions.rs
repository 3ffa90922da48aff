//! The property definitions of one object type, as the properties endpoint
//! shows them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{sensitivity::Sensitivity, timestamps};

/// One property of an object type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// Its name, which never changes.
    pub name: String,
    /// The name shown to people.
    pub label: String,
    /// HubSpot's `type`: `string`, `number`, `date`, `datetime`, `bool`, `enumeration` …
    pub kind: String,
    /// HubSpot's `fieldType`: `text`, `textarea`, `checkbox` … The value of
    /// `calculation_read_time` differs at every read.
    pub field_type: String,
    /// A description.
    pub description: String,
    /// The choices of an enumeration.
    pub options: Vec<String>,
    /// Computed by HubSpot, which keeps last-modified.
    pub calculated: bool,
    /// Hidden in HubSpot's user interface.
    pub hidden: bool,
    /// Defined by HubSpot, not by the customer.
    pub hubspot_defined: bool,
    /// The object type whose ids are the values.
    pub references: Option<String>,
    /// How sensitive its values are, which decides the scope that they need.
    pub sensitivity: Sensitivity,
    /// When it was archived, in ms since 1970.
    pub archived_at: Option<i64>,
    /// When it was defined, in ms since 1970.
    pub created_at: i64,
    /// When it was last changed, in ms since 1970.
    pub updated_at: i64,
    /// The source of its value.
    #[serde(skip)]
    pub source: Source,
}

impl Default for Definition {
    fn default() -> Self {
        Self::new("", "string", "text")
    }
}

/// The source of a property's value.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A value of the object.
    #[default]
    Stored,
    /// The object's id.
    Id,
    /// The time of creation.
    Created,
    /// The time of the last change.
    Modified,
    /// Computed when the object is read: a number that differs at every read. The
    /// truth leaves it out.
    ReadTime,
}

impl Source {
    /// Whether answers show it without being asked for it.
    pub(crate) fn is_always_shown(self) -> bool {
        matches!(self, Self::Id | Self::Created | Self::Modified)
    }
}

impl Definition {
    /// A property defined by the customer.
    pub fn new(name: &str, kind: &str, field_type: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: label_of(name),
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            description: String::new(),
            options: Vec::new(),
            calculated: false,
            hidden: false,
            hubspot_defined: false,
            references: None,
            sensitivity: Sensitivity::NonSensitive,
            archived_at: None,
            created_at: 1_577_836_800_000,
            updated_at: 1_577_836_800_000,
            source: Source::Stored,
        }
    }

    /// As the properties endpoint shows it.
    fn to_json(&self, order: usize) -> Value {
        let options: Vec<Value> = self
            .options
            .iter()
            .enumerate()
            .map(|(order, value)| {
                json!({"label": label_of(value), "value": value, "displayOrder": order,
                       "hidden": false, "description": null})
            })
            .collect();
        let mut shown = json!({
            "name": self.name, "label": self.label, "type": self.kind,
            "fieldType": self.field_type, "groupName": "information",
            "description": self.description, "options": options, "displayOrder": order,
            "calculated": self.calculated, "externalOptions": self.references.is_some(),
            "hasUniqueValue": self.source == Source::Id, "hidden": self.hidden,
            "hubspotDefined": self.hubspot_defined, "formField": !self.hidden,
            "archived": self.archived_at.is_some(), "dataSensitivity": self.sensitivity.as_str(),
            "createdAt": timestamps::iso(self.created_at), "updatedAt": timestamps::iso(self.updated_at),
            "createdUserId": "2345678", "updatedUserId": "2345678",
            "modificationMetadata": {
                "archivable": !self.hubspot_defined, "readOnlyDefinition": self.hubspot_defined,
                "readOnlyOptions": self.hubspot_defined,
                "readOnlyValue": self.calculated || self.source != Source::Stored,
            },
        });
        if let Some(fields) = shown.as_object_mut() {
            if let Some(references) = &self.references {
                fields.insert("referencedObjectType".into(), json!(references));
            }
            if let Some(at) = self.archived_at {
                fields.insert("archivedAt".into(), json!(timestamps::iso(at)));
            }
            if self.calculated {
                fields.insert("calculationFormula".into(), json!("1 + 1"));
            }
        }
        shown
    }
}

/// `first_name` as `First name`.
fn label_of(name: &str) -> String {
    let mut label = name.replace('_', " ");
    if let Some(first) = label.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    label
}

/// All definitions of an object type, in order. A slot, the index of a
/// definition, is never used again.
#[derive(Debug, Default, Clone)]
pub(crate) struct Definitions {
    list: Vec<Definition>,
    slots: HashMap<String, u16>,
    /// Raised by each change; a rendering of an older version is stale.
    pub(crate) version: u32,
}

impl Definitions {
    /// Adds a definition, or replaces the one of that name.
    pub(crate) fn put(&mut self, mut definition: Definition) {
        if definition.field_type == "calculation_read_time" {
            definition.calculated = true;
            definition.source = Source::ReadTime;
        }
        self.version += 1;
        if let Some(&slot) = self.slots.get(&definition.name) {
            if let Some(slot) = self.list.get_mut(usize::from(slot)) {
                *slot = definition;
            }
        } else {
            let slot = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
            self.slots.insert(definition.name.clone(), slot);
            self.list.push(definition);
        }
    }

    /// The slot of a property by name, archived ones included.
    pub(crate) fn slot(&self, name: &str) -> Option<u16> {
        self.slots.get(name).copied()
    }

    /// The definition at a slot.
    pub(crate) fn at(&self, slot: u16) -> Option<&Definition> {
        self.list.get(usize::from(slot))
    }

    /// The definition of that name, unless archived.
    pub(crate) fn active(&self, name: &str) -> Option<(u16, &Definition)> {
        let slot = self.slot(name)?;
        self.at(slot)
            .filter(|definition| definition.archived_at.is_none())
            .map(|d| (slot, d))
    }

    /// All definitions that are not archived, with their slots.
    pub(crate) fn all_active(&self) -> impl Iterator<Item = (u16, &Definition)> {
        (0..)
            .zip(&self.list)
            .filter(|(_, definition)| definition.archived_at.is_none())
    }

    /// Those of one sensitivity, as the properties endpoint shows them.
    pub(crate) fn to_json(&self, archived: bool, sensitivity: Sensitivity) -> Vec<Value> {
        self.list
            .iter()
            .enumerate()
            .filter(|(_, definition)| definition.sensitivity == sensitivity)
            .filter(|(_, definition)| definition.archived_at.is_some() == archived)
            .map(|(order, definition)| definition.to_json(order))
            .collect()
    }
}
