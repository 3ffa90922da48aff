//! What people script against: the REST API, its specification, its docs and
//! the dashboard.
//!
//! It must not know Kafka or `ClickHouse`: commands and states come from
//! [`control`](crate::control), all else from a [`Backend`].

mod body;
mod connections;
mod dead_letters;
pub mod error;
pub mod front;
mod guard;
mod records;
mod specification;
mod warehouse;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    extract::{OriginalUri, Request},
    http::{HeaderValue, Method, header},
    middleware,
    response::{Html, IntoResponse as _, Response},
    routing,
};
use chassis::Context;
use secrecy::SecretString;
use tokio::sync::{Semaphore, mpsc};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use self::{
    error::{ApiError, Missing, PROBLEM_JSON},
    specification::Specification,
};
use crate::{
    control::Control,
    ingest::{DeadLetter, RebuildState},
    records::{RecordPage, RecordQuery, StoredRecord},
};

/// Bytes of a body at most.
const MAX_BODY: usize = 64 * 1024;

/// Time for a whole body to come in: who drips it holds a place of others.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// Time until the head of an answer, at most.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);

/// What the API asks of storage and of its loader.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// A page of records; an empty one where nothing is stored yet.
    async fn records(&self, query: &RecordQuery) -> Result<RecordPage, ApiError>;

    /// Hands over all records that match, by ascending id, until nobody takes
    /// them any more.
    async fn export(
        &self,
        query: &RecordQuery,
        out: mpsc::Sender<Result<Vec<StoredRecord>, ApiError>>,
    );

    /// The newest dead letters, oldest first.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, ApiError>;

    /// Stores the dead letters that can be; how many were, how many are left.
    async fn reprocess(&self) -> Result<(u64, u64), ApiError>;

    /// Begins a rebuild, or names the one under way.
    async fn start_rebuild(&self) -> Result<RebuildState, ApiError>;

    /// The last rebuild.
    fn rebuild(&self) -> Option<RebuildState>;
}

/// What the API is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Needed by every request but health.
    pub token: Option<SecretString>,
    /// Requests at a time.
    pub max_requests: usize,
    /// Record streams at a time.
    pub max_streams: usize,
    /// Time that a stop waits for the worker.
    pub stop_wait: Duration,
}

/// What every handler is given. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    context: Context,
    control: Control,
    backend: Arc<dyn Backend>,
    token: Option<Arc<SecretString>>,
    room: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    stop_wait: Duration,
}

impl Api {
    /// Joins what the handlers need.
    pub fn new(
        context: Context,
        control: Control,
        backend: Arc<dyn Backend>,
        settings: Settings,
    ) -> Self {
        Self {
            context,
            control,
            backend,
            token: settings.token.map(Arc::new),
            room: Arc::new(Semaphore::new(settings.max_requests)),
            streams: Arc::new(Semaphore::new(settings.max_streams)),
            stop_wait: settings.stop_wait,
        }
    }

    fn now_ms(&self) -> i64 {
        self.context.clock().now_ms()
    }

    /// All routes with all their layers.
    pub fn router(self) -> Router {
        let (routes, specification) = described().split_for_parts();
        let docs = SwaggerUi::new("/docs").url("/openapi.json", specification);
        let health = chassis::health::router(self.context.clone());
        let (health, metrics) = (health.clone(), health);
        let guarded = routes
            .route("/", routing::get(dashboard))
            .merge(docs)
            .route("/metrics", routing::get_service(metrics))
            .with_state(self.clone())
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .fallback(missing)
            .layer(middleware::from_fn(bodiless_errors))
            .layer(middleware::from_fn_with_state(self, guard::admit));
        Router::new()
            .route("/health/live", routing::get_service(health.clone()))
            .route("/health/ready", routing::get_service(health))
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .merge(guarded)
            .layer(middleware::from_fn(guard::observe))
    }
}

/// The routes that the specification describes.
fn described() -> OpenApiRouter<Api> {
    let mut described = OpenApiRouter::with_openapi(Specification::openapi())
        .routes(routes!(connections::list))
        .routes(routes!(
            connections::get,
            connections::put,
            connections::delete
        ))
        .routes(routes!(connections::start))
        .routes(routes!(connections::stop))
        .routes(routes!(connections::sync))
        .routes(routes!(records::list))
        .routes(routes!(records::one))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::reprocess))
        .routes(routes!(warehouse::rebuild, warehouse::last))
        .routes(routes!(warehouse::status));
    specification::complete(described.get_openapi_mut());
    described
}

/// The specification as `/openapi.json` serves it.
pub fn specification() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

async fn dashboard() -> Response {
    let page = Html(include_str!("../static/dashboard.html"));
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                  connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, page).into_response()
}

async fn missing(uri: OriginalUri) -> ApiError {
    ApiError::NotFound {
        what: Missing::Route,
        name: uri.path().chars().take(128).collect(),
    }
}

/// Turns a refusal of the framework (a path or query that does not parse) into
/// a problem, as every other error is one.
async fn bodiless_errors(request: Request, next: middleware::Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
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
        _ if is_read => body::parameter("query", "cannot be read").into_response(),
        _ => body::parameter("path", "cannot be read").into_response(),
    }
}

#[cfg(test)]
mod tests;
