//! Desired state of a connection, from data-streams to the worker.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/command.avsc");

/// All schemas that a message may have been written with.
pub const RELEASED: &[&str] = &[
    include_str!("../avro/released/commands.1.avsc"),
    include_str!("../avro/released/commands.2.avsc"),
    include_str!("../avro/released/commands.3.avsc"),
];

/// The whole desired state of one connection. The last one in the log wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the contract's names are promises"
)]
pub struct Command {
    /// UUID of this command.
    pub command_id: String,
    /// The command that this one changes.
    pub based_on: Option<String>,
    /// When it was written, by the writer's clock. Informational.
    pub issued_at: Millis,
    /// Name of the connection.
    pub connection: String,
    /// The state that the worker establishes.
    pub state: DesiredState,
    /// A reference to the credential, never the credential.
    pub credential: String,
    /// Object types to sync.
    pub streams: Vec<String>,
    /// Time from one start to the next, in ms.
    pub interval_ms: i64,
    /// The ClickHouse database that people query.
    pub destination: String,
    /// One-time requests, at most one per stream.
    #[serde(default)]
    pub requests: Vec<Request>,
    /// Passes whose deletions a person has confirmed, at most one per stream.
    #[serde(default)]
    pub confirmed: Vec<ConfirmedDeletions>,
    /// UUID of the last check that was asked for. The worker makes it unless the
    /// connection's status has it.
    #[serde(default)]
    pub check_id: Option<String>,
}

/// A person's word that the objects that a pass found to be gone are to be deleted,
/// although they are many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmedDeletions {
    /// Object type.
    pub stream: String,
    /// The pass over both lists that found them.
    pub run_id: String,
}

/// The state that the worker establishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DesiredState {
    /// Sync on the schedule.
    Running,
    /// No requests to HubSpot, except for one-time requests.
    Stopped,
    /// Forget the connection.
    Deleted,
}

/// A request for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the contract's names are promises"
)]
pub struct Request {
    /// Object type it is for.
    pub stream: String,
    /// UUID. Carried out unless the stream's checkpoint names it.
    pub request_id: String,
    /// What kind of run.
    pub kind: RequestKind,
    /// When it was requested.
    pub requested_at: Millis,
}

/// The kind of run that is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RequestKind {
    /// One run now.
    Sync,
    /// A full pass that writes every object.
    Resync,
    /// A full pass that writes what differs.
    Reconcile,
}

/// The destination of a connection that has none set: `hubspot` for `default`,
/// otherwise `hubspot_{name}`.
pub fn default_destination(connection: &str) -> String {
    if connection == "default" {
        "hubspot".to_owned()
    } else {
        format!("hubspot_{connection}")
    }
}
