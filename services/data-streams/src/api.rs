//! The REST API, its OpenAPI document, Swagger UI and the dashboard.
//!
//! It must not know Kafka or ClickHouse: the state of connections comes from
//! [`control`](crate::control), everything else from a [`Backend`].

mod access;
mod body;
mod changes;
mod connections;
mod dashboard;
mod dead_letters;
mod documented;
pub(crate) mod error;
pub(crate) mod front;
mod guard;
mod operation;
mod places;
mod records;
mod specification;
mod sql;
mod stream_metrics;
mod terms;
mod warehouse;
mod words;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::Bytes,
    extract::{OriginalUri, Request},
    http::header,
    middleware,
    response::{IntoResponse as _, Response},
    routing,
};
use chassis::Context;
use tokio::sync::mpsc;
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use self::{
    access::Access,
    documented::Documented,
    error::{ApiError, Missing, PROBLEM_JSON},
    places::Places,
    specification::Specification,
};
pub(crate) use self::{access::Tokens, guard::describe_metrics};
use crate::{
    comparison::Comparison,
    control::{ControlPlane, PATIENCE},
    ingest::{ChangeBatch, ChangeQuery, ListedLetter, RebuildState, Reprocessed},
    records::{
        HistoryPage, HistoryQuery, RecordPage, RecordQuery, SqlQuery, SqlRows, StoredRecord,
    },
};

/// What a stream's name looks like: an object type, or two for associations.
const STREAM: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(>[A-Za-z0-9][A-Za-z0-9_-]{0,63})?$";

/// Maximum size of a body in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Maximum time for a whole body to arrive: a slow one takes one of
/// [`ApiSettings::max_requests`] meanwhile.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Maximum time from the request to the head of its answer.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);

/// Maximum time that a command's route waits for the worker.
const WORKER_LIMIT: Duration = Duration::from_secs(45);

// Before that, its command waits for those before it, and for being read back. A longer
// wait would end in 503, and the caller would never get the 202 with a place to look.
const _: () = assert!(
    WORKER_LIMIT.as_millis() + 2 * PATIENCE.as_millis() < REQUEST_LIMIT.as_millis(),
    "a wait for the worker can outlast the request"
);

/// Maximum number of questions in SQL at a time.
const MAX_QUESTIONS: usize = 4;

/// Maximum number of pages of the change log at a time: each has a reader of Kafka, and takes
/// up to 24 MiB.
const MAX_PAGES: usize = 16;

/// Maximum number of callers who watch the connections.
const MAX_WATCHERS: usize = 64;

/// What the API needs of the warehouse and its loader.
#[async_trait]
pub(crate) trait Backend: fmt::Debug + Send + Sync + 'static {
    /// A page of records; an empty one if nothing is stored yet.
    async fn records(&self, query: &RecordQuery) -> Result<RecordPage, ApiError>;

    /// Sends all matching records to `out` by ascending id; ends early when the
    /// receiver is dropped.
    async fn export(
        &self,
        query: &RecordQuery,
        out: mpsc::Sender<Result<Vec<StoredRecord>, ApiError>>,
    );

    /// Sends all matching records to `out` as CSV by ascending id; ends early when the
    /// receiver is dropped.
    async fn csv(&self, query: &RecordQuery, out: mpsc::Sender<Result<Bytes, ApiError>>);

    /// Versions of an object, newest first; an empty page if it is not stored.
    async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, ApiError>;

    /// Sends part of the log to `out`; ends early when the receiver is dropped.
    async fn changes(&self, query: ChangeQuery, out: mpsc::Sender<Result<ChangeBatch, ApiError>>);

    /// The newest dead letters, oldest first.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<ListedLetter>, ApiError>;

    /// Stores the dead letters that can be stored now.
    async fn reprocess(&self) -> Result<Reprocessed, ApiError>;

    /// Starts a rebuild, or returns the one that is running.
    async fn start_rebuild(&self, accepts_loss: bool) -> Result<RebuildState, ApiError>;

    /// The last rebuilds, by whichever instance, newest first.
    async fn rebuilds(&self) -> Result<Vec<RebuildState>, ApiError>;

    /// Refuses a destination that has the data of another account than this one, or
    /// tables that are not of this program. Does not refuse while it cannot be known.
    async fn check_destination(
        &self,
        destination: &str,
        portal_id: Option<i64>,
    ) -> Result<(), ApiError>;

    /// Lets what the log has of these connections, which had the destination of this deleted
    /// one, never be loaded again. Takes seconds. False if what is stored there is another
    /// account's, and stays.
    async fn skip(
        &self,
        connection: &str,
        names: &[String],
        destination: &str,
    ) -> Result<bool, ApiError>;

    /// Drops what is stored of a deleted connection, whose log is skipped.
    async fn purge(&self, connection: &str, destination: &str) -> Result<(), ApiError>;

    /// The streams of a connection whose records this instance cannot load now, and why.
    fn waiting(&self, connection: &str) -> BTreeMap<String, String>;

    /// The answer to a question in SQL.
    async fn sql(&self, query: &SqlQuery) -> Result<SqlRows, ApiError>;

    /// The same as CSV with a line of names.
    async fn sql_as_csv(&self, query: &SqlQuery) -> Result<Bytes, ApiError>;

    /// The last comparison of a stream of a connection with HubSpot.
    fn comparison(&self, connection: &str, stream: &str) -> Option<Comparison>;
}

