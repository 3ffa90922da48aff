//! A connection as it is shown: what is desired beside what is observed.
//!
//! It must not know who asks.

use schemas::{Command, DesiredState, Problem, RequestKind, StreamStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::body::timestamp;
use crate::control::{Connection, settings};

/// A connection: what is desired and what is observed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ConnectionBody {
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// What is desired: `running` or `stopped`.
    #[schema(example = "running")]
    state: &'static str,
    /// Id of the command that says so.
    command_id: String,
    /// A reference to the credential.
    #[schema(example = "env:HUBSPOT_ACCESS_TOKEN")]
    credential: String,
    /// Time from one start to the next.
    #[schema(example = "5m")]
    interval: String,
    /// The ClickHouse database to query.
    #[schema(example = "hubspot")]
    destination: String,
    /// What the worker says of it; null before it has said anything.
    observed: Option<ObservedBody>,
    /// Its streams, in the order of its settings.
    streams: Vec<StreamBody>,
}

/// What the worker says of a connection.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ObservedBody {
    /// `starting`, `running`, `stopping`, `stopped`, `failed` or `deleted`.
    state: String,
    /// The command obeyed.
    obeyed: Option<String>,
    /// HubSpot's id of the account.
    portal_id: Option<String>,
    /// The process that says so.
    worker: String,
    /// When it said so.
    at: String,
    /// Why it does not run.
    error: Option<ErrorBody>,
}

/// What went wrong, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ErrorBody {
    /// Stable, `snake_case`.
    code: String,
    /// What went wrong and where.
    message: String,
    /// What can be done.
    advice: String,
    /// When.
    at: String,
}

impl From<&Problem> for ErrorBody {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.clone(),
            message: problem.message.clone(),
            advice: problem.advice.clone(),
            at: timestamp(problem.at),
        }
    }
}

/// One object type of a connection.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct StreamBody {
    /// Object type.
    #[schema(example = "contacts")]
    name: String,
    /// `backfill`, `incremental`, `idle`, `waiting`, `stopped`, `skipped` or
    /// `failed`.
    phase: String,
    /// The run under way, or the last one.
    run_id: Option<String>,
    /// Why that run was made.
    reason: Option<String>,
    /// How that run ended; null while it goes on.
    outcome: Option<String>,
    /// The request that this run carries out.
    request_id: Option<String>,
    /// The request last carried out.
    request_done: Option<String>,
    /// The request that is asked for and not carried out yet.
    pending_request: Option<RequestBody>,
    /// Records written in this run.
    records_in_run: i64,
    /// Records written in all runs.
    records_total: i64,
    /// How many records the portal says it has.
    expected_total: Option<i64>,
    /// Every change before it is in Kafka.
    cursor: Option<String>,
    /// When the last run that succeeded ended.
    last_success: Option<String>,
    /// When the next run is due.
    next_run: Option<String>,
    /// When the worker said so.
    at: Option<String>,
    /// Why it waits, was skipped or failed.
    error: Option<ErrorBody>,
}

/// A run asked for once.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RequestBody {
    /// Object type.
    stream: String,
    /// Its id, which the run carries.
    pub(super) request_id: String,
    /// `sync` or `resync`.
    kind: &'static str,
    /// When it was asked for.
    requested_at: String,
}

impl From<&schemas::Request> for RequestBody {
    fn from(request: &schemas::Request) -> Self {
        Self {
            stream: request.stream.clone(),
            request_id: request.request_id.clone(),
            kind: match request.kind {
                RequestKind::Sync => "sync",
                RequestKind::Resync => "resync",
            },
            requested_at: timestamp(request.requested_at),
        }
    }
}

/// All connections.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ConnectionsBody {
    /// By name.
    pub(super) connections: Vec<ConnectionBody>,
}

/// What became of a command that waits for the worker.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PendingBody {
    /// Id of the command.
    pub(super) command_id: String,
    /// Where to look for what became of it: `observed.obeyed`.
    pub(super) status: String,
}

/// A sync that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SyncBody {
    /// Id of the request, which the runs carry. Where a stream has an
    /// unfinished request, that one's id is in `requests`.
    pub(super) request_id: String,
    /// One for each stream asked for.
    pub(super) requests: Vec<RequestBody>,
    /// Where to look for what became of it.
    pub(super) status: String,
}

/// Settings of a connection; every field optional.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SettingsBody {
    /// A reference, `env:HUBSPOT_NAME` or `file:NAME`.
    #[schema(
        example = "env:HUBSPOT_ACCESS_TOKEN",
        default = "env:HUBSPOT_ACCESS_TOKEN"
    )]
    credential: Option<String>,
    /// Object types.
    #[schema(example = json!(["contacts", "companies"]))]
    streams: Option<Vec<String>>,
    /// From 10s to 31d.
    #[schema(example = "5m", default = "5m")]
    interval: Option<String>,
    /// The ClickHouse database to query.
    #[schema(example = "hubspot")]
    destination: Option<String>,
}

/// What to sync; every field optional.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SyncRequestBody {
    /// All streams when left out.
    #[schema(example = json!(["contacts"]))]
    streams: Option<Vec<String>>,
    /// `sync`, or `resync` for a full pass.
    #[schema(example = "sync", default = "sync")]
    kind: Option<String>,
    /// True for a full pass.
    full: Option<bool>,
}

/// Shows a connection.
pub(super) fn connection_body(
    name: &str,
    connection: &Connection,
    command: &Command,
) -> ConnectionBody {
    let observed = connection.whole.as_ref().map(|(at, whole)| ObservedBody {
        state: whole.state.clone(),
        obeyed: whole.obeyed.clone(),
        portal_id: whole.portal_id.map(|id| id.to_string()),
        worker: whole.worker.clone(),
        at: timestamp(*at),
        error: whole.error.as_ref().map(ErrorBody::from),
    });
    ConnectionBody {
        name: name.to_owned(),
        state: match command.state {
            DesiredState::Running => "running",
            DesiredState::Stopped => "stopped",
            DesiredState::Deleted => "deleted",
        },
        command_id: command.command_id.clone(),
        credential: command.credential.clone(),
        interval: settings::format_interval(command.interval_ms),
        destination: command.destination.clone(),
        observed,
        streams: command
            .streams
            .iter()
            .map(|stream| stream_body(stream, connection, command))
            .collect(),
    }
}

fn stream_body(name: &str, connection: &Connection, command: &Command) -> StreamBody {
    // Before the worker has said anything, the desired state tells what to
    // expect.
    let unheard = StreamStatus {
        phase: match command.state {
            DesiredState::Running => "waiting".to_owned(),
            DesiredState::Stopped | DesiredState::Deleted => "stopped".to_owned(),
        },
        ..StreamStatus::default()
    };
    let heard = connection.streams.get(name);
    let status = heard.map_or(&unheard, |(_, status)| status);
    let pending = command
        .requests
        .iter()
        .find(|request| request.stream == name && !connection.is_done(request));
    StreamBody {
        name: name.to_owned(),
        phase: status.phase.clone(),
        run_id: status.run_id.clone(),
        reason: status.reason.clone(),
        outcome: status.outcome.clone(),
        request_id: status.request_id.clone(),
        request_done: status.request_done.clone(),
        pending_request: pending.map(RequestBody::from),
        records_in_run: status.run_records,
        records_total: status.total_records,
        expected_total: status.expected_total,
        cursor: status.cursor.map(timestamp),
        last_success: status.last_success_at.map(timestamp),
        next_run: status.next_run_at.map(timestamp),
        at: heard.map(|(at, _)| timestamp(*at)),
        error: status.error.as_ref().map(ErrorBody::from),
    }
}
