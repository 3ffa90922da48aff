//! Serves from the start of the process: health while it waits for its servers,
//! then the API.

use std::sync::{Arc, OnceLock};

use axum::{Router, extract::Request, routing};
use chassis::{
    Context,
    health::{START, part},
};
use tower::ServiceExt as _;

use super::error::ApiError;
use crate::ingest::conditions;

/// The router of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    early: Router,
    api: Arc<OnceLock<Router>>,
}

impl Front {
    /// Answers health only; other requests get 503 with `Retry-After`.
    pub(crate) fn new(context: Context) -> Self {
        let early = health(context).fallback(async || ApiError::Starting);
        Self {
            early,
            api: Arc::default(),
        }
    }

    /// Forwards every request to `api` from now on; only the first call counts.
    pub(crate) fn open(&self, api: Router) {
        self.api.get_or_init(|| api);
    }

    /// The router to serve.
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(move |request: Request| {
            let router = self.api.get().unwrap_or(&self.early).clone();
            router.oneshot(request)
        })
    }
}

/// Whether the process lives and is ready, as a whole and by its parts.
pub(super) fn health(context: Context) -> Router {
    let whole = chassis::health::router(context.clone());
    let api = |condition: &str| !conditions::is_of_loading(condition);
    let loader = |condition: &str| {
        conditions::is_of_loading(condition) || [START, conditions::KAFKA].contains(&condition)
    };
    Router::new()
        .route("/health/live", routing::get_service(whole.clone()))
        .route("/health/ready", routing::get_service(whole))
        .merge(part(context.clone(), "/health/ready/api", api))
        .merge(part(context, "/health/ready/loader", loader))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode};
    use chassis::{Clock, Health};

    use super::*;

    async fn status(router: &Router, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn only_health_answers_until_the_api_is_ready() {
        let context = Context::new(Clock::system(), Health::without_metrics());
        context.health().fails("registry", "away");
        let front = Front::new(context);
        let router = front.clone().router();
        assert_eq!(status(&router, "/health/live").await, StatusCode::OK);
        for path in ["/health/ready", "/metrics", "/v1/connections"] {
            let answered = status(&router, path).await;
            assert_eq!(answered, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
        front.open(Router::new().route("/v1/connections", routing::get(async || "all")));
        assert_eq!(status(&router, "/v1/connections").await, StatusCode::OK);
        assert_eq!(status(&router, "/metrics").await, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_api_is_ready_while_loading_waits_and_the_other_way_round() {
        let context = Context::new(Clock::system(), Health::without_metrics());
        let router = health(context.clone());
        let paths = ["/health/ready", "/health/ready/api", "/health/ready/loader"];
        for (condition, expected) in [
            (conditions::CLICKHOUSE, [503, 200, 503]),
            (conditions::REGISTRY, [503, 200, 503]),
            (conditions::TARGETS, [503, 200, 503]),
            ("commands", [503, 503, 200]),
            (conditions::KAFKA, [503, 503, 503]),
            (START, [503, 503, 503]),
        ] {
            context.health().fails(condition, "a test");
            for (path, expected) in paths.into_iter().zip(expected) {
                assert_eq!(status(&router, path).await, expected, "{condition}: {path}");
            }
            context.health().holds(condition);
        }
        for path in paths {
            assert_eq!(status(&router, path).await, 200, "{path}");
        }
    }
}
