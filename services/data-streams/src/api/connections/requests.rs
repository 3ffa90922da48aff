//! The bodies of requests, for the OpenAPI document: [`body`](super::super::body) reads
//! them field by field, so that a refusal names each wrong one.

#![expect(dead_code, reason = "describes the requests")]

use serde::Deserialize;
use utoipa::ToSchema;

use serde_json::json;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};

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
