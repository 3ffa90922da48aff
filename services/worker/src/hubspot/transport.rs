//! Sends one request and reads its answer, with timeouts, and keeps HubSpot's
//! clock.

use std::{sync::Arc, time::Duration};

use reqwest::{
    RequestBuilder, Response, StatusCode, Url,
    header::{DATE, HeaderMap, RETRY_AFTER},
};
use schemas::Millis;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Http, HubSpotConfig,
    clock::{PortalClock, parse_date},
    error::{Detail, Fault},
};

/// Says whether a request may start now: only while this process owns the
/// connection.
pub(crate) type RequestGuard = Arc<dyn Fn() -> bool + Send + Sync>;

/// Has HubSpot's id of a request.
const CORRELATION_ID: &str = "x-hubspot-correlation-id";
/// A body of more bytes, after decompression, is not read to its end: a page of 100
/// objects with 1,500 long values each was seen to have 30 MB.
const LONGEST_BODY: usize = 256 << 20;
/// How often a guard that forbids requests is polled.
const GUARD_POLL: Duration = Duration::from_millis(50);

/// Sends requests to HubSpot.
pub(super) struct Transport {
    /// Shared by all requests of a portal.
    pub(super) http: reqwest::Client,
    /// HubSpot's clock.
    pub(super) clock: PortalClock,
    base: Url,
    guard: RequestGuard,
    headers_timeout: Duration,
    body_timeout: Duration,
}

/// An answer whose headers have arrived.
pub(super) struct PendingResponse {
    /// HubSpot's time when the request was sent.
    pub(super) sent_at: Millis,
    deadline: Instant,
    response: Response,
}

impl Transport {
    /// Opens no connection.
    pub(super) fn new(config: &HubSpotConfig, http: &Http, guard: RequestGuard) -> Arc<Self> {
        Arc::new(Self {
            http: http.client.clone(),
            clock: PortalClock::new(),
            base: config.base_url.clone(),
            guard,
            headers_timeout: config.headers_timeout,
            body_timeout: config.body_timeout,
        })
    }

    /// The URL of a resource.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // INVARIANT: the settings take only URLs of HTTP, which can be a base.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Whether requests may start.
    pub(super) fn may_send(&self) -> bool {
        (self.guard)()
    }

    /// Waits until requests may start.
    pub(super) async fn wait_until_allowed(&self) {
        while !self.may_send() {
            sleep(GUARD_POLL).await;
        }
    }

    /// Sends a request and waits for the headers of its answer.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<PendingResponse, Fault> {
        let sent_at = self.clock.now();
        let began = Instant::now();
        let response = timeout(self.headers_timeout, request.send())
            .await
            .map_err(|_elapsed| Fault::NoAnswer {
                reason: "timed out waiting for the headers",
            })?
            .map_err(|error| fault_of(&error))?;
        let date = response
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(parse_date) {
            self.clock.observe(date, began.elapsed());
        }
        let took = i64::try_from(began.elapsed().as_millis()).unwrap_or(0);
        Ok(PendingResponse {
            sent_at: corrected(sent_at, self.clock.now(), took),
            deadline: began + self.body_timeout,
            response,
        })
    }
}

/// If the clock jumps by more than this at an answer, it had not been set, or
/// HubSpot's was changed.
const FIRST_ANSWER_MS: i64 = 600_000;

/// When a request was sent, in ms by HubSpot's clock, whose answer came now after `took`.
/// Before the first answer the clock is not set, and another answer's wrong `Date` may
/// have moved it: then the time is counted back from this answer.
fn corrected(sent_at: Millis, now: Millis, took: i64) -> Millis {
    let is_credible = (now - FIRST_ANSWER_MS..=now).contains(&sent_at);
    if is_credible { sent_at } else { now - took }
}

impl PendingResponse {
    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers of the answer.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads the body to its end. Any status but success becomes a
    /// [`Fault::Status`] with what the body says.
    pub(super) async fn body(self) -> Result<Vec<u8>, Fault> {
        let status = self.response.status();
        let retry_after = retry_after(self.response.headers());
        let correlation_id = self.response.headers().get(CORRELATION_ID);
        let correlation_id = correlation_id.and_then(|id| id.to_str().ok());
        let correlation_id = correlation_id.map(ToOwned::to_owned);
        let mut body = Vec::new();
        let read = timeout_at(self.deadline, read_into(&mut body, self.response))
            .await
            .map_err(|_elapsed| Fault::NoAnswer {
                reason: "timed out reading the body",
            })
            .and_then(|read| read);
        if status.is_success() {
            return read.map(|()| body);
        }
        // A status counts even if its body is incomplete.
        let detail = Detail::read(&body, correlation_id.as_deref());
        Err(Fault::Status {
            status: status.as_u16(),
            detail,
            retry_after,
        })
    }
}

/// Reads an answer's body to its end, or as far as it arrives. Each chunk is
/// dropped at once, so that the connection reads the next one into the same
/// memory.
async fn read_into(body: &mut Vec<u8>, mut response: Response) -> Result<(), Fault> {
    let cut = |_error| Fault::NoAnswer {
        reason: "the connection closed within the body",
    };
    while let Some(chunk) = response.chunk().await.map_err(cut)? {
        if body.len() + chunk.len() > LONGEST_BODY {
            return Err(Fault::NoAnswer {
                reason: "the body has more than 256 MiB",
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

fn fault_of(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        Fault::NoConnection {
            reason: "timed out connecting",
        }
    } else if error.is_connect() {
        Fault::NoConnection {
            reason: "cannot connect",
        }
    } else {
        Fault::NoAnswer {
            reason: "the connection was lost",
        }
    }
}

/// The time to wait by `Retry-After`, which has seconds or a date; at most a
/// day.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = |text: &str| parse_date(text);
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    let wait = u64::try_from(date(text)?.saturating_sub(now)).ok()?;
    Some(Duration::from_millis(wait.min(86_400_000)))
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_was_sent_before_its_answer_whatever_the_clock_said_then() {
        let now = 1_800_000_000_000;
        for (said, sent_at) in [
            (now - 40, now - 40),
            (0, now - 50),
            (now + 86_400_000, now - 50),
        ] {
            assert_eq!(corrected(said, now, 50), sent_at, "{said}");
        }
    }
}
