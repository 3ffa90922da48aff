//! The bodies of requests, for the OpenAPI document: [`body`](super::super::body) reads
//! them field by field, so that a refusal names each wrong one.

#![expect(dead_code, reason = "describes the requests")]

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use serde_json::json;
use utoipa::openapi::{
    RefOr,
    schema::{
        AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
    },
};

use crate::api::{OBJECT_TYPE, words::SyncKind};

/// Settings of a connection; every field is optional.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SettingsBody {
    /// Reference to the credential: `env:HUBSPOT_NAME` or `file:NAME`.
    #[schema(
        example = "env:HUBSPOT_ACCESS_TOKEN",
        default = "env:HUBSPOT_ACCESS_TOKEN",
        max_length = 133,
        pattern = "^(env:HUBSPOT_[A-Z0-9_]+|file:[A-Za-z0-9]([.]?[A-Za-z0-9_-])*[.]?)$"
    )]
    credential: Option<String>,
    /// Object types, each once.
    #[schema(schema_with = streams)]
    streams: Option<Vec<String>>,
    /// Time from the start of one run to the start of the next, from 10s to 31d.
    #[schema(
        example = "5m",
        default = "5m",
        pattern = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
        min_length = 2,
        max_length = 32
    )]
    interval: Option<String>,
    /// The ClickHouse database for its records.
    #[schema(example = "hubspot", pattern = "^[a-z][a-z0-9_]{0,59}$")]
    destination: Option<String>,
    /// Time from the start of one pass to the start of the next.
    reconcile: Option<PassIntervalsRequest>,
    /// Which properties are read, by object type; all of those that are left out. Given,
    /// it replaces all selections.
    #[schema(schema_with = selections)]
    properties: Option<BTreeMap<String, Vec<String>>>,
}

/// How often passes are made: from 10s to 31d, or `off`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct PassIntervalsRequest {
    /// Passes over changes that appeared late in HubSpot's search.
    #[schema(
        example = "1h",
        default = "1h",
        pattern = "^(off|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$",
        min_length = 2,
        max_length = 32
    )]
    late: Option<String>,
    /// Passes over the archived list.
    #[schema(
        example = "1h",
        default = "1h",
        pattern = "^(off|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$",
        min_length = 2,
        max_length = 32
    )]
    archived: Option<String>,
    /// Passes over both lists.
    #[schema(
        example = "24h",
        default = "24h",
        pattern = "^(off|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$",
        min_length = 2,
        max_length = 32
    )]
    full: Option<String>,
}

/// What to sync; every field is optional.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SyncRequestBody {
    /// Object types; all streams of the connection when left out.
    #[schema(schema_with = streams)]
    streams: Option<Vec<String>>,
    /// `sync` for what has changed, `resync` to read everything again.
    #[schema(value_type = Option<SyncKind>, example = "sync", default = "sync")]
    kind: Option<String>,
    /// True is the same as `kind` `resync`.
    full: Option<bool>,
}

/// Streams of a reconciliation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ReconcileRequestBody {
    /// Object types; all streams of the connection when left out.
    #[schema(schema_with = streams)]
    streams: Option<Vec<String>>,
}

/// For each object type one list of names of properties.
fn selections() -> Schema {
    let list = || {
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[!-+\\--~]{1,200}$"));
        ArrayBuilder::new()
            .items(name)
            .min_items(Some(1))
            .unique_items(true)
    };
    let one_of = |name: &str| {
        ObjectBuilder::new()
            .property(name, list())
            .required(name)
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
    };
    let selection = OneOfBuilder::new()
        .item(one_of("include"))
        .item(one_of("exclude"));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(RefOr::T(Schema::from(selection))))
        .description(Some(
            "Which properties are read, by object type; all of those that are left out. What is \
             excluded is never fetched; those that the sync needs always are. Given, it replaces \
             all selections",
        ))
        .examples([json!({"contacts": {"exclude": ["phone"]}})])
        .into()
}

/// A list of object types.
fn streams() -> Schema {
    let stream = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(OBJECT_TYPE));
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(stream)
        .min_items(Some(1))
        .max_items(Some(64))
        .unique_items(true)
        .description(Some("Object types; a one-time request takes all streams of the connection when they are left out"))
        .examples([json!(["contacts", "companies"])])
        .into()
}
