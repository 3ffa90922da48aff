//! Desired state of a connection, from data-streams to the worker.
//!
//! It must not know how a state is reached.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/command.avsc");

/// Every schema that a message may have been written with.
pub const RELEASED: &[&str] = &[include_str!("../avro/released/commands.1.avsc")];

/// The whole desired state of one connection. The last one in the log wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the contract's names are promises"
)]
pub struct Command {
    /// UUID of this command.
    pub command_id: String,
    /// The command it was made from.
    pub based_on: Option<String>,
    /// When it was written, by the writer's clock. Nothing is decided by it.
    pub issued_at: Millis,
    /// Name of the connection.
    pub connection: String,
    /// What the worker shall bring about.
    pub state: DesiredState,
    /// A reference to the credential, never the credential.
    pub credential: String,
    /// Object types to sync.
    pub streams: Vec<String>,
    /// Time from one start to the next, in ms.
    pub interval_ms: i64,
    /// The ClickHouse database that people query.
    pub destination: String,
    /// One-time requests, at most one a stream.
    #[serde(default)]
    pub requests: Vec<Request>,
}

/// What the worker shall bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DesiredState {
    /// Sync on the schedule.
    Running,
    /// No request to HubSpot, one-time requests apart.
    Stopped,
    /// Forget the connection.
    Deleted,
}

/// A run asked for once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the contract's names are promises"
)]
pub struct Request {
    /// Object type it is for.
    pub stream: String,
    /// UUID; taken up when the stream's checkpoint names another.
    pub request_id: String,
    /// What kind of run.
    pub kind: RequestKind,
    /// When it was asked for.
    pub requested_at: Millis,
}

/// What kind of run a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RequestKind {
    /// One run now.
    Sync,
    /// A full pass over all records.
    Resync,
}

/// Destination of a connection that names none: `hubspot` for `default`,
/// `hubspot_{name}` else.
pub fn default_destination(connection: &str) -> String {
    if connection == "default" {
        "hubspot".to_owned()
    } else {
        format!("hubspot_{connection}")
    }
}
