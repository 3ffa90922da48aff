//! How far a stream has come. Written in the transaction of its records.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/checkpoint.avsc");

/// All schemas that a message may have been written with.
pub const RELEASED: &[&str] = &[
    include_str!("../avro/released/checkpoints.1.avsc"),
    include_str!("../avro/released/checkpoints.2.avsc"),
    include_str!("../avro/released/checkpoints.3.avsc"),
];

/// How many unreadable objects a run names.
pub const UNREADABLE_NAMED: usize = 20;

/// The name in [`Lack`] of a list of archived objects.
pub const ARCHIVED_LIST: &str = "archived_list";

/// How far one stream has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts of the contract that do not exclude each other"
)]
pub struct Checkpoint {
    /// Name of the connection.
    pub connection: String,
    /// Object type.
    pub stream: String,
    /// The portal that it belongs to.
    pub portal_id: i64,
    /// The last fetch sequence that was used.
    pub fetch_sequence: i64,
    /// The newest version written to the definitions topic.
    #[serde(default)]
    pub definitions_version: i64,
    /// Records written in all runs.
    #[serde(default)]
    pub records_total: i64,
    /// Every change before it is in the log, once the backfill has ended; `None` until
    /// it has begun.
    #[serde(default)]
    pub cursor: Option<Millis>,
    /// The pass over the lists under way: the backfill, a full pass or one over the
    /// archived list. A former version had every kind of run here.
    #[serde(default)]
    pub pass: Option<Run>,
    /// The run over changes under way.
    #[serde(default)]
    pub increments: Option<Run>,
    /// The check under way: late changes, or objects that seem to be gone.
    #[serde(default)]
    pub check: Option<Run>,
    /// Lists are read in one lane.
    #[serde(default)]
    pub single_lane: bool,
    /// The one-time request last carried out.
    #[serde(default)]
    pub request_done: Option<String>,
    /// When the last scheduled run started.
    #[serde(default)]
    pub last_started_at: Option<Millis>,
    /// When the last run that succeeded ended; `None` until the backfill has.
    #[serde(default)]
    pub last_success_at: Option<Millis>,
    /// When the last run over late changes started.
    #[serde(default)]
    pub last_late_at: Option<Millis>,
    /// When the last run over the archived list started.
    #[serde(default)]
    pub last_archived_at: Option<Millis>,
    /// When the last full pass that succeeded started; `None` until the backfill has
    /// ended.
    #[serde(default)]
    pub last_full_at: Option<Millis>,
    /// The portal has a new property, so a full pass is needed: records read
    /// before lack it.
    #[serde(default)]
    pub full_wanted: bool,
    /// When the last full pass because of a new property started.
    #[serde(default)]
    pub last_growth_at: Option<Millis>,
    /// The destination was changed or the log was made anew, so a full pass has to write
    /// every object.
    #[serde(default)]
    pub rewrite_wanted: bool,
    /// The destination of the records so far; empty if a former version wrote the
    /// checkpoint.
    #[serde(default)]
    pub destination: String,
    /// The index has every object that the log has of the portal.
    #[serde(default)]
    pub indexed: bool,
    /// When the objects that seem to be gone are read again; `None` while there are
    /// none.
    #[serde(default)]
    pub confirm_at: Option<Millis>,
    /// The last pass over both lists, until the objects that seemed to be gone at its
    /// end are decided.
    #[serde(default)]
    pub closed_pass: Option<ClosedPass>,
    /// What the object type does not have, as far as is known.
    #[serde(default)]
    pub lacks: Vec<Lack>,
}

/// What an object type was seen not to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// `archived_list`, `search`, `batch_read`, `sensitive_properties` or
    /// `highly_sensitive_properties`.
    pub capability: String,
    /// How HubSpot refused it.
    pub message: String,
    /// What it costs, and what is done about it.
    pub advice: String,
    /// How often in a row it was refused.
    #[serde(default)]
    pub failures: i32,
    /// It is tried again from this HubSpot time on.
    pub retry_at: Millis,
}

/// A pass over both lists that has read all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedPass {
    /// UUID of its run.
    pub run_id: String,
    /// `backfill` or `full`.
    pub reason: String,
    /// The one-time request that it carried out; done when the objects are decided.
    #[serde(default)]
    pub request_id: Option<String>,
    /// HubSpot's time of its first request.
    pub started_at: Millis,
    /// Records that it wrote.
    pub changed: i64,
    /// Deletions written since.
    pub deleted: i64,
    /// Objects that HubSpot did not give even alone.
    pub unreadable: i64,
}

/// A run under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the contract's names are promises"
)]
pub struct Run {
    /// UUID. It stays the same after a crash.
    pub run_id: String,
    /// `backfill`, `incremental`, `late`, `archived`, `full`, `requested` or
    /// `confirm`.
    pub reason: String,
    /// The one-time request it carries out.
    #[serde(default)]
    pub request_id: Option<String>,
    /// HubSpot's time when it started.
    pub started_at: Millis,
    /// Records written in it.
    #[serde(default)]
    pub records: i64,
    /// Requests to HubSpot in it, without repeated ones.
    #[serde(default)]
    pub requests: i64,
    /// How far a full pass has come.
    #[serde(default)]
    pub list: Option<ListPosition>,
    /// How far a search by windows has come.
    #[serde(default)]
    pub search: Option<SearchPosition>,
    /// A property appeared after records of this run were read.
    #[serde(default)]
    pub definitions_grew: bool,
    /// Objects that were last read with a lower fetch sequence are written even if the
    /// log has the same content, as somebody asked for it.
    #[serde(default)]
    pub rewrites_below: Option<i64>,
    /// How often in a row it has failed.
    #[serde(default)]
    pub failures: i32,
    /// It does not continue before this time.
    #[serde(default)]
    pub retry_at: Option<Millis>,
    /// Objects that HubSpot did not give even alone.
    #[serde(default)]
    pub unreadable: i64,
    /// The first [`UNREADABLE_NAMED`] of them.
    #[serde(default)]
    pub unreadable_ids: Vec<i64>,
}

/// How far a pass over the list endpoint has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPosition {
    /// Which of the two lists is being read.
    pub archived: bool,
    /// HubSpot's time of the pass's first request.
    pub began_at: Millis,
    /// The lanes, in the order of their ids.
    pub lanes: Vec<Lane>,
}

/// A part of the id space, read from `after` until the next lane's first id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Cursor of the next page; `None` for the first page of the list.
    #[serde(default)]
    pub after: Option<String>,
    /// The first id that this lane returned.
    #[serde(default)]
    pub first_id: Option<i64>,
    /// Whether it was read to its end.
    #[serde(default)]
    pub done: bool,
}

/// How far a search by windows has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPosition {
    /// Inclusive start of the window.
    pub from: Millis,
    /// Exclusive end of the run; the cursor moves to it.
    pub to: Millis,
    /// Exclusive end of this window; `None` for the last, which has no end.
    #[serde(default)]
    pub window_to: Option<Millis>,
    /// Every object of the window up to this id is in the log.
    #[serde(default)]
    pub last_id: i64,
}

/// Key of a checkpoint and of a stream's status: `{connection}/{stream}`.
pub fn stream_key(connection: &str, stream: &str) -> String {
    format!("{connection}/{stream}")
}
