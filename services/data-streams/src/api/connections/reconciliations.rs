//! Reconciliations: passes over HubSpot's lists and searches, and what a comparison of
//! the log with the warehouse has shown after those over both lists.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::{RequestKind, RunStatus, StreamStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        Api,
        body::{self, RawBody, timestamp},
        error::{ApiError, Missing, Problem},
        terms::Terms,
        words::ReconciliationKind,
    },
    CommandFailure, ConnectionPath, address, request,
    requests::ReconcileRequestBody,
    view::{PendingBody, SyncBody},
};
use crate::{comparison::Comparison, control::ConnectionChange};

/// The last reconciliations of a connection.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ReconciliationsBody {
    /// Newest first: the last of each stream and kind.
    results: Vec<ReconciliationBody>,
}

/// A reconciliation of a stream.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::api) struct ReconciliationBody {
    /// Id of the run.
    #[schema(format = "uuid")]
    id: String,
    /// Id of the request that the run carried out.
    #[schema(format = "uuid")]
    request_id: Option<String>,
    /// Object type.
    #[schema(example = "contacts")]
    stream: String,
    /// `full`: both lists; `archived`: the archived list; `late`: changes that HubSpot's
    /// search showed late.
    #[schema(value_type = ReconciliationKind, example = "full")]
    kind: &'static str,
    /// When the run started, by HubSpot's clock.
    #[schema(format = DateTime)]
    started_at: String,
    /// When it ended, by HubSpot's clock; of a compared one, when its deletions were
    /// decided.
    #[schema(format = DateTime)]
    finished_at: String,
    /// Live objects in HubSpot; only of kind `full`.
    #[schema(minimum = 0)]
    in_hubspot: Option<i64>,
    /// Live objects in ClickHouse at that place of the log; null until both are compared.
    #[schema(minimum = 0)]
    in_warehouse: Option<i64>,
    /// Records written because they differed.
    #[schema(minimum = 0)]
    changed: i64,
    /// Objects that were found to be gone and were then deleted.
    #[schema(minimum = 0)]
    deleted: i64,
    /// Objects that HubSpot did not give even alone; the next one tries them again.
    #[schema(minimum = 0)]
    unreadable: i64,
    /// At least so many objects in ClickHouse differ from HubSpot, after ClickHouse was
    /// filled from the log again; null until both are compared. The log of the service
    /// names the ranges of ids.
    #[schema(minimum = 0)]
    still_different: Option<i64>,
    /// Why objects that seem to be gone are not deleted yet. To delete them, confirm it.
    waits_for: Option<String>,
}

/// Parameters of a path that names a reconciliation.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct ReconciliationPath {
    /// Name of the connection.
    #[param(pattern = "^[a-z][a-z0-9_]{0,49}$")]
    name: String,
    /// Id of the reconciliation.
    id: String,
}

/// Requests a full reconciliation now.
///
/// Reads all objects in HubSpot, writes what differs, and compares the result with
/// ClickHouse. On a stopped connection it does so and the connection stays stopped.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/reconcile",
    operation_id = "reconcile_connection",
    tag = "connections",
    params(ConnectionPath),
    request_body(content = ReconcileRequestBody, description = "All streams when left out"),
    responses(
        (status = 202, description = "Accepted", body = SyncBody),
        (status = 404, description = "There is no such connection", body = Problem),
        CommandFailure,
    )
)]
pub(in crate::api) async fn reconcile(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    let streams = body::reconcile(&body)?;
    let body = request(&api, &name, terms, streams, RequestKind::Reconcile).await?;
    let location = [(header::LOCATION, reconciliations_address(&name))];
    Ok((StatusCode::ACCEPTED, location, Json(body)).into_response())
}

/// Lists the last reconciliations.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/reconciliations",
    operation_id = "list_reconciliations",
    tag = "connections",
    params(ConnectionPath),
    responses(
        (status = 200, description = "The last of each stream and kind, newest first", body = ReconciliationsBody),
        (status = 404, description = "There is no such connection", body = Problem),
        (status = 503, description = "The service is starting", body = Problem),
    )
)]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
) -> Result<Json<ReconciliationsBody>, ApiError> {
    let found = api.control.read(|connections| {
        let live = connections.get_live(&name)?;
        let streams = live.connection.streams.values().map(|it| &it.status);
        let with_comparison = streams.map(|it| (it, api.backend.comparison(&name, &it.name)));
        Some(reconciliations_body(with_comparison))
    })?;
    let found = found.ok_or_else(|| ApiError::not_found(Missing::Connection, &name))?;
    Ok(Json(found))
}

