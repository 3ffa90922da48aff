//! The layers around every route: request id, log and metrics; then access,
//! concurrency, size and time limits.

use std::{any::Any, time::Instant};

use axum::{
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, FromRequest as _, MatchedPath, Request, State,
        rejection::{BytesRejection, FailedToBufferBody},
    },
    http::{HeaderMap, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use chassis::traces::{TARGET, TraceParent};
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, Predicate as _,
        predicate::{And, DefaultPredicate, SizeAbove},
    },
};
use tracing::{Instrument as _, Span, field::Empty};
use uuid::Uuid;

use super::{Api, BODY_LIMIT, MAX_BODY, REQUEST_LIMIT, error::ApiError};

/// Requests answered; labels: route, method, status.
const REQUESTS: &str = "api_requests_total";
/// Seconds from a request to the head of its answer; labels: route, method.
const SECONDS: &str = "api_request_duration_seconds";

/// Describes the metrics of this file.
pub(crate) fn describe_metrics() {
    metrics::describe_counter!(REQUESTS, "Requests answered.");
    metrics::describe_histogram!(SECONDS, "Seconds from a request to the head of its answer.");
}

/// The route of the metrics.
pub(super) const METRICS: &str = "/metrics";

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

/// Answers below this size, in bytes, are not compressed: they fit into one packet.
const COMPRESSED_ABOVE: u16 = 1_024;

/// Compresses answers for those who accept gzip or zstd, but not events, which have to
/// arrive at once. At the fastest level, so that an export stays fast.
pub(super) fn compress() -> CompressionLayer<And<DefaultPredicate, SizeAbove>> {
    let large = SizeAbove::new(COMPRESSED_ABOVE);
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(DefaultPredicate::new().and(large))
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
    let method = label(request.method());
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let request_id = String::from_utf8_lossy(id.as_bytes()).into_owned();
    // Not the query or headers: they may hold property values or the token.
    let span = tracing::info_span!("request", method, route, request_id);
    let trace = trace(request.headers(), method, &route);
    let answering = next.run(request).instrument(span.clone());
    let mut response = answering.instrument(trace.clone()).await;
    let status = response.status().as_u16();
    trace.record("http.response.status_code", status);
    if response.status().is_server_error() {
        trace.record("otel.status_code", "ERROR");
    }
    let duration = began.elapsed();
    // Readiness is polled; why it fails is logged elsewhere, once.
    if response.status().is_server_error() && !route.starts_with("/health/ready") {
        tracing::warn!(parent: &span, status, duration_ms = duration.as_millis(), "answered");
    } else {
        tracing::debug!(parent: &span, status, duration_ms = duration.as_millis(), "answered");
    }
    let labels = [("route", route.clone()), ("method", method.to_owned())];
    metrics::histogram!(SECONDS, &labels).record(duration.as_secs_f64());
    let [route, method] = labels;
    metrics::counter!(REQUESTS, &[route, method, ("status", status.to_string())]).increment(1);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The span of a request in traces: a child of the caller's, where it names one.
fn trace(headers: &HeaderMap, method: &str, route: &str) -> Span {
    // They are polled.
    if route.starts_with("/health/") || route == METRICS {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    let caller = headers.get(TraceParent::HEADER);
    if let Some(caller) = caller.and_then(|it| TraceParent::parse(it.as_bytes())) {
        caller.adopt(&span);
    }
    span
}

/// The method as a label of metrics. Callers may invent methods, but not labels.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
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
/// time for body and answer. Handlers find who sent the request in its extensions.
// Not tower-http's timeout and body limit, nor tower's load shedding: they
// answer without a problem body, and none bounds the time for the body alone.
pub(super) async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let client = match api.access.check(&parts).await {
        Ok(client) => client,
        Err(refused) => return refused.into_response(),
    };
    // An API that is overrun can still be watched.
    let is_counted = parts.uri.path() != METRICS;
    let place = is_counted.then(|| api.requests.take(client));
    let _place = match place.transpose() {
        Ok(place) => place,
        Err(overrun) => return overrun.into_response(),
    };
    parts.extensions.insert(client);
    let bounded = async {
        match tokio::time::timeout(BODY_LIMIT, whole(body)).await {
            Ok(Ok(bytes)) => {
                next.run(Request::from_parts(parts, Body::from(bytes)))
                    .await
            }
            Ok(Err(refused)) => refused.into_response(),
            Err(_elapsed) => ApiError::SlowBody.into_response(),
        }
    };
    tokio::time::timeout(REQUEST_LIMIT, bounded)
        .await
        .unwrap_or_else(|_elapsed| ApiError::TimedOut.into_response())
}

/// All of a body, which must have ended and not be too large.
async fn whole(body: Body) -> Result<Bytes, ApiError> {
    let mut request = Request::new(body);
    DefaultBodyLimit::max(MAX_BODY).apply(&mut request);
    let read = Bytes::from_request(request, &()).await;
    read.map_err(|error| match error {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            ApiError::TooLarge
        }
        _ => ApiError::MalformedJson("it broke off before its end".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::header, middleware::from_fn, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn a_method_that_a_caller_invented_is_no_label() {
        for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
            assert_eq!(label(&method), method.as_str());
        }
        let invented: Method = "INVENTED".parse().unwrap();
        assert_eq!(label(&invented), "other");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_called_too_large() {
        let cut = [
            Ok(Bytes::from_static(b"{")),
            Err(std::io::Error::other("cut")),
        ];
        let cut = Body::from_stream(futures::stream::iter(cut));
        assert!(matches!(whole(cut).await, Err(ApiError::MalformedJson(_))));
        let spaces = |count| Body::from(vec![b' '; count]);
        let large = whole(spaces(MAX_BODY + 1)).await;
        assert!(matches!(large, Err(ApiError::TooLarge)));
        assert_eq!(whole(spaces(MAX_BODY)).await.unwrap().len(), MAX_BODY);
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
}
