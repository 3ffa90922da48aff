//! Sends a call until it succeeds or fails for good: rate limits, token, and the
//! actions of the table in `error.rs`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::traces::TARGET;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use schemas::Millis;
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, Span, field::Empty};

mod account;
mod attempts;
mod long_pause;
mod scopes;

use self::{account::KnownAccount, attempts::Attempts, long_pause::LongPause};
use super::{
    auth::{Auth, Token},
    call::{Call, Endpoint},
    error::{Action, Fault, UNAUTHORIZED, action},
    failure::{CallError, daily_limit_until, failed_on_request, given_up, unavailable_until},
    limits::Limits,
    transport::Transport,
    wire,
};
use crate::sync::Fetched;

const REQUESTS_TOTAL: &str = "worker_hubspot_requests_total";
const REQUEST_SECONDS: &str = "worker_hubspot_request_seconds";

/// A longer pause that HubSpot asks for is shown in the status.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);
/// How long the run then waits before it tries again.
const BACK_OFF_MS: i64 = 60_000;
/// The HTTP client of one portal.
#[derive(Debug)]
pub(super) struct Client {
    /// Connections and HubSpot's clock.
    pub(super) transport: Arc<Transport>,
    /// The portal's rate limits.
    pub(super) limits: Limits,
    pub(super) auth: Auth,
    version: String,
    fallback: AtomicBool,
    account: KnownAccount,
    long_pause: LongPause,
}

/// How an attempt at a call went.
enum Attempt<T> {
    /// The call was not sent: the token of this generation is not known to lead to the
    /// account.
    Unconfirmed(u64),
    /// The call was not sent: the refresh of its token failed.
    NoToken(Fault),
    /// The call was sent with a token of this generation.
    Sent(u64, Result<Fetched<T>, Fault>),
}

impl Client {
    /// A client that starts with the configured version of the API.
    pub(super) fn new(
        transport: Arc<Transport>,
        limits: Limits,
        auth: Auth,
        version: String,
    ) -> Self {
        Self {
            transport,
            limits,
            auth,
            version,
            fallback: AtomicBool::new(false),
            account: KnownAccount::default(),
            long_pause: LongPause::default(),
        }
    }

    /// The version of the API in use.
    pub(super) fn version(&self) -> &str {
        if self.fallback.load(Ordering::Relaxed) {
            super::FALLBACK_VERSION
        } else {
            &self.version
        }
    }

    /// Switches to the older version of the API. False if it is in use already.
    pub(super) fn fall_back(&self) -> bool {
        self.version != super::FALLBACK_VERSION && !self.fallback.swap(true, Ordering::Relaxed)
    }

    /// Sends a call until it succeeds or fails for good.
    pub(super) async fn call<T>(
        &self,
        call: &Call,
        parse: impl Fn(&[u8]) -> Result<T, wire::ParseError> + Send + Sync,
    ) -> Result<Fetched<T>, CallError> {
        let mut attempts = Attempts::new();
        loop {
            self.check_daily_limit(call.endpoint)?;
            self.check_long_pause(call)?;
            let (generation, fault, endpoint) = match self.attempt(call, &parse).await {
                Attempt::Sent(_, Ok(fetched)) => return Ok(fetched),
                Attempt::Sent(generation, Err(fault)) => (Some(generation), fault, call.endpoint),
                Attempt::NoToken(fault) => (None, fault, Endpoint::Token),
                Attempt::Unconfirmed(generation) => {
                    self.confirm_account(generation).await?;
                    continue;
                }
            };
            attempts.count += 1;
            tracing::debug!(endpoint = endpoint.label(), attempt = attempts.count, %fault,
                "a request to hubspot failed");
            attempts.token = generation;
            self.recover(call, endpoint, fault, &mut attempts).await?;
        }
    }

