//! Serves from the start of the process: health while it waits for its servers,
//! then the API.

use std::sync::{Arc, OnceLock};

use axum::{Router, extract::Request, routing};
use chassis::Context;
use tower::ServiceExt as _;

use super::error::ApiError;

/// The router of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    early: Router,
    api: Arc<OnceLock<Router>>,
}

impl Front {
    /// Answers health only; other requests get 503 with `Retry-After`.
    pub(crate) fn new(context: Context) -> Self {
        let health = chassis::health::router(context);
        let early = Router::new()
            .route("/health/live", routing::get_service(health.clone()))
            .route("/health/ready", routing::get_service(health))
            .fallback(async || ApiError::Starting);
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
}
