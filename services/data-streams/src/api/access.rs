//! Who may do what: the tokens, how failed tries are slowed down, and pages of other
//! sites, which may do nothing.

mod tries;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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

/// Who sent a request, as far as it can be told: those behind one address with one token
/// are one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client {
    network: IpAddr,
    token: Token,
}

/// Which token a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Token {
    /// None, where none is needed.
    None,
    All,
    Read,
}

impl Client {
    fn new(peer: IpAddr, token: Token) -> Self {
        let network = network(peer);
        Self { network, token }
    }

    /// The one at this address without a token.
    #[cfg(test)]
    pub(super) fn at(peer: IpAddr) -> Self {
        Self::new(peer, Token::None)
    }
}

/// The address that counts: of IPv6 the network, of which a caller has all addresses.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(it) => {
            let [a, b, c, d, ..] = it.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        it @ IpAddr::V4(_) => it,
    }
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

    /// Who sent the request, after a check of the token, and that no page of another site
    /// sent it. A wrong token is answered after a pause.
    pub(super) async fn check(&self, request: &Parts) -> Result<Client, ApiError> {
        let peer = peer(request);
        let token = match &self.tokens.all {
            Some(expected) => self.check_token(expected, peer, request).await?,
            None => Token::None,
        };
        self.check_site(&request.headers)?;
        Ok(Client::new(peer, token))
    }

    async fn check_token(
        &self,
        expected: &Secret,
        peer: IpAddr,
        request: &Parts,
    ) -> Result<Token, ApiError> {
        let given = credentials(&request.headers).ok_or(ApiError::Unauthorized)?;
        if self.tries.are_too_many(peer) {
            return Err(ApiError::TooManyTries);
        }
        if is(expected, &given) {
            return Ok(Token::All);
        }
        if self.tokens.read.as_ref().is_some_and(|it| is(it, &given)) {
            let only_reads = matches!(request.method, Method::GET | Method::HEAD)
                || request.uri.path() == sql::PATH;
            return if only_reads {
                Ok(Token::Read)
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
    fn the_addresses_of_a_network_of_ipv6_are_one() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:2:ffff::4"));
        assert_ne!(network("2001:db8:1:2::3"), network("2001:db8:1:3::3"));
        assert_eq!(network("::ffff:10.0.0.7"), network("10.0.0.7"));
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
