//! The last runs of a connection, as its worker reports them.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use schemas::{RunStatus, StreamStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{
        Api,
        body::timestamp,
        error::{ApiError, Missing, Problem},
        records::{refused_parameter, unknown_parameter},
    },
    ConnectionPath,
    view::ErrorBody,
};

/// The last runs of a connection.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RunsBody {
    /// Newest first: of each stream all runs that have not ended, and the last 20
    /// others.
    results: Vec<RunBody>,
}

/// A run of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RunBody {
    /// Its id, as in `_run_id` of the rows that it wrote.
    #[schema(format = "uuid")]
    run_id: String,
    /// Object type.
    #[schema(example = "contacts")]
    stream: String,
    /// Why it was made: `backfill`, `incremental`, `requested`, `late`, `archived`,
    /// `full` or `confirm`.
    #[schema(example = "incremental")]
    reason: String,
    /// Id of the request that it carries out.
    #[schema(format = "uuid")]
    request_id: Option<String>,
    /// When it started, by HubSpot's clock.
    #[schema(format = DateTime)]
    started_at: String,
    /// When it ended, by HubSpot's clock; null before.
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    /// Records written in it.
    #[schema(minimum = 0)]
    records: i64,
    /// Requests to HubSpot in it, without repeated ones.
    #[schema(minimum = 0)]
    requests: i64,
    /// `succeeded`, `stopped`, `failed` or `restarted`; null while it has not ended.
    outcome: Option<String>,
    /// When it continues; null unless it waits after a failure.
    #[schema(format = DateTime)]
    retry_at: Option<String>,
    /// Why it failed or waits.
    error: Option<ErrorBody>,
    /// Objects that HubSpot did not give even alone; the next pass tries them again.
    #[schema(minimum = 0)]
    unreadable: i64,
    /// The first 20 of them.
    unreadable_ids: Vec<String>,
    /// Why objects that seem to be gone are not deleted yet.
    waits_for: Option<String>,
}

/// Lists the last runs.
#[utoipa::path(
    get,
    path = "/v1/connections/{name}/runs",
    operation_id = "list_runs",
    tag = "connections",
    params(
        ConnectionPath,
        ("request_id" = Option<String>, Query, description = "Only the runs that carry out this request"),
    ),
    responses(
        (status = 200, description = "The last runs, newest first", body = RunsBody),
        (status = 400, description = "A parameter is unknown or not allowed", body = Problem),
        (status = 404, description = "There is no such connection", body = Problem),
        (status = 503, description = "The service is starting", body = Problem),
    )
)]
pub(in crate::api) async fn list(
    State(api): State<Api>,
    Path(ConnectionPath { name }): Path<ConnectionPath>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<RunsBody>, ApiError> {
    if let Some((other, _)) = pairs.iter().find(|(name, _)| name != "request_id") {
        return Err(refused_parameter(unknown_parameter(other, "request_id")));
    }
    let request_id = pairs.first().map(|(_, value)| value.as_str());
    let found = api.control.read(|connections| {
        let live = connections.get_live(&name)?;
        let streams = live.connection.streams.values();
        Some(runs_body(streams.map(|it| &it.status), request_id))
    })?;
    let found = found.ok_or_else(|| ApiError::not_found(Missing::Connection, &name))?;
    Ok(Json(found))
}

/// The runs of these streams, or those of them that carry out this request.
fn runs_body<'a>(
    streams: impl IntoIterator<Item = &'a StreamStatus>,
    request_id: Option<&str>,
) -> RunsBody {
    let runs = |stream: &'a StreamStatus| stream.runs.iter().map(move |run| (stream, run));
    let mut runs: Vec<_> = streams.into_iter().flat_map(runs).collect();
    runs.retain(|(_, run)| request_id.is_none_or(|id| run.request_id.as_deref() == Some(id)));
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.started_at));
    RunsBody {
        results: runs
            .into_iter()
            .map(|(stream, run)| run_body(&stream.name, run))
            .collect(),
    }
}

fn run_body(stream: &str, run: &RunStatus) -> RunBody {
    RunBody {
        run_id: run.run_id.clone(),
        stream: stream.to_owned(),
        reason: run.reason.clone(),
        request_id: run.request_id.clone(),
        started_at: timestamp(run.started_at),
        finished_at: run.finished_at.map(timestamp),
        records: run.records,
        requests: run.requests,
        outcome: run.outcome.clone(),
        retry_at: run.retry_at.map(timestamp),
        error: run.error.as_ref().map(ErrorBody::from),
        unreadable: run.unreadable,
        unreadable_ids: run.unreadable_ids.iter().map(i64::to_string).collect(),
        waits_for: run.waits_for.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_all_streams_are_listed_newest_first() {
        let run = |id: &str, started_at| RunStatus {
            run_id: id.to_owned(),
            started_at,
            ..RunStatus::default()
        };
        let stream = |name: &str, runs| StreamStatus {
            name: name.to_owned(),
            runs,
            ..StreamStatus::default()
        };
        let requested = RunStatus {
            request_id: Some("r".to_owned()),
            ..run("c", 3)
        };
        let streams = [
            stream("contacts", vec![run("d", 4), run("a", 1)]),
            stream("companies", vec![requested]),
        ];
        let of_request = runs_body(&streams, Some("r")).results;
        assert_eq!((of_request.len(), &*of_request[0].run_id), (1, "c"));
        let body = runs_body(&streams, None);
        let listed = body.results.iter().map(|it| (&*it.stream, &*it.run_id));
        let expected = [("contacts", "d"), ("companies", "c"), ("contacts", "a")];
        assert_eq!(listed.collect::<Vec<_>>(), expected);
    }
}