    /// Sends a call once.
    async fn attempt<T>(
        &self,
        call: &Call,
        parse: &(impl Fn(&[u8]) -> Result<T, wire::ParseError> + Send + Sync),
    ) -> Attempt<T> {
        let asked = Instant::now();
        let mut permit = loop {
            self.transport.wait_until_allowed().await;
            let permit = self.limits.acquire(call.endpoint.bucket()).await;
            if self.transport.may_send() {
                break permit;
            }
            permit.unused();
        };
        let token = match self.auth.token(self.version()).await {
            Ok(token) => token,
            Err(fault) => {
                permit.unused();
                return Attempt::NoToken(fault);
            }
        };
        if !self.is_confirmed(call.endpoint, token.generation) {
            permit.unused();
            return Attempt::Unconfirmed(token.generation);
        }
        // A refresh takes time, in which the ownership may have ended.
        self.transport.wait_until_allowed().await;
        let began = Instant::now();
        let span = span(call, began - asked);
        let result = async {
            let response = self.transport.send(self.request(call, &token)).await?;
            let status = response.status().as_u16();
            Span::current().record("http.response.status_code", status);
            permit.answered(response.headers(), status == 429);
            self.limits
                .observe_daily(response.headers(), self.transport.clock.now());
            let sent_at = response.sent_at;
            let body = response.body().await?;
            let value = parse(&body).map_err(|error| Fault::Unreadable {
                reason: error.to_string(),
            })?;
            Ok(Fetched { sent_at, value })
        }
        .instrument(span.clone())
        .await;
        drop(permit);
        note_fault(&span, result.as_ref().err());
        count_request(call.endpoint, result.as_ref().err(), began.elapsed());
        if call.endpoint == Endpoint::Account && result.is_ok() {
            self.account_was_read(token.generation);
        }
        Attempt::Sent(token.generation, result)
    }

    fn request(&self, call: &Call, token: &Token) -> reqwest::RequestBuilder {
        let http = &self.transport.http;
        let request = match &call.body {
            None => http.get(call.url.clone()),
            Some(body) => http
                .post(call.url.clone())
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.clone()),
        };
        // INVARIANT: tokens from the environment or a file are graphic ASCII.
        // Any other token from HubSpot is left out and ends as a 401.
        let bearer = format!("Bearer {}", token.secret.expose_secret());
        match HeaderValue::try_from(bearer) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            Err(_not_ascii) => request,
        }
    }

    /// Carries out the action for a fault. An error ends the call; otherwise it is
    /// sent again.
    async fn recover(
        &self,
        call: &Call,
        endpoint: Endpoint,
        fault: Fault,
        attempts: &mut Attempts,
    ) -> Result<(), CallError> {
        let now = self.transport.clock.now();
        match action(endpoint, &fault) {
            // The run waits, and its status says so.
            Action::Retry(wait) | Action::RetryOrShrink(wait) if wait > LONGEST_SILENCE => {
                Err(unavailable_until(call, fault, now + ms(wait)))
            }
            Action::RetryOrShrink(_) if attempts.are_enough_to_shrink() => {
                Err(failed_on_request(call, fault, now + BACK_OFF_MS))
            }
            Action::RetryThen(verdict) if attempts.are_spent(call) => {
                Err(given_up(call, fault, verdict))
            }
            Action::RetryThen(_) => self.pause(call, fault, Duration::ZERO, attempts).await,
            Action::Retry(at_least) | Action::RetryOrShrink(at_least) => {
                self.pause(call, fault, at_least, attempts).await
            }
            Action::PauseBucket => {
                let retry_after = match &fault {
                    Fault::Status { retry_after, .. } => *retry_after,
                    Fault::NoConnection { .. }
                    | Fault::NoAnswer { .. }
                    | Fault::Unreadable { .. }
                    | Fault::OtherPortal { .. } => None,
                };
                self.limits.refused(endpoint.bucket(), retry_after);
                if let Some(wait) = retry_after.filter(|it| *it > LONGEST_SILENCE) {
                    let until = now + ms(wait);
                    self.long_pause.begin(endpoint.bucket(), until);
                    return Err(unavailable_until(call, fault, until));
                }
                if attempts.are_spent(call) {
                    return Err(unavailable_until(call, fault, now + BACK_OFF_MS));
                }
                Ok(())
            }
            Action::WaitForReset => {
                let until = self.limits.daily.refused(now);
                let error = daily_limit_until(until, &fault.to_string());
                Err(CallError::new(fault, error))
            }
            Action::PauseAccount(pause) => Err(unavailable_until(
                call,
                fault,
                now.saturating_add(ms(pause)),
            )),
            Action::RenewToken => self.renew(call, fault, attempts).await,
            Action::Shrink(verdict) => Err(CallError {
                may_shrink: true,
                ..given_up(call, fault, verdict)
            }),
            Action::GiveUp(verdict) => Err(given_up(call, fault, verdict)),
        }
    }

    /// Gets another token after a refusal, once per call.
    async fn renew(
        &self,
        call: &Call,
        refused: Fault,
        attempts: &mut Attempts,
    ) -> Result<(), CallError> {
        let Some(generation) = attempts.token.take().filter(|_| !attempts.renewed) else {
            return Err(given_up(call, refused, UNAUTHORIZED));
        };
        attempts.renewed = true;
        match self.auth.renew(generation, self.version()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(given_up(call, refused, UNAUTHORIZED)),
            Err(fault) => {
                if let Action::GiveUp(verdict) = action(Endpoint::Token, &fault) {
                    return Err(given_up(call, fault, verdict));
                }
                attempts.renewed = false;
                self.pause(call, fault, Duration::ZERO, attempts).await
            }
        }
    }

    async fn pause(
        &self,
        call: &Call,
        fault: Fault,
        at_least: Duration,
        attempts: &mut Attempts,
    ) -> Result<(), CallError> {
        if attempts.are_spent(call) {
            return Err(unavailable_until(
                call,
                fault,
                self.transport.clock.now() + BACK_OFF_MS,
            ));
        }
        sleep(at_least + attempts.next_pause()).await;
        Ok(())
    }

    /// Fails while HubSpot has asked for a pause that is too long to wait without a word.
    fn check_long_pause(&self, call: &Call) -> Result<(), CallError> {
        let now = self.transport.clock.now();
        match self.long_pause.until(call.endpoint.bucket(), now) {
            Some(until) => {
                let fault = Fault::NoConnection {
                    reason: "HubSpot has asked for a pause",
                };
                Err(unavailable_until(call, fault, until))
            }
            None => Ok(()),
        }
    }

    /// Fails if the daily allowance is spent, apart from the reserve. Account
    /// details may always be read, as everything else depends on them.
    fn check_daily_limit(&self, endpoint: Endpoint) -> Result<(), CallError> {
        let now = self.transport.clock.now();
        match self.limits.daily.blocked_until(now) {
            Some(until) if endpoint != Endpoint::Account => Err(CallError::new(
                Fault::NoConnection {
                    reason: "the daily allowance is spent",
                },
                daily_limit_until(until, "the account's daily allowance of requests is spent"),
            )),
            _ => Ok(()),
        }
    }
}

