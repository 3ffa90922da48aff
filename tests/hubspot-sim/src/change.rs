//! Changes of a portal as data, to be applied, logged and replayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::definitions::Definition;

/// Values by property name; `null` removes a value, `""` clears it.
pub type Properties = BTreeMap<String, Option<String>>;

/// One change of a portal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A new object.
    Create {
        /// Its type.
        object_type: String,
        /// Its id; the next free one where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// Its values.
        properties: Properties,
    },
    /// New values; raises last-modified.
    Update {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
        /// The values that change.
        properties: Properties,
    },
    /// New values of calculated properties; keeps last-modified.
    Calculate {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
        /// The values that change.
        properties: Properties,
    },
    /// A bulk job: all objects get the same values and the same last-modified.
    Bulk {
        /// The type of the objects.
        object_type: String,
        /// Their ids.
        ids: Vec<u64>,
        /// The new last-modified, in ms since 1970; now where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<i64>,
        /// The values that change.
        #[serde(default)]
        properties: Properties,
    },
    /// Moves an object to the recycle bin; keeps last-modified.
    Archive {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
    },
    /// Restores an object from the recycle bin; keeps last-modified.
    Restore {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
    },
    /// Deletes an object permanently, as for GDPR: no list shows it any more.
    Erase {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
    },
    /// Merges two objects into a new one with a new id.
    Merge {
        /// Their type.
        object_type: String,
        /// The object whose values win.
        primary: u64,
        /// The other object.
        secondary: u64,
    },
    /// Defines a property, or replaces its definition.
    DefineProperty {
        /// The object type that gets it.
        object_type: String,
        /// The definition.
        definition: Box<Definition>,
    },
    /// Archives a property definition, which removes it from all answers.
    ArchiveProperty {
        /// The object type.
        object_type: String,
        /// The name of the property.
        name: String,
    },
    /// Changes the label of a property; names never change.
    RelabelProperty {
        /// The object type.
        object_type: String,
        /// The name of the property.
        name: String,
        /// The new label.
        label: String,
    },
    /// Adds a custom object type.
    AddType {
        /// Its fully qualified name, such as `p_cars`.
        name: String,
        /// Its id, such as `2-123`.
        type_id: String,
    },
    /// Associates two objects; keeps last-modified.
    Associate {
        /// Type of one object.
        from_type: String,
        /// Its id.
        from: u64,
        /// Type of the other object.
        to_type: String,
        /// Its id.
        to: u64,
        /// The label of the association; the one without a label where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Ends all associations of two objects; keeps last-modified.
    Dissociate {
        /// Type of one object.
        from_type: String,
        /// Its id.
        from: u64,
        /// Type of the other object.
        to_type: String,
        /// Its id.
        to: u64,
    },
}

/// What a change did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The ids of the objects as they are now; a merge names the winner.
    pub ids: Vec<u64>,
    /// When it was applied, in ms since 1970 by HubSpot's clock.
    pub at: i64,
}

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No such object type.
    #[error("the portal has no object type {0}")]
    NoSuchType(String),
    /// No such object, or not in the required state.
    #[error("there is no such object {0}")]
    NoSuchObject(u64),
    /// The id is in use.
    #[error("the id {0} is in use")]
    IdInUse(u64),
    /// No such property.
    #[error("there is no property {0} that can be written")]
    NoSuchProperty(String),
    /// The change cannot be written to disk.
    #[error("cannot write the log of changes")]
    Log(#[source] std::io::Error),
}
