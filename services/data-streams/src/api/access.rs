//! Who may do what: the tokens, how failed tries are slowed down, and pages of other
//! sites, which may do nothing.

mod tries;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, Method, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_PAD_INDIFFERENT};
use chassis::secret::Secret;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use self::tries::FailedTries;
use super::{error::ApiError, sql};
use crate::config;

/// The tokens of the API.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    /// For every request, except those for health. Without it, every request is
    /// allowed.
    pub(crate) all: Option<Secret>,
    /// For requests that change nothing.
    pub(crate) read: Option<Secret>,
}

/// Decides whether a request is allowed.
#[derive(Debug, Default)]
pub(super) struct Access {
    tokens: Tokens,
    tries: FailedTries,
}

impl Access {
    pub(super) fn new(tokens: Tokens) -> Self {
        Self {
            tokens,
            tries: FailedTries::default(),
        }
    }

    /// Checks the token, and that no page of another site sent the request. A wrong
    /// token is answered after a pause.
    pub(super) async fn check(&self, request: &Parts) -> Result<(), ApiError> {
        if let Some(expected) = &self.tokens.all {
            self.check_token(expected, request).await?;
        }
        self.check_site(&request.headers)
    }

    async fn check_token(&self, expected: &Secret, request: &Parts) -> Result<(), ApiError> {
        let given = credentials(&request.headers).ok_or(ApiError::Unauthorized)?;
        let peer = peer(request);
        if self.tries.are_too_many(peer) {
            return Err(ApiError::TooManyTries);
        }
        if is(expected, &given) {
            return Ok(());
        }
        if self.tokens.read.as_ref().is_some_and(|it| is(it, &given)) {
            let only_reads = matches!(request.method, Method::GET | Method::HEAD)
                || request.uri.path() == sql::PATH;
            return if only_reads {
                Ok(())
            } else {
                Err(ApiError::ReadOnlyToken)
            };
        }
        tokio::time::sleep(self.tries.failed(peer)).await;
        Err(ApiError::Unauthorized)
    }

    /// A browser sends its credentials, and reaches loopback, for the pages of every
    /// site; only these headers tell which page sent the request.
    fn check_site(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|it| it.to_str().unwrap_or_default());
        // Every browser sends it, also where it sends no origin. `none` is what a
        // user typed.
        if let Some(site) = headers.get("sec-fetch-site")
            && !matches!(site.as_bytes(), b"same-origin" | b"none")
        {
            return Err(ApiError::ForeignSite);
        }
        let host = text(header::HOST);
        if let Some(origin) = text(header::ORIGIN) {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            if authority.is_none() || authority != host {
                return Err(ApiError::ForeignOrigin);
            }
        }
        // Without a token, a page could use a name of its own that resolves to
        // loopback: its origin and the host would agree.
        if self.tokens.all.is_none() && host.is_some_and(|host| !is_loopback(host)) {
            return Err(ApiError::ForeignOrigin);
        }
        Ok(())
    }
}

/// Whether a token is the expected one. Digests are compared, so that the time does not
/// tell the length.
fn is(expected: &Secret, given: &str) -> bool {
    let expected = Sha256::digest(expected.current().expose_secret().as_bytes());
    Sha256::digest(given.as_bytes()).ct_eq(&expected).into()
}

fn peer(request: &Parts) -> IpAddr {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |it| it.0.ip())
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
    use axum::http::HeaderValue;

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
