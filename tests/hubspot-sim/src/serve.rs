//! Answers requests over HTTP: request log, faults, token, limits, scope,
//! endpoint, headers.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, header};

use crate::{
    Shared, admin,
    answer::{Answer, correlation_id},
    auth::Caller,
    endpoints::{self, ApiCall},
    faults::{Asked, Fault, scripted},
    portal::Portal,
    requests::Seen,
    route::{Kind, Route},
    timestamps, token_info, wire,
};

/// Answers one request. An error ends the connection.
pub(crate) async fn request(
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> io::Result<Response<wire::ResponseBody>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or("");
    if let Some(path) = path.strip_prefix("/__sim/") {
        let answer = admin::answer(&shared, &parts.method, path, query, &body);
        return respond(&shared, answer, false, None);
    }
    let route = Route::of(&parts.method, path, query);
    let token = bearer(&parts.headers);
    let portal = shared.portal_of(token);
    let number = log(&shared, &route, (portal.as_ref().ok(), token), query, &body);
    // Dropped with the request where the client disconnects; the status is then 0.
    let mut entry = OpenRequest {
        shared: &shared,
        number,
        status: 0,
    };
    if shared.latency_ms() > 0 {
        tokio::time::sleep(Duration::from_millis(shared.latency_ms())).await;
    }
    let portal_id = portal.as_ref().map_or(0, Portal::id);
    let object_type = named_type(portal.as_ref().ok(), &route);
    let asked = Asked {
        kind: route.kind,
        object_type: &object_type,
        portal_id,
        token,
    };
    let fault = shared.faults.of_request(asked);
    match fault {
        Some(Fault::Reset) => {
            reset.store(true, Ordering::SeqCst);
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "reset by a scripted fault",
            ));
        }
        Some(Fault::Stall) => std::future::pending::<()>().await,
        Some(Fault::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        _ => {}
    }
    let gzip = shared.gzip && accepts_gzip(&parts.headers);
    let answer = match fault
        .as_ref()
        .and_then(|fault| scripted::answer(&shared, fault, asked))
    {
        Some(answer) => answer,
        None if parts
            .uri
            .path_and_query()
            .is_some_and(|it| it.as_str().len() > max_url(portal.as_ref().ok())) =>
        {
            Answer::uri_too_long()
        }
        None if route.kind == Kind::OAuth => shared.tokens.refresh(&body, shared.clock.now_ms()),
        None if route.kind == Kind::TokenInfo => token_info::answer(&shared, &body),
        None => match portal {
            Ok(portal) => {
                let call = ApiCall {
                    portal: &portal,
                    route: &route,
                    query,
                    body: &body,
                    faults: &shared.faults,
                    asked,
                };
                admitted(&call, &shared.tokens.caller(token))
            }
            Err(refused) => refused,
        },
    };
    entry.status = answer.status;
    respond(&shared, answer, gzip, fault.as_ref())
}

/// An entry of the request log, which ends when it is dropped.
struct OpenRequest<'a> {
    shared: &'a Shared,
    number: u64,
    status: u16,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.shared.requests.end(self.number, self.status);
    }
}

fn log(
    shared: &Shared,
    route: &Route,
    (portal, token): (Option<&Portal>, &str),
    query: &str,
    body: &[u8],
) -> u64 {
    let keep = shared.keep_requests;
    let has_secrets = matches!(route.kind, Kind::OAuth | Kind::TokenInfo);
    let shown = if keep && !has_secrets { body } else { &[] };
    let seen = Seen {
        number: 0,
        at: Instant::now(),
        at_ms: shared.clock.now_ms(),
        kind: route.kind,
        object_type: named_type(portal, route),
        portal_id: portal.map_or(0, Portal::id),
        token: if keep {
            token.to_owned()
        } else {
            String::new()
        },
        query: if keep {
            query.to_owned()
        } else {
            String::new()
        },
        body: String::from_utf8_lossy(shown).into_owned(),
        status: 0,
    };
    shared.requests.begin(seen, keep)
}

/// The name of the object type in a path, where it may be an id.
fn named_type(portal: Option<&Portal>, route: &Route) -> String {
    portal
        .filter(|_| !route.object_type.is_empty())
        .and_then(|it| {
            it.data()
                .state
                .table(&route.object_type)
                .map(|table| table.name.clone())
        })
        .unwrap_or_else(|| route.object_type.clone())
}

fn max_url(portal: Option<&Portal>) -> usize {
    portal.map_or(16_200, |it| it.quirks().max_url)
}

/// The answer to a known token: limits, then scope, then the endpoint.
fn admitted(call: &ApiCall<'_>, caller: &Caller) -> Answer {
    let (portal, object_type) = (call.portal, call.asked.object_type);
    let allowance = match portal.take(call.route.bucket(), caller) {
        Ok(allowance) => allowance,
        Err(policy) => return Answer::rate_limited(policy, portal.limits().retry_after),
    };
    let scopes = if portal.has_scope(object_type) {
        None
    } else {
        portal
            .data()
            .state
            .table(object_type)
            .map(endpoints::scopes_of)
    };
    let answer = match scopes {
        Some(scopes) => Answer::missing_scope(&scopes),
        None => endpoints::answer(call),
    };
    Answer {
        allowance,
        ..answer
    }
}

fn respond(
    shared: &Shared,
    answer: Answer,
    gzip: bool,
    fault: Option<&Fault>,
) -> io::Result<Response<wire::ResponseBody>> {
    let mut response = Response::builder()
        .status(answer.status)
        .header(header::DATE, timestamps::http_date(shared.clock.now_ms()))
        .header(header::CONTENT_TYPE, answer.content_type);
    if answer.correlated {
        response = response.header("x-hubspot-correlation-id", correlation_id());
    }
    if let Some(allowance) = answer.allowance {
        response = response
            .header("x-hubspot-ratelimit-max", allowance.max)
            .header("x-hubspot-ratelimit-remaining", allowance.remaining)
            .header("x-hubspot-ratelimit-interval-milliseconds", 10_000);
        if let Some((daily, left)) = allowance.daily {
            response = response
                .header("x-hubspot-ratelimit-daily", daily)
                .header("x-hubspot-ratelimit-daily-remaining", left);
        }
    }
    if let Some(seconds) = answer.retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    let mut body = answer.body;
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&body)?;
        body = encoder.finish()?;
        response = response.header(header::CONTENT_ENCODING, "gzip");
    }
    let body = Bytes::from(body);
    response = response.header(header::CONTENT_LENGTH, body.len());
    let body = match fault {
        Some(Fault::CutBody { after }) => {
            wire::cut(&body, (*after).min(body.len().saturating_sub(1)))
        }
        Some(Fault::SlowBody { pieces, pause_ms }) => {
            wire::slow(&body, *pieces, Duration::from_millis(*pause_ms))
        }
        _ => wire::whole(body),
    };
    response.body(body).map_err(io::Error::other)
}

fn bearer(headers: &hyper::HeaderMap) -> &str {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or("")
}

fn accepts_gzip(headers: &hyper::HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"))
}
