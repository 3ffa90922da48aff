//! The bodies of the routes of connections: the desired state beside the
//! observed one.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use schemas::{DesiredState, Lack, Millis, Problem, PropertySelection, RequestKind, StreamStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{body::timestamp, words},
    observed::{ObservedBody, observed},
};
use crate::{
    comparison::Comparison,
    control::{LiveConnection, revision, settings},
};

/// A connection: its desired state and the observed one.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ConnectionBody {
    /// Its name.
    #[schema(example = "default")]
    name: String,
    /// The desired state: `running` or `stopped`.
    #[schema(value_type = words::DesiredState, example = "running")]
    state: &'static str,
    /// Id of the command that set it.
    #[schema(format = "uuid")]
    command_id: String,
    /// Names the settings and `state` as they are now: the header `ETag`. With it in
    /// `If-Match`, a command is refused if somebody has changed them since.
    #[schema(example = "\"9c1c4f0de81b5e7a\"")]
    etag: String,
    /// Reference to the credential.
    #[schema(example = "env:HUBSPOT_ACCESS_TOKEN")]
    credential: String,
    /// Time from the start of one run to the start of the next.
    #[schema(example = "5m")]
    interval: String,
    /// The ClickHouse database with its records.
    #[schema(example = "hubspot")]
    destination: String,
    /// Time from the start of one pass to the start of the next, or `off`.
    reconcile: PassIntervalsBody,
    /// Which properties are read, by object type; all of those that are left out.
    properties: BTreeMap<String, PropertiesBody>,
    /// The state that the worker reports; null before its first report.
    observed: Option<ObservedBody>,
    /// Its streams, in the order of the settings.
    streams: Vec<StreamBody>,
}

impl IntoResponse for ConnectionBody {
    fn into_response(self) -> Response {
        let etag = [(header::ETAG, self.etag.clone())];
        (etag, Json(self)).into_response()
    }
}

/// How often passes are made.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PassIntervalsBody {
    /// Passes over changes that appeared late in HubSpot's search.
    #[schema(example = "1h")]
    late: String,
    /// Passes over the archived list.
    #[schema(example = "1h")]
    archived: String,
    /// Passes over both lists.
    #[schema(example = "24h")]
    full: String,
}

/// Which properties are read of an object type: one of the two.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PropertiesBody {
    /// Only these, and those that the sync needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<Vec<String>>,
    /// All but these.
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude: Option<Vec<String>>,
}

impl From<&PropertySelection> for PropertiesBody {
    fn from(selection: &PropertySelection) -> Self {
        let names = |is_exclusion| {
            let is_meant = selection.is_exclusion == is_exclusion;
            is_meant.then(|| selection.names.clone())
        };
        Self {
            include: names(false),
            exclude: names(true),
        }
    }
}

/// What went wrong, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ErrorBody {
    /// What failed, for programs: stable, `snake_case`.
    code: String,
    /// What went wrong and where.
    message: String,
    /// What to do about it.
    advice: String,
    /// When it went wrong.
    #[schema(format = DateTime)]
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
    #[schema(value_type = words::Phase)]
    phase: String,
    /// Id of the current run, or of the last one.
    #[schema(format = "uuid")]
    run_id: Option<String>,
    /// Why that run was started.
    reason: Option<String>,
    /// How that run ended; null while it runs.
    outcome: Option<String>,
    /// Id of the request that this run carries out.
    #[schema(format = "uuid")]
    request_id: Option<String>,
    /// Id of the last request that was carried out.
    #[schema(format = "uuid")]
    request_done: Option<String>,
    /// The request that is not carried out yet.
    pending_request: Option<RequestBody>,
    /// Records written in this run.
    #[schema(minimum = 0)]
    records_in_run: i64,
    /// Records written in all runs.
    #[schema(minimum = 0)]
    records_total: i64,
    /// Number of records in the portal, as HubSpot reports it.
    #[schema(minimum = 0)]
    expected_total: Option<i64>,
    /// Every change before this time is in Kafka.
    #[schema(format = DateTime)]
    cursor: Option<String>,
    /// When the last successful run ended.
    #[schema(format = DateTime)]
    last_success: Option<String>,
    /// When the next run is due.
    #[schema(format = DateTime)]
    next_run: Option<String>,
    /// When the worker reported this.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// Why the stream waits, was skipped or failed.
    error: Option<ErrorBody>,
    /// What the object type does not have, as HubSpot was seen to refuse it.
    limitations: Vec<LimitationBody>,
    /// Why its records wait in Kafka and are not loaded into ClickHouse, where this
    /// instance is to load them; null where they are loaded.
    not_loaded: Option<String>,
    /// What the last comparison of HubSpot with ClickHouse has shown; null before the
    /// first one.
    verdict: Option<VerdictBody>,
}

/// What an object type does not have.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct LimitationBody {
    /// `archived_list`, `search`, `batch_read`, `sensitive_properties` or
    /// `highly_sensitive_properties`.
    capability: String,
    /// How HubSpot refused it.
    message: String,
    /// What it costs, and what is done about it.
    advice: String,
    /// When it is tried again.
    #[schema(format = DateTime)]
    retry_at: String,
}

