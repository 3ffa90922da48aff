//! Observed state of a whole connection or of one stream, from the worker.

use serde::{Deserialize, Serialize};

use crate::{Lack, Millis, Verdict};

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/status.avsc");

/// All schemas that a message may have been written with.
pub const RELEASED: &[&str] = &[
    include_str!("../avro/released/status.1.avsc"),
    include_str!("../avro/released/status.2.avsc"),
    include_str!("../avro/released/status.3.avsc"),
    include_str!("../avro/released/status.4.avsc"),
    include_str!("../avro/released/status.5.avsc"),
];

/// A message of the status topic: one of `whole`, `stream` and `verdict` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the connection.
    pub connection: String,
    /// When it was written, by the worker's clock.
    pub at: Millis,
    /// Status of the whole connection.
    #[serde(default)]
    pub whole: Option<ConnectionStatus>,
    /// Status of one stream.
    #[serde(default)]
    pub stream: Option<StreamStatus>,
    /// What the log has of a stream after a pass.
    #[serde(default)]
    pub verdict: Option<Verdict>,
}

/// Status of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// The last command applied.
    #[serde(default, rename = "obeyed")]
    pub applied: Option<String>,
    /// `starting`, `running`, `stopping`, `stopped`, `failed` or `deleted`.
    pub state: String,
    /// HubSpot's id of the account, once known.
    #[serde(default)]
    pub portal_id: Option<i64>,
    /// Name of the worker that wrote it.
    pub worker: String,
    /// Why it does not run.
    #[serde(default)]
    pub error: Option<Problem>,
    /// The last check.
    #[serde(default)]
    pub check: Option<CheckStatus>,
}

/// What the credential of a connection can read, as last asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// UUID.
    pub check_id: String,
    /// When it was made.
    pub at: Millis,
    /// The account that the credential leads to.
    #[serde(default)]
    pub portal_id: Option<i64>,
    /// Why the account cannot be read.
    #[serde(default)]
    pub error: Option<Problem>,
    /// The connection's streams.
    #[serde(default)]
    pub streams: Vec<CheckedStream>,
    /// The scopes that the credential has, sorted by name; `None` if HubSpot does not say.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
}

/// What the credential can read of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedStream {
    /// Object type.
    pub name: String,
    /// Each thing that was tried.
    pub capabilities: Vec<CheckedCapability>,
}

/// One thing that was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedCapability {
    /// `properties`, `list`, `archived_list`, `search`, `batch_read`,
    /// `sensitive_properties` or `highly_sensitive_properties`.
    pub capability: String,
    /// How HubSpot refused it; `None` where it works.
    #[serde(default)]
    pub error: Option<Problem>,
}

/// What went wrong, and what to do about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code, in `snake_case`.
    pub code: String,
    /// What went wrong and where.
    pub message: String,
    /// What the user can do about it.
    pub advice: String,
    /// When it went wrong.
    pub at: Millis,
}

/// Status of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Object type.
    pub name: String,
    /// `backfill`, `incremental`, `idle`, `waiting`, `stopped`, `skipped` or
    /// `failed`.
    pub phase: String,
    /// The run under way, or the last one.
    #[serde(default)]
    pub run_id: Option<String>,
    /// Why that run was started.
    #[serde(default)]
    pub reason: Option<String>,
    /// `succeeded`, `stopped`, `failed` or `restarted`; `None` while it runs.
    #[serde(default)]
    pub outcome: Option<String>,
    /// The one-time request that this run carries out.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The one-time request last carried out.
    #[serde(default)]
    pub request_done: Option<String>,
    /// Records written in this run.
    #[serde(default)]
    pub run_records: i64,
    /// Records written in all runs.
    #[serde(default)]
    pub total_records: i64,
    /// Number of records in the portal, as HubSpot reports it.
    #[serde(default)]
    pub expected_total: Option<i64>,
    /// Every change before it is in the log.
    #[serde(default)]
    pub cursor: Option<Millis>,
    /// When the last run that succeeded ended; `None` until the backfill has.
    #[serde(default)]
    pub last_success_at: Option<Millis>,
    /// When the next run is due.
    #[serde(default)]
    pub next_run_at: Option<Millis>,
    /// Why it waits, was skipped or failed.
    #[serde(default)]
    pub error: Option<Problem>,
    /// The runs that have not ended, and the last ones that have, newest first.
    #[serde(default)]
    pub runs: Vec<RunStatus>,
    /// What the object type does not have, as far as is known.
    #[serde(default)]
    pub lacks: Vec<Lack>,
    /// Of the account, when this was written.
    #[serde(default)]
    pub budget: Option<Budget>,
}

/// How much of HubSpot's limits of an account was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// When, by HubSpot's clock.
    pub at: Millis,
    /// All requests but searches; `None` without a limit.
    #[serde(default)]
    pub general: Option<WindowUse>,
    /// Searches; `None` without a limit.
    #[serde(default)]
    pub search: Option<WindowUse>,
    /// The daily limit; `None` if the account has none or HubSpot has not named it.
    #[serde(default)]
    pub day: Option<DayUse>,
}

/// How much of a limit per window was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowUse {
    /// Requests per window.
    pub limit: i32,
    /// Requests that counted in the window, those of other apps included as far as
    /// HubSpot named them.
    pub used: i32,
    /// Length of the window, in ms.
    pub window_ms: i32,
}

/// How much of the daily limit was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayUse {
    /// Requests per day of all of the account's apps.
    pub limit: i64,
    /// Requests of this day.
    pub used: i64,
    /// When the day ends.
    pub resets_at: Millis,
}

/// A run of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// UUID.
    pub run_id: String,
    /// Why it was made.
    pub reason: String,
    /// The one-time request that it carries out.
    #[serde(default)]
    pub request_id: Option<String>,
    /// HubSpot's time when it started.
    pub started_at: Millis,
    /// HubSpot's time when it ended; `None` before.
    #[serde(default)]
    pub finished_at: Option<Millis>,
    /// Records written in it.
    #[serde(default)]
    pub records: i64,
    /// Requests to HubSpot in it, without repeated ones.
    #[serde(default)]
    pub requests: i64,
    /// `succeeded`, `stopped`, `failed` or `restarted`; `None` while it has not ended.
    #[serde(default)]
    pub outcome: Option<String>,
    /// When it continues; `None` unless it waits.
    #[serde(default)]
    pub retry_at: Option<Millis>,
    /// Why it failed or waits.
    #[serde(default)]
    pub error: Option<Problem>,
    /// Live objects in HubSpot; only of a pass over both lists that has read all.
    #[serde(default)]
    pub objects: Option<i64>,
    /// Objects that it found to be gone and that were then deleted.
    #[serde(default)]
    pub deleted: i64,
    /// Objects that HubSpot did not give even alone; the next pass tries them again.
    #[serde(default)]
    pub unreadable: i64,
    /// The first [`UNREADABLE_NAMED`](crate::checkpoint::UNREADABLE_NAMED) of them.
    #[serde(default)]
    pub unreadable_ids: Vec<i64>,
    /// Why objects that seem to be gone are not deleted yet.
    #[serde(default)]
    pub waits_for: Option<String>,
}
