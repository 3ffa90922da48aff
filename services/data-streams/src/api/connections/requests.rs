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

use crate::api::{STREAM, words::SyncKind};

/// Settings of a connection; every field is optional. PUT, and a start that creates the
/// connection, take the default of one that is left out; otherwise it stays as it is.
// No `default` in its schemas: generated clients send that for a field that is left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SettingsBody {
    /// Reference to the credential: `env:HUBSPOT_NAME` or `file:NAME`. Default:
    /// `env:HUBSPOT_ACCESS_TOKEN`.
    #[schema(
        example = "env:HUBSPOT_ACCESS_TOKEN",
        max_length = 133,
        pattern = "^(env:HUBSPOT_[A-Z0-9_]+|file:[A-Za-z0-9]([.]?[A-Za-z0-9_-])*[.]?)$"
    )]
    credential: Option<String>,
    /// Streams, each once.
    #[schema(schema_with = streams)]
    streams: Option<Vec<String>>,
    /// Time from the start of one run to the start of the next, from 10s to 31d. Default: `5m`.
    #[schema(
        example = "5m",
        pattern = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
        min_length = 2,
        max_length = 32
    )]
    interval: Option<String>,
    /// The ClickHouse database for its records. Default: `hubspot` of the connection
    /// `default`, of others `hubspot_` and their name.
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
    /// Passes over changes that appeared late in HubSpot's search. Default: `1h`.
    #[schema(
        example = "1h",
        pattern = "^(off|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$",
        min_length = 2,
        max_length = 32
    )]
    late: Option<String>,
    /// Passes over the archived list. Default: `1h`.
    #[schema(
        example = "1h",
        pattern = "^(off|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$",
        min_length = 2,
        max_length = 32
    )]
    archived: Option<String>,
    /// Passes over both lists. Default: `24h`.
    #[schema(
        example = "24h",
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
    /// `sync` for what has changed, `resync` to read everything again. Default: `sync`.
    #[schema(value_type = Option<SyncKind>, example = "sync")]
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

/// A list of streams.
fn streams() -> Schema {
    let stream = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(100))
        .pattern(Some(STREAM));
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(stream)
        .min_items(Some(1))
        .max_items(Some(64))
        .unique_items(true)
        .description(Some(
            "Object types, or two for associations, such as contacts>companies. Of settings, the \
             default is contacts and companies; a one-time request takes all streams of the \
             connection when they are left out",
        ))
        .examples([json!(["contacts", "companies"])])
        .into()
}
