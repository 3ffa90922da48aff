//! What every request passes on its way in: who may, how many, how large, how
//! long; and what is noted of it.
//!
//! It must not know any route.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Api, BODY_LIMIT, MAX_BODY, REQUEST_LIMIT, error::ApiError};

/// Requests answered, by route, method and status.
const REQUESTS: &str = "api_requests_total";
/// Seconds from a request to the head of its answer, by route and method.
const SECONDS: &str = "api_request_duration_seconds";

const REQUEST_ID: &str = "x-request-id";

/// Notes a request and its answer, and turns a panic into one.
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
    // The path and never the query or a header: those may hold values.
    let span = tracing::info_span!("request", %method, route, request_id);
    let answered = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span.clone());
    let mut response = answered.await.unwrap_or_else(|_panic| {
        tracing::error!(parent: &span, "a request panicked");
        ApiError::Internal.into_response()
    });
    let status = response.status().as_u16();
    let duration = began.elapsed();
    // Whoever polls for readiness is told, and the reason is logged once.
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

/// The caller's id where it is short and harmless, else a new one.
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

/// Lets a request through whose caller may, while there is room, with a body
/// of bounded size, for a bounded time.
pub(super) async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Err(refused) = permitted(&api, request.headers()) {
        return refused.into_response();
    }
    let Ok(_room) = Arc::clone(&api.room).try_acquire_owned() else {
        return ApiError::Overrun.into_response();
    };
    let bounded = async {
        let (parts, body) = request.into_parts();
        match tokio::time::timeout(BODY_LIMIT, axum::body::to_bytes(body, MAX_BODY)).await {
            Ok(Ok(bytes)) => {
                next.run(Request::from_parts(parts, Body::from(bytes)))
                    .await
            }
            Ok(Err(_too_large_or_cut)) => ApiError::TooLarge { limit: MAX_BODY }.into_response(),
            Err(_elapsed) => ApiError::SlowBody {
                seconds: BODY_LIMIT.as_secs(),
            }
            .into_response(),
        }
    };
    tokio::time::timeout(REQUEST_LIMIT, bounded)
        .await
        .unwrap_or_else(|_elapsed| {
            ApiError::TimedOut {
                seconds: REQUEST_LIMIT.as_secs(),
            }
            .into_response()
        })
}

fn permitted(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(token) = &api.token {
        let given = credentials(headers).ok_or(ApiError::Unauthorized)?;
        // Of digests, so that not even the length can be measured.
        let expected = Sha256::digest(token.expose_secret().as_bytes());
        if !bool::from(Sha256::digest(given.as_bytes()).ct_eq(&expected)) {
            return Err(ApiError::Unauthorized);
        }
    }
    // A browser adds its credentials, or reaches loopback, for any page; only
    // the origin tells which page asks.
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
    // Without a token, a foreign name that resolves to loopback would do.
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
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The token that a request carries: as a bearer, or as the password of Basic,
/// which is what a browser can ask for.
fn credentials(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(base64(rest.trim())?).ok()?;
        return pair
            .split_once(':')
            .map(|(_, password)| password.to_owned());
    }
    None
}

/// Decodes standard Base64; `None` where it is not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut held, mut bits) = (0u32, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm9v", b"foo"),
            ("OnNlY3JldA==", b":secret"),
        ] {
            assert_eq!(base64(text).unwrap(), bytes, "{text}");
        }
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn only_loopback_is_loopback() {
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