fn ms(time: Duration) -> Millis {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The span of a request in traces. Its query is left out: it may hold values.
fn span(call: &Call, waited: Duration) -> Span {
    tracing::info_span!(
        target: TARGET,
        "request to hubspot",
        otel.name = format!("hubspot {}", call.endpoint.label()),
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        http.request.method = if call.body.is_some() { "POST" } else { "GET" },
        server.address = call.url.host_str(),
        url.path = call.url.path(),
        http.response.status_code = Empty,
        limit_wait_ms = ms(waited),
    )
}

fn note_fault(span: &Span, fault: Option<&Fault>) {
    if let Some(fault) = fault {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", fault.to_string());
    }
}

fn count_request(endpoint: Endpoint, fault: Option<&Fault>, took: Duration) {
    let outcome = match fault {
        None => "ok",
        Some(Fault::NoConnection { .. } | Fault::NoAnswer { .. } | Fault::OtherPortal { .. }) => {
            "no_answer"
        }
        Some(Fault::Unreadable { .. }) => "unreadable",
        Some(Fault::Status { status: 429, .. }) => "rate_limited",
        Some(Fault::Status {
            status: 400..=499, ..
        }) => "refused",
        Some(Fault::Status { .. }) => "failed",
    };
    metrics::counter!(REQUESTS_TOTAL, "endpoint" => endpoint.label(), "outcome" => outcome)
        .increment(1);
    metrics::histogram!(REQUEST_SECONDS, "endpoint" => endpoint.label()).record(took.as_secs_f64());
}

/// Describes the metrics of this file.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(
        REQUESTS_TOTAL,
        "Requests to HubSpot by endpoint and outcome: ok, rate_limited, refused, failed, \
         unreadable, no_answer"
    );
    metrics::describe_histogram!(
        REQUEST_SECONDS,
        metrics::Unit::Seconds,
        "Time from a request to HubSpot to the end of its answer, by endpoint"
    );
}
