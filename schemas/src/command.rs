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
    include_str!("../avro/released/commands.4.avsc"),
];

/// The whole desired state of one connection. The last one in the log wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How often passes are made.
    #[serde(default)]
    pub reconcile: ReconcileIntervals,
    /// Which properties are read, at most one selection per stream; all properties of the
    /// streams that are not named.
    #[serde(default)]
    pub properties: Vec<PropertySelection>,
    /// The last requests with an idempotency key, oldest first.
    #[serde(default)]
    pub keyed: Vec<KeyedRequest>,
}

impl Command {
    /// Which properties of a stream are read; `None` for all.
    pub fn properties_of(&self, stream: &str) -> Option<&PropertySelection> {
        self.properties.iter().find(|it| it.stream == stream)
    }
}

/// Time from the start of one pass to the start of the next, in ms; 0: none are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the contract's names are promises"
)]
pub struct ReconcileIntervals {
    /// Of passes over changes that appeared late in HubSpot's search.
    pub late_ms: Millis,
    /// Of passes over the archived list.
    pub archived_ms: Millis,
    /// Of passes over both lists.
    pub full_ms: Millis,
}

impl Default for ReconcileIntervals {
    fn default() -> Self {
        Self {
            late_ms: 3_600_000,
            archived_ms: 3_600_000,
            full_ms: 24 * 3_600_000,
        }
    }
}

/// Properties that the sync itself needs: they are always read.
pub const NEEDED_PROPERTIES: [&str; 6] = [
    "createdate",
    "hs_createdate",
    "hs_lastmodifieddate",
    "hs_merged_object_ids",
    "hs_object_id",
    "lastmodifieddate",
];

/// Which properties of a stream are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertySelection {
    /// Object type.
    pub stream: String,
    /// Whether the names are those that are not read; else only they are.
    pub is_exclusion: bool,
    /// Names of properties, sorted.
    pub names: Vec<String>,
}

impl PropertySelection {
    /// Whether a property is read.
    pub fn reads(&self, name: &str) -> bool {
        let is_named = self
            .names
            .binary_search_by(|it| it.as_str().cmp(name))
            .is_ok();
        NEEDED_PROPERTIES.contains(&name) || is_named != self.is_exclusion
    }
}

/// A request that its caller gave a key: a repeated one changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedRequest {
    /// The key.
    pub key: String,
    /// Names what was asked for: the same for the same request.
    pub fingerprint: i64,
    /// The command that was written for it.
    pub command_id: String,
    /// The one-time request or the check that it asked for.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Whether it created the connection.
    pub created: bool,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DesiredState {
    /// Sync on the schedule.
    Running,
    /// No requests to HubSpot, except for one-time requests.
    #[default]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_reads_what_it_names_or_all_else_and_what_the_sync_needs() {
        let names = vec!["email".to_owned(), "phone".to_owned()];
        let only = PropertySelection {
            names,
            ..PropertySelection::default()
        };
        let without = PropertySelection {
            is_exclusion: true,
            ..only.clone()
        };
        for (name, read) in [
            ("email", [true, false]),
            ("phone", [true, false]),
            ("city", [false, true]),
            ("hs_object_id", [true, true]),
        ] {
            assert_eq!([&only, &without].map(|it| it.reads(name)), read, "{name}");
        }
    }
}