/// Settings of the API.
#[derive(Debug, Clone)]
pub(crate) struct ApiSettings {
    /// Who may do what.
    pub(crate) tokens: Tokens,
    /// Maximum number of requests at a time.
    pub(crate) max_requests: usize,
    /// Maximum number of record streams at a time.
    pub(crate) max_streams: usize,
    /// How long a stop waits for the worker.
    pub(crate) stop_wait: Duration,
}

/// What the handlers share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    context: Context,
    control: ControlPlane,
    backend: Arc<dyn Backend>,
    access: Arc<Access>,
    requests: Arc<Places>,
    streams: Arc<Places>,
    /// For pages of the change log at a time.
    pages: Arc<Places>,
    /// For one reading of the dead letters at a time.
    dead_letters: Arc<Places>,
    /// For questions in SQL at a time.
    questions: Arc<Places>,
    /// For those who watch the connections.
    watchers: Arc<Places>,
    stop_wait: Duration,
}

impl Api {
    /// An API over `control` and `backend`.
    pub(crate) fn new(
        context: Context,
        control: ControlPlane,
        backend: Arc<dyn Backend>,
        settings: ApiSettings,
    ) -> Self {
        let (measured, stored) = (control.clone(), Arc::clone(&backend));
        let clock = context.clock().clone();
        context.health().also_measures(move |out| {
            stream_metrics::measure(&measured, &stored, clock.now_ms(), out);
        });
        Self {
            context,
            control,
            backend,
            access: Arc::new(Access::new(settings.tokens)),
            requests: Places::new(settings.max_requests),
            streams: Places::new(settings.max_streams),
            pages: Places::new(MAX_PAGES),
            dead_letters: Places::new(1),
            questions: Places::new(MAX_QUESTIONS),
            watchers: Places::new(MAX_WATCHERS),
            stop_wait: settings.stop_wait,
        }
    }

    fn now_ms(&self) -> i64 {
        self.context.clock().now_ms()
    }

    /// All routes with all their layers.
    pub(crate) fn router(self) -> Router {
        let (routes, specification) = documented_routes().split_for_parts();
        let documented = Documented::new(&specification);
        let docs = SwaggerUi::new("/docs").url("/openapi.json", specification);
        let metrics = chassis::health::router(self.context.clone());
        let health = front::health(self.context.clone());
        let guarded = routes
            .merge(dashboard::router())
            .merge(docs)
            .route(guard::METRICS, routing::get_service(metrics))
            .with_state(self.clone())
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .fallback(no_route)
            .layer(middleware::from_fn_with_state(
                documented,
                documented::follow,
            ))
            .layer(middleware::from_fn(refusals_as_problems))
            .layer(middleware::from_fn_with_state(self, guard::admit))
            .layer(guard::compress());
        health
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .merge(guarded)
            .layer(guard::catch_panics())
            .layer(middleware::from_fn(guard::observe))
    }
}

/// The routes in the OpenAPI document.
fn documented_routes() -> OpenApiRouter<Api> {
    let mut routes = OpenApiRouter::with_openapi(Specification::openapi())
        .routes(routes!(connections::list))
        .routes(routes!(
            connections::get,
            connections::put,
            connections::patch,
            connections::delete::delete
        ))
        .routes(routes!(connections::start))
        .routes(routes!(connections::stop))
        .routes(routes!(connections::sync))
        .routes(routes!(connections::runs::list))
        .routes(routes!(connections::check::check))
        .routes(routes!(connections::commands::show))
        .routes(routes!(connections::reconciliations::reconcile))
        .routes(routes!(connections::reconciliations::list))
        .routes(routes!(connections::reconciliations::confirm))
        .routes(routes!(records::list))
        .routes(routes!(records::one))
        .routes(routes!(records::history::list))
        .routes(routes!(records::associations::list))
        .routes(routes!(changes::list))
        .routes(routes!(sql::query))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::reprocess))
        .routes(routes!(warehouse::rebuild, warehouse::last))
        .routes(routes!(warehouse::status));
    specification::complete(routes.get_openapi_mut());
    routes
}

/// The document that `/openapi.json` serves.
#[cfg(test)]
fn specification() -> utoipa::openapi::OpenApi {
    documented_routes().into_openapi()
}

async fn no_route(uri: OriginalUri) -> ApiError {
    ApiError::NotFound {
        what: Missing::Route,
        name: uri.path().chars().take(128).collect(),
    }
}

/// Gives a refusal of axum itself (a path that does not parse: a query, taken as pairs of
/// texts, always does) the problem body that every other failure has.
async fn refusals_as_problems(request: Request, next: middleware::Next) -> Response {
    let response = next.run(request).await;
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(PROBLEM_JSON.as_bytes()));
    if is_problem || !response.status().is_client_error() {
        return response;
    }
    match response.status().as_u16() {
        405 => ApiError::MethodNotAllowed.into_response(),
        404 => ApiError::NotFound {
            what: Missing::Route,
            name: String::new(),
        }
        .into_response(),
        _ => body::parameter("path", "cannot be parsed").into_response(),
    }
}

#[cfg(test)]
mod tests;