/// Confirms the deletions that a reconciliation waits with.
///
/// So many objects seem to be gone from HubSpot that none is deleted before a person
/// says so.
#[utoipa::path(
    post,
    path = "/v1/connections/{name}/reconciliations/{id}/confirm",
    operation_id = "confirm_deletions",
    tag = "connections",
    params(ReconciliationPath),
    responses(
        (status = 202, description = "Accepted", body = PendingBody),
        (status = 404, description = "There is no such connection or reconciliation", body = Problem),
        CommandFailure,
    )
)]
pub(in crate::api) async fn confirm(
    State(api): State<Api>,
    Path(ReconciliationPath { name, id }): Path<ReconciliationPath>,
    terms: Terms,
    body: RawBody,
) -> Result<Response, ApiError> {
    body::nothing(&body)?;
    let (stream, waits) = stream_of(&api, &name, &id)?;
    let run_id = id.clone();
    let confirmation = terms.submission(ConnectionChange::Confirm { stream, run_id });
    if !waits && !api.control.is_repeated(&name, &confirmation)? {
        return Err(ApiError::NothingToConfirm(id));
    }
    let command_id = api.control.submit(&name, confirmation).await?.command_id;
    let body = PendingBody {
        command_id,
        status: address(&name),
    };
    let location = [(header::LOCATION, reconciliations_address(&name))];
    Ok((StatusCode::ACCEPTED, location, Json(body)).into_response())
}

/// The stream of the reconciliation with this id, and whether deletions of it wait.
fn stream_of(api: &Api, name: &str, id: &str) -> Result<(String, bool), ApiError> {
    let found = api.control.read(|connections| {
        let live = connections.get_live(name)?;
        let mut streams = live.connection.streams.values().map(|it| &it.status);
        Some(streams.find_map(|stream| {
            let waits = reconciliations(stream)
                .find(|(run, _)| run.run_id == id)
                .map(|(run, _)| run.waits_for.is_some());
            let compared = api.backend.comparison(name, &stream.name);
            let compared = compared.filter(|it| it.run_id == id).map(|_| false);
            waits.or(compared).map(|waits| (stream.name.clone(), waits))
        }))
    })?;
    match found {
        None => Err(ApiError::not_found(Missing::Connection, name)),
        Some(None) => Err(ApiError::not_found(Missing::Reconciliation, id)),
        Some(Some(found)) => Ok(found),
    }
}

/// The ended runs of a stream that are reconciliations, with their kinds.
fn reconciliations(stream: &StreamStatus) -> impl Iterator<Item = (&RunStatus, &'static str)> {
    stream.runs.iter().filter_map(|run| {
        let has_ended = run.outcome.as_deref() == Some("succeeded") || run.waits_for.is_some();
        let kind = match run.reason.as_str() {
            "late" => "late",
            "archived" => "archived",
            "backfill" | "full" => "full",
            _ => return None,
        };
        has_ended.then_some((run, kind))
    })
}

/// The last reconciliations of these streams, of which some have a comparison.
fn reconciliations_body<'a>(
    streams: impl Iterator<Item = (&'a StreamStatus, Option<Comparison>)>,
) -> ReconciliationsBody {
    let mut results: Vec<_> = streams
        .flat_map(|(stream, comparison)| last_of(stream, comparison.as_ref()))
        .collect();
    results.sort_by_key(|(started_at, _)| std::cmp::Reverse(*started_at));
    ReconciliationsBody {
        results: results.into_iter().map(|(_, body)| body).collect(),
    }
}

/// The last reconciliation of each kind, with the time of its start.
fn last_of(
    stream: &StreamStatus,
    comparison: Option<&Comparison>,
) -> Vec<(schemas::Millis, ReconciliationBody)> {
    let newest = |kind| {
        let runs = reconciliations(stream).filter(|(_, it)| *it == kind);
        runs.map(|(run, _)| run).max_by_key(|run| run.started_at)
    };
    // One that is newer than the comparison waits for its own.
    let full = newest("full").filter(|run| {
        comparison.is_none_or(|it| it.run_id != run.run_id && it.started_at < run.started_at)
    });
    let mut found = Vec::new();
    for (run, kind) in [
        (full, "full"),
        (newest("archived"), "archived"),
        (newest("late"), "late"),
    ] {
        let body = run.map(|run| (run.started_at, of_run(&stream.name, kind, run)));
        let compared = comparison.filter(|_| kind == "full");
        found.extend(body.or_else(|| compared.map(|it| (it.started_at, of_comparison(it)))));
    }
    found
}

