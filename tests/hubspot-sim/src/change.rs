//! What can happen in a portal, as data: applied, logged and replayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::definitions::Definition;

/// Values by property name; `null` takes a value away, `""` clears it.
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
    /// New values, which raise last-modified.
    Update {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
        /// The values that change.
        properties: Properties,
    },
    /// New values of calculated properties, which leave last-modified alone.
    Calculate {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
        /// The values that change.
        properties: Properties,
    },
    /// A bulk job: all get the same values and the same last-modified.
    Bulk {
        /// The type of the objects.
        object_type: String,
        /// Their ids.
        ids: Vec<u64>,
        /// The millisecond; now where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<i64>,
        /// The values that change.
        #[serde(default)]
        properties: Properties,
    },
    /// Into the recycle bin; leaves last-modified alone.
    Archive {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
    },
    /// Out of the recycle bin; leaves last-modified alone.
    Restore {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
    },
    /// Gone for good, as a GDPR deletion: no list shows it any more.
    Erase {
        /// The object's type.
        object_type: String,
        /// Its id.
        id: u64,
    },
    /// Two objects become a new one with a new id.
    Merge {
        /// Their type.
        object_type: String,
        /// The one whose values win.
        primary: u64,
        /// The other.
        secondary: u64,
    },
    /// A new property definition, or another form of one.
    DefineProperty {
        /// The object type that gets it.
        object_type: String,
        /// The definition.
        definition: Box<Definition>,
    },
    /// A property definition goes into the recycle bin, and out of all answers.
    ArchiveProperty {
        /// The object type.
        object_type: String,
        /// The name of the property.
        name: String,
    },
    /// A property gets another label; names never change.
    RelabelProperty {
        /// The object type.
        object_type: String,
        /// The name of the property.
        name: String,
        /// The new label.
        label: String,
    },
    /// A custom object type.
    AddType {
        /// Its fully qualified name, such as `p_cars`.
        name: String,
        /// Its id, such as `2-123`.
        type_id: String,
    },
    /// Two objects are associated; no last-modified moves.
    Associate {
        /// Type of the one.
        from_type: String,
        /// The one.
        from: u64,
        /// Type of the other.
        to_type: String,
        /// The other.
        to: u64,
    },
}

/// What a change did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The ids of the objects as they are now; a merge names the winner.
    pub ids: Vec<u64>,
    /// When it happened, in ms since 1970 by HubSpot's clock.
    pub at: i64,
}

/// Why a change cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No such object type.
    #[error("the portal has no object type {0}")]
    NoSuchType(String),
    /// No such object, or not in that state.
    #[error("there is no such object {0}")]
    NoSuchObject(u64),
    /// The id is in use.
    #[error("the id {0} is in use")]
    IdInUse(u64),
    /// No such property.
    #[error("there is no property {0} that can be written")]
    NoSuchProperty(String),
    /// The change cannot be kept.
    #[error("cannot write the log of changes")]
    Log(#[source] std::io::Error),
}
