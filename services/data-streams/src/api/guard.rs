//! The layers around every route: request id, log and metrics; then access,
//! concurrency, size and time limits.

use std::{any::Any, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_PAD_INDIFFERENT};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Api, BODY_LIMIT, MAX_BODY, REQUEST_LIMIT, error::ApiError};
use crate::config;

/// Requests answered; labels: route, method, status.
const REQUESTS: &str = "api_requests_total";
/// Seconds from a request to the head of its answer; labels: route, method.
const SECONDS: &str = "api_request_duration_seconds";

const REQUEST_ID: &str = "x-request-id";

/// What [`catch_panics`] answers a panic with.
type AnswerToPanic = fn(Box<dyn Any + Send>) -> Response;

/// Answers a panic with status 500.
pub(super) fn catch_panics() -> CatchPanicLayer<AnswerToPanic> {
    CatchPanicLayer::custom(|_panic: Box<dyn Any + Send>| {
        tracing::error!("a request panicked");
        ApiError::Internal.into_response()
    })
}

/// Gives a request its id, logs and counts its answer.
// Not tower-http's request-id: it keeps any id that the caller sends. Nor its
// trace: metrics and log need the same route, status and time.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let request_id = String::from_utf8_lossy(id.as_bytes()).into_owned();
    // Not the query or headers: they may hold property values or the token.
    let span = tracing::info_span!("request", %method, route, request_id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let duration = began.elapsed();
    // Readiness is polled; why it fails is logged elsewhere, once.
    if response.status().is_server_error() && route != "/health/ready" {
        tracing::warn!(parent: &span, status, duration_ms = duration.as_millis(), "answered");
    } else {
        tracing::debug!(parent: &span, status, duration_ms = duration.as_millis(), "answered");
    }
    let labels = [("route", route.clone()), ("method", method.to_string())];
    metrics::histogram!(SECONDS, &labels).record(duration.as_secs_f64());
    let [route, method] = labels;
    metrics::counter!(REQUESTS, &[route, method, ("status", status.to_string())]).increment(1);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The caller's id if it is at most 64 letters, digits, `-`, `_` and `.`,
/// otherwise a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        id.len() <= 64
            && id
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().to_string())
            .unwrap_or_else(|_error| HeaderValue::from_static("none"))
    })
}

/// Checks access, then bounds requests at a time, the size of the body and the
/// time for body and answer.
// Not tower-http's timeout and body limit, nor tower's load shedding: they
// answer without a problem body, and none bounds the time for the body alone.
pub(super) async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Err(refused) = check_access(&api, request.headers()) {
        return refused.into_response();
    }
    let Ok(_permit) = Arc::clone(&api.requests).try_acquire_owned() else {
        return ApiError::Overrun.into_response();
    };
    let bounded = async {
        let (parts, body) = request.into_parts();
        match tokio::time::timeout(BODY_LIMIT, axum::body::to_bytes(body, MAX_BODY)).await {
            Ok(Ok(bytes)) => {
                next.run(Request::from_parts(parts, Body::from(bytes)))
                    .await
            }
            Ok(Err(_too_large_or_cut)) => ApiError::TooLarge.into_response(),
            Err(_elapsed) => ApiError::SlowBody.into_response(),
        }
    };
    tokio::time::timeout(REQUEST_LIMIT, bounded)
        .await
        .unwrap_or_else(|_elapsed| ApiError::TimedOut.into_response())
}

/// Checks the token, and that no page of another site sent the request.
fn check_access(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(token) = &api.token {
        let given = credentials(headers).ok_or(ApiError::Unauthorized)?;
        // Digests are compared, so that the time does not tell the length.
        let expected = Sha256::digest(token.expose_secret().as_bytes());
        if !bool::from(Sha256::digest(given.as_bytes()).ct_eq(&expected)) {
            return Err(ApiError::Unauthorized);
        }
    }
    // A browser sends its credentials, and reaches loopback, for the pages of
    // every site; only the origin tells which page sent the request.
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let origin = headers
        .get(header::ORIGIN)
        .map(|origin| origin.to_str().unwrap_or_default());
    if let Some(origin) = origin {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || authority != host {
            return Err(ApiError::ForeignOrigin);
        }
    }
    // Without a token, a page could use a name of its own that resolves to
    // loopback: its origin and the host would agree.
    if api.token.is_none() && host.is_some_and(|host| !is_loopback(host)) {
        return Err(ApiError::ForeignOrigin);
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    config::is_loopback(name)
}

/// The token of a request: as Bearer, or as the password of Basic, which a
/// browser can ask its user for.
fn credentials(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD_PAD_INDIFFERENT.decode(rest.trim()).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        return pair
            .split_once(':')
            .map(|(_, password)| password.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware::from_fn, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn the_token_is_read_from_bearer_and_from_the_password_of_basic() {
        for (authorization, token) in [
            ("Bearer secret", Some("secret")),
            ("Basic OnNlY3JldA==", Some("secret")),
            ("Basic OnNlY3JldA", Some("secret")),
            ("Basic dTpmb28=", Some("foo")),
            ("Basic Og==", Some("")),
            // No colon.
            ("Basic Zm9v", None),
            ("Basic ", None),
            ("Basic a b", None),
            ("Basic ****", None),
            // Not UTF-8.
            ("Basic Ov8=", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::AUTHORIZATION,
                HeaderValue::from_static(authorization),
            );
            assert_eq!(credentials(&headers).as_deref(), token, "{authorization}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_answered_with_status_500() {
        let fails = async || -> &'static str { panic!("a test") };
        let router = Router::new()
            .route("/", get(fails))
            .layer(catch_panics())
            .layer(from_fn(observe));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(REQUEST_ID));
        let kind = response.headers().get(header::CONTENT_TYPE).unwrap();
        assert_eq!(kind, "application/problem+json");
    }

    #[test]
    fn only_localhost_and_loopback_addresses_are_loopback() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:1",
            "[::1]:8080",
            "127.8.8.8",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "127.0.0.1.example.com:80", "10.0.0.1", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
