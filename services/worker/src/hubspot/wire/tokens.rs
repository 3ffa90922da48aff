//! Access tokens and their scopes.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{ParseError, owned};

/// An access token.
#[derive(Debug, Deserialize)]
pub(in crate::hubspot) struct TokenAnswer {
    /// The bearer token of requests.
    pub(in crate::hubspot) access_token: secrecy::SecretString,
    /// The refresh token for the next refresh, if HubSpot rotated it.
    #[serde(default)]
    pub(in crate::hubspot) refresh_token: Option<secrecy::SecretString>,
    /// Lifetime in seconds: any number, or anything else for an unknown one.
    #[serde(default)]
    pub(in crate::hubspot) expires_in: Option<Value>,
    /// The token's scopes; `None` if HubSpot does not name them.
    #[serde(default, deserialize_with = "names")]
    pub(in crate::hubspot) scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TokenInfo {
    #[serde(default, deserialize_with = "names")]
    scopes: Option<Vec<String>>,
}

/// Parses the answer of the token endpoint.
pub(in crate::hubspot) fn token(body: &[u8]) -> Result<TokenAnswer, ParseError> {
    owned(body)
}

/// Parses the scopes out of what HubSpot says of a token. `None` if it does not name them.
pub(in crate::hubspot) fn token_scopes(body: &[u8]) -> Result<Option<Vec<String>>, ParseError> {
    owned(body).map(|info: TokenInfo| info.scopes)
}

/// A list of strings, or anything else for none: a token is good without it.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let Value::Array(names) = Value::deserialize(deserializer)? else {
        return Ok(None);
    };
    let name = |it: Value| match it {
        Value::String(name) => Some(name),
        _ => None,
    };
    Ok(names.into_iter().map(name).collect())
}