impl From<&Lack> for LimitationBody {
    fn from(lack: &Lack) -> Self {
        Self {
            capability: lack.capability.clone(),
            message: lack.message.clone(),
            advice: lack.advice.clone(),
            retry_at: timestamp(lack.retry_at),
        }
    }
}

/// The last comparison of HubSpot with ClickHouse.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VerdictBody {
    /// When they were compared.
    #[schema(format = DateTime)]
    at: String,
    /// Live objects in HubSpot.
    #[schema(minimum = 0)]
    in_hubspot: i64,
    /// Live objects in ClickHouse.
    #[schema(minimum = 0)]
    in_warehouse: i64,
    /// At least so many objects differ.
    #[schema(minimum = 0)]
    still_different: i64,
}

impl From<Comparison> for VerdictBody {
    fn from(it: Comparison) -> Self {
        Self {
            at: timestamp(it.compared_at),
            in_hubspot: it.in_hubspot,
            in_warehouse: it.in_warehouse,
            still_different: it.still_different,
        }
    }
}

/// A requested run.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RequestBody {
    /// Object type.
    stream: String,
    /// Id of the request; the run shows it as its `request_id`.
    #[schema(format = "uuid")]
    pub(super) request_id: String,
    /// `sync`, `reconcile` or `resync`.
    #[schema(value_type = words::RequestedKind)]
    kind: &'static str,
    /// When it was requested.
    #[schema(format = DateTime)]
    requested_at: String,
}

impl From<&schemas::Request> for RequestBody {
    fn from(request: &schemas::Request) -> Self {
        Self {
            stream: request.stream.clone(),
            request_id: request.request_id.clone(),
            kind: match request.kind {
                RequestKind::Sync => "sync",
                RequestKind::Reconcile => "reconcile",
                RequestKind::Resync => "resync",
            },
            requested_at: timestamp(request.requested_at),
        }
    }
}

/// All connections.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ConnectionsBody {
    /// Sorted by name.
    pub(super) connections: Vec<ConnectionBody>,
}

/// A command that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PendingBody {
    /// Id of the command.
    #[schema(format = "uuid")]
    pub(super) command_id: String,
    /// Path that shows what becomes of it: the connection, where `observed.obeyed` is
    /// its id once it is applied; of a deletion and of a check the command.
    pub(super) status: String,
}

/// A sync that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SyncBody {
    /// Id of the request; its runs show it as their `request_id`. A stream with
    /// an unfinished request keeps that one, see `requests`.
    #[schema(format = "uuid")]
    pub(super) request_id: String,
    /// The open request of each requested stream.
    pub(super) requests: Vec<RequestBody>,
    /// Path of the connection, which shows the progress.
    pub(super) status: String,
}

/// The body of a connection. `waiting` says which streams are not loaded, and why;
/// `comparison` finds the last one of a stream.
pub(super) fn connection_body(
    it: LiveConnection<'_>,
    now: Millis,
    waiting: &BTreeMap<String, String>,
    comparison: impl Fn(&str) -> Option<Comparison>,
) -> ConnectionBody {
    let desired = it.desired;
    ConnectionBody {
        name: it.name.to_owned(),
        state: match desired.state {
            DesiredState::Running => "running",
            DesiredState::Stopped => "stopped",
            DesiredState::Deleted => "deleted",
        },
        command_id: desired.command_id.clone(),
        etag: format!("\"{}\"", revision(desired)),
        credential: desired.credential.clone(),
        interval: settings::format_interval(desired.interval_ms),
        destination: desired.destination.clone(),
        reconcile: PassIntervalsBody {
            late: settings::format_pass_interval(desired.reconcile.late_ms),
            archived: settings::format_pass_interval(desired.reconcile.archived_ms),
            full: settings::format_pass_interval(desired.reconcile.full_ms),
        },
        properties: desired
            .properties
            .iter()
            .map(|it| (it.stream.clone(), it.into()))
            .collect(),
        observed: observed(it, now),
        streams: desired
            .streams
            .iter()
            .map(|stream| StreamBody {
                not_loaded: waiting.get(stream).cloned(),
                ..stream_body(stream, it, comparison(stream))
            })
            .collect(),
    }
}

fn stream_body(name: &str, it: LiveConnection<'_>, last: Option<Comparison>) -> StreamBody {
    let LiveConnection {
        connection,
        desired,
        ..
    } = it;
    // Until the worker reports a phase, it is derived from the desired state.
    let expected = StreamStatus {
        phase: match desired.state {
            DesiredState::Running => "waiting".to_owned(),
            DesiredState::Stopped | DesiredState::Deleted => "stopped".to_owned(),
        },
        ..StreamStatus::default()
    };
    let observed = connection.streams.get(name);
    let status = observed.map_or(&expected, |it| &it.status);
    let pending = desired
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
        at: observed.map(|it| timestamp(it.at)),
        error: status.error.as_ref().map(ErrorBody::from),
        limitations: status.lacks.iter().map(LimitationBody::from).collect(),
        not_loaded: None,
        verdict: last.map(VerdictBody::from),
    }
}
