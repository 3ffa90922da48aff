//! Tokens: those of private apps and service keys, which last, and of OAuth, which
//! expire.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    answer::{Answer, correlation_id},
    config::{OAuthConfig, PortalConfig},
    json, timestamps,
};

/// The kind of a token, which decides its rate limits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Of a private app.
    #[default]
    PrivateApp,
    /// A service key: the limits of a private app, but the API's daily usage does not
    /// count its requests.
    ServiceKey,
    /// Of an OAuth app: a lower limit in 10 s, and none for the day.
    #[serde(rename = "oauth")]
    OAuth,
}

/// Who makes a request, for the rate limits.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) kind: TokenKind,
    /// The app or the token, whose requests are counted together.
    pub(crate) key: String,
}

/// The tokens of all portals.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    inner: Mutex<TokenTable>,
}

#[derive(Debug, Default)]
struct TokenTable {
    access: HashMap<String, Access>,
    grants: Vec<Grant>,
    issued: u64,
}

/// What an access token opens.
#[derive(Debug)]
struct Access {
    portal_id: u64,
    /// When it expires, in ms since 1970.
    expiry: Option<i64>,
    caller: Caller,
}

impl Access {
    fn lasting(portal_id: u64, token: &str, kind: TokenKind) -> Self {
        let key = token.to_owned();
        Self {
            portal_id,
            expiry: None,
            caller: Caller { kind, key },
        }
    }
}

#[derive(Debug)]
struct Grant {
    portal_id: u64,
    app: OAuthConfig,
    refresh_token: String,
    revoked: bool,
}

impl Tokens {
    pub(crate) fn new(portals: &[PortalConfig]) -> Self {
        let mut inner = TokenTable::default();
        for portal in portals {
            for token in &portal.tokens {
                let access = Access::lasting(portal.portal_id, token, portal.token_kind);
                inner.access.insert(token.clone(), access);
            }
            inner.grants.extend(portal.oauth.iter().map(|app| Grant {
                portal_id: portal.portal_id,
                refresh_token: app.refresh_token.clone(),
                app: app.clone(),
                revoked: false,
            }));
        }
        Self {
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, TokenTable> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The portal of a token.
    pub(crate) fn portal_of(&self, token: &str, now_ms: i64) -> Result<u64, Answer> {
        match self.lock().access.get(token) {
            None => Err(Answer::unknown_token()),
            Some(access) => match access.expiry {
                Some(expiry) if expiry <= now_ms => {
                    Err(Answer::expired_token(&timestamps::iso(expiry)))
                }
                _ => Ok(access.portal_id),
            },
        }
    }

    /// The caller of a request with a known token.
    pub(crate) fn caller(&self, token: &str) -> Caller {
        let inner = self.lock();
        let access = inner.access.get(token);
        access.map(|it| it.caller.clone()).unwrap_or_default()
    }

    /// Assigns a token to a portal.
    pub(crate) fn assign(&self, token: &str, portal_id: u64, kind: TokenKind) {
        let access = Access::lasting(portal_id, token, kind);
        self.lock().access.insert(token.to_owned(), access);
    }

    /// Makes a token unknown.
    pub(crate) fn revoke(&self, token: &str) {
        self.lock().access.remove(token);
    }

    /// Expires an OAuth token; the token of a private app does not expire.
    pub(crate) fn expire(&self, token: &str, now_ms: i64) {
        if let Some(access) = self.lock().access.get_mut(token)
            && access.expiry.is_some()
        {
            access.expiry = Some(now_ms);
        }
    }

    /// Expires all OAuth access tokens of a portal.
    pub(crate) fn expire_all(&self, portal_id: u64, now_ms: i64) {
        for access in self.lock().access.values_mut() {
            if access.expiry.is_some() && access.portal_id == portal_id {
                access.expiry = Some(now_ms);
            }
        }
    }

    /// Revokes the OAuth grant of a portal, with its refresh and access tokens.
    pub(crate) fn revoke_grant(&self, portal_id: u64) {
        let mut inner = self.lock();
        inner
            .access
            .retain(|_, it| it.expiry.is_none() || it.portal_id != portal_id);
        for grant in inner
            .grants
            .iter_mut()
            .filter(|grant| grant.portal_id == portal_id)
        {
            grant.revoked = true;
        }
    }

    /// The current refresh token.
    pub(crate) fn refresh_token(&self, portal_id: u64) -> Option<String> {
        let inner = self.lock();
        inner
            .grants
            .iter()
            .find(|it| it.portal_id == portal_id)
            .map(|it| it.refresh_token.clone())
    }

    /// The token endpoint.
    pub(crate) fn refresh(&self, form: &[u8], now_ms: i64) -> Answer {
        let form = String::from_utf8_lossy(form);
        let fields: HashMap<&str, String> = json::pairs(&form)
            .map(|(name, value)| (name, json::decode(value)))
            .collect();
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        if field("grant_type") != "refresh_token" {
            return oauth_error(
                "BAD_GRANT_TYPE",
                "unsupported_grant_type",
                "unsupported grant type",
            );
        }
        let mut inner = self.lock();
        let TokenTable {
            access,
            grants,
            issued,
        } = &mut *inner;
        let apps = |it: &&mut Grant| it.app.client_id == field("client_id");
        if !grants
            .iter_mut()
            .any(|it| apps(&it) && it.app.client_secret == field("client_secret"))
        {
            return oauth_error(
                "BAD_CLIENT_ID",
                "invalid_client",
                "missing or invalid client id",
            );
        }
        let grant = grants
            .iter_mut()
            .filter(apps)
            .find(|it| !it.revoked && it.refresh_token == field("refresh_token"));
        let Some(grant) = grant else {
            let text = "refresh token is invalid, expired or revoked";
            return oauth_error("BAD_REFRESH_TOKEN", "invalid_grant", text);
        };
        *issued += 1;
        let token = format!("oauth-access-{}-{issued}", grant.portal_id);
        if grant.app.rotate {
            grant.refresh_token = format!("oauth-refresh-{}-{issued}", grant.portal_id);
        }
        let granted = Access {
            portal_id: grant.portal_id,
            expiry: Some(now_ms + grant.app.expires_in_s * 1_000),
            // A new token does not bring new requests.
            caller: Caller {
                kind: TokenKind::OAuth,
                key: format!("app {}", grant.app.client_id),
            },
        };
        access.insert(token.clone(), granted);
        Answer::json(
            200,
            &json!({"token_type": "bearer", "access_token": token,
                    "refresh_token": grant.refresh_token, "expires_in": grant.app.expires_in_s,
                    "hub_id": grant.portal_id, "scopes": ["oauth", "crm.objects.contacts.read"]}),
        )
    }
}

fn oauth_error(status: &str, error: &str, text: &str) -> Answer {
    Answer::json(
        400,
        &json!({"status": status, "error": error, "error_description": text, "message": text,
                "correlationId": correlation_id()}),
    )
}
