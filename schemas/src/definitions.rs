//! Property definitions: HubSpot's schema, which travels as data.
//!
//! It must not know how a type is stored.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/definitions.avsc");

/// Every schema that a message may have been written with.
pub const RELEASED: &[&str] = &[include_str!("../avro/released/definitions.1.avsc")];

/// The union of all properties ever seen of one object type of one portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// Object type.
    pub object_type: String,
    /// Grows by one with every change of the list.
    pub version: i64,
    /// HubSpot's time when the change was seen.
    pub fetched_at: Millis,
    /// In the order in which they were first seen.
    pub properties: Vec<Property>,
}

/// One property as HubSpot defines it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Its internal name.
    pub name: String,
    /// HubSpot's type; an open set.
    #[serde(rename = "type")]
    pub kind: String,
    /// How HubSpot's forms show it.
    #[serde(default)]
    pub field_type: String,
    /// Its name for people.
    #[serde(default)]
    pub label: String,
    /// Its description for people.
    #[serde(default)]
    pub description: String,
    /// The group it is shown in.
    #[serde(default)]
    pub group_name: String,
    /// Computed by HubSpot, without touching last-modified.
    #[serde(default)]
    pub calculated: bool,
    /// Values are ids of that object type.
    #[serde(default)]
    pub referenced_object_type: Option<String>,
    /// HubSpot no longer lists it.
    #[serde(default)]
    pub gone: bool,
}

/// Key of definitions: `{portal_id}/{object_type}`.
pub fn definitions_key(portal_id: i64, object_type: &str) -> String {
    format!("{portal_id}/{object_type}")
}