fn of_run(stream: &str, kind: &'static str, run: &RunStatus) -> ReconciliationBody {
    ReconciliationBody {
        id: run.run_id.clone(),
        request_id: run.request_id.clone(),
        stream: stream.to_owned(),
        kind,
        started_at: timestamp(run.started_at),
        finished_at: timestamp(run.finished_at.unwrap_or(run.started_at)),
        in_hubspot: run.objects,
        in_warehouse: None,
        changed: run.records,
        deleted: run.deleted,
        unreadable: run.unreadable,
        still_different: None,
        waits_for: run.waits_for.clone(),
    }
}

fn of_comparison(it: &Comparison) -> ReconciliationBody {
    ReconciliationBody {
        id: it.run_id.clone(),
        request_id: it.request_id.clone(),
        stream: it.stream.clone(),
        kind: "full",
        started_at: timestamp(it.started_at),
        finished_at: timestamp(it.finished_at),
        in_hubspot: Some(it.in_hubspot),
        in_warehouse: Some(it.in_warehouse),
        changed: it.changed,
        deleted: it.deleted,
        unreadable: it.unreadable,
        still_different: Some(it.still_different),
        waits_for: None,
    }
}

/// Path of the reconciliations of a connection.
fn reconciliations_address(name: &str) -> String {
    format!("{}/reconciliations", address(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(run_id: &str, reason: &str, started_at: i64) -> RunStatus {
        RunStatus {
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
            outcome: Some("succeeded".to_owned()),
            started_at,
            finished_at: Some(started_at + 1),
            objects: Some(5),
            ..RunStatus::default()
        }
    }

    fn listed(runs: Vec<RunStatus>, comparison: Option<Comparison>) -> Vec<ReconciliationBody> {
        let stream = StreamStatus {
            name: "contacts".to_owned(),
            runs,
            ..StreamStatus::default()
        };
        reconciliations_body([(&stream, comparison)].into_iter()).results
    }

    fn compared(run_id: &str, started_at: i64) -> Comparison {
        Comparison {
            run_id: run_id.to_owned(),
            started_at,
            in_hubspot: 5,
            in_warehouse: 4,
            still_different: 1,
            ..Comparison::default()
        }
    }

    #[test]
    fn the_last_of_each_kind_is_listed_newest_first() {
        let failed = RunStatus {
            outcome: Some("failed".to_owned()),
            ..run("f", "archived", 60)
        };
        let runs = vec![
            failed,
            run("i", "incremental", 50),
            run("l2", "late", 40),
            run("a", "archived", 30),
            run("b", "backfill", 20),
            run("l1", "late", 10),
        ];
        let results = listed(runs, None);
        let ids: Vec<_> = results.iter().map(|it| (&*it.id, it.kind)).collect();
        assert_eq!(ids, [("l2", "late"), ("a", "archived"), ("b", "full")]);
        assert_eq!(results[2].in_hubspot, Some(5));
        assert_eq!(results[2].in_warehouse, None);
    }

    #[test]
    fn a_comparison_is_shown_until_a_newer_pass_has_ended_or_waits() {
        let same = listed(vec![run("f", "full", 20)], Some(compared("f", 20)));
        assert_eq!((same.len(), same[0].still_different), (1, Some(1)));
        let gone_from_the_status = listed(Vec::new(), Some(compared("f", 20)));
        assert_eq!(gone_from_the_status, same);
        let waiting = RunStatus {
            waits_for: Some("many".to_owned()),
            ..run("g", "full", 30)
        };
        let newer = listed(vec![waiting, run("f", "full", 20)], Some(compared("f", 20)));
        assert_eq!((newer.len(), &*newer[0].id), (1, "g"));
        assert_eq!(newer[0].waits_for.as_deref(), Some("many"));
        assert_eq!(newer[0].still_different, None);
    }
}
