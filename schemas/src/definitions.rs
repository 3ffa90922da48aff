//! Property definitions: HubSpot's schema, as a message.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/definitions.avsc");

/// All schemas that a message may have been written with.
pub const RELEASED: &[&str] = &[
    include_str!("../avro/released/definitions.1.avsc"),
    include_str!("../avro/released/definitions.2.avsc"),
];

/// The `field_type` of properties that HubSpot computes when they are read.
const READ_TIME: &str = "calculation_read_time";

/// All properties ever seen of one object type of one portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// Object type.
    pub object_type: String,
    /// Increases by one with every change of the list.
    pub version: i64,
    /// HubSpot's time when the change was found.
    pub fetched_at: Millis,
    /// In the order in which they were first seen.
    pub properties: Vec<Property>,
}

impl Definitions {
    /// Those of an object type of which no property was seen yet.
    pub fn none(portal_id: i64, object_type: &str) -> Self {
        Self {
            portal_id,
            object_type: object_type.to_owned(),
            version: 0,
            fetched_at: 0,
            properties: Vec::new(),
        }
    }
}

/// One property as HubSpot defines it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Its internal name.
    pub name: String,
    /// HubSpot's type. HubSpot may add types.
    #[serde(rename = "type")]
    pub kind: String,
    /// The input of HubSpot's forms.
    #[serde(default)]
    pub field_type: String,
    /// Display name.
    #[serde(default)]
    pub label: String,
    /// Description.
    #[serde(default)]
    pub description: String,
    /// The group that it is displayed in.
    #[serde(default)]
    pub group_name: String,
    /// Computed by HubSpot, which does not change last-modified.
    #[serde(default)]
    pub calculated: bool,
    /// Values are ids of that object type.
    #[serde(default)]
    pub referenced_object_type: Option<String>,
    /// HubSpot no longer lists it, or the connection no longer selects it.
    #[serde(default)]
    pub gone: bool,
    /// Its value changes with each read or without a change of the object. Use
    /// [`Self::is_volatile`], which knows more of them.
    #[serde(default)]
    pub volatile: bool,
}

impl Property {
    /// Whether a content hash leaves it out.
    pub fn is_volatile(&self) -> bool {
        self.volatile || self.field_type == READ_TIME
    }
}

/// Key of definitions: `{portal_id}/{object_type}`.
pub fn definitions_key(portal_id: i64, object_type: &str) -> String {
    format!("{portal_id}/{object_type}")
}
