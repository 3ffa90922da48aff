//! The refresh of an OAuth app's access token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::{
    Access, CredentialStore, Refreshed,
    reference::{Credential, OAuth},
    sent_body::SentBody,
};
use crate::{
    crash,
    hubspot::{
        error::{Category, Fault},
        selection::encode,
        transport::Transport,
        wire,
    },
};

/// A token is renewed this long before it expires, or a fifth of its lifetime if
/// that is less: HubSpot recommends renewal before a token is refused.
const RENEW_AHEAD: Duration = Duration::from_mins(2);
/// Lifetime in seconds of a token whose answer has none (HubSpot's OAuth guide).
const DEFAULT_LIFETIME_S: f64 = 1_800.0;
/// A token that expires sooner, or has expired, is used for so long: HubSpot says when
/// it is refused.
const SHORTEST_LIFETIME_S: f64 = 30.0;
/// A token is renewed after a day at the latest.
const LONGEST_LIFETIME_S: f64 = 86_400.0;

/// Refreshes the access token. If the refresh token is refused, another process
/// may have rotated it, so the credential is read again.
pub(super) async fn refresh(
    endpoint: TokenEndpoint,
    store: Arc<CredentialStore>,
    credential: OAuth,
) -> Result<Refreshed, Fault> {
    let refused = match grant(&endpoint, &store, &credential).await {
        Err(fault) if is_revoked(&fault) => fault,
        ended => return ended,
    };
    match store.read().await {
        Some(Credential::OAuth(found))
            if found.refresh_token.expose_secret() != credential.refresh_token.expose_secret() =>
        {
            grant(&endpoint, &store, &found).await
        }
        _ => Err(refused),
    }
}

/// Where access tokens come from.
pub(super) struct TokenEndpoint {
    pub(super) transport: Arc<Transport>,
    pub(super) url: reqwest::Url,
    /// Set once HubSpot may receive the request.
    pub(super) is_sent: Arc<AtomicBool>,
}

async fn grant(
    endpoint: &TokenEndpoint,
    store: &Arc<CredentialStore>,
    credential: &OAuth,
) -> Result<Refreshed, Fault> {
    let TokenEndpoint {
        transport,
        url,
        is_sent,
    } = endpoint;
    is_sent.store(false, Ordering::Relaxed);
    transport.wait_until_allowed().await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &credential.client_id),
        ("client_secret", credential.client_secret.expose_secret()),
        ("refresh_token", credential.refresh_token.expose_secret()),
    ];
    let form = form.map(|(name, value)| format!("{name}={}", encode(value)));
    let form = SentBody::new(form.join("&"), Arc::clone(is_sent));
    let request = transport
        .http
        .post(url.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(reqwest::Body::wrap(form));
    let body = transport.send(request).await?.body().await?;
    let answer = wire::token(&body).map_err(|error| Fault::Unreadable {
        reason: error.to_string(),
    })?;
    crash::point(crash::Point::TokenRefresh);
    let mut credential = credential.clone();
    if let Some(rotated) = answer.refresh_token.filter(|rotated| {
        let rotated = rotated.expose_secret();
        !rotated.is_empty() && rotated != credential.refresh_token.expose_secret()
    }) {
        // Stored before it is used, so that it survives a crash.
        store
            .keep(credential.refresh_token.clone(), rotated.clone())
            .await;
        credential.refresh_token = rotated;
    }
    let lifetime = lifetime(answer.expires_in.as_ref());
    let renew_at = Instant::now() + lifetime - RENEW_AHEAD.min(lifetime / 5);
    Ok(Refreshed {
        access: Access {
            secret: answer.access_token,
            renew_at,
            scopes: answer.scopes,
        },
        credential,
    })
}

/// The lifetime of a token by `expires_in`, in seconds: within bounds, whatever HubSpot
/// names.
fn lifetime(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = expires_in.and_then(|it| {
        it.as_f64()
            .or_else(|| it.as_str().and_then(|text| text.parse().ok()))
    });
    let seconds = seconds
        .filter(|it| it.is_finite())
        .unwrap_or(DEFAULT_LIFETIME_S);
    Duration::from_secs_f64(seconds.clamp(SHORTEST_LIFETIME_S, LONGEST_LIFETIME_S))
}

pub(super) fn is_revoked(fault: &Fault) -> bool {
    matches!(fault, Fault::Status { detail, .. } if detail.category == Category::Revoked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lifetime_may_be_any_number() {
        for (named, seconds) in [
            (json!(1_800), 1_800.0),
            (json!(1_799.5), 1_799.5),
            (json!("900"), 900.0),
            (json!(-5), SHORTEST_LIFETIME_S),
            (json!(0), SHORTEST_LIFETIME_S),
            (json!(u64::MAX), LONGEST_LIFETIME_S),
            (json!(1e300), LONGEST_LIFETIME_S),
            (json!(null), DEFAULT_LIFETIME_S),
            (json!("soon"), DEFAULT_LIFETIME_S),
        ] {
            let found = lifetime(Some(&named));
            assert_eq!(found, Duration::from_secs_f64(seconds), "{named}");
        }
        assert_eq!(lifetime(None), Duration::from_mins(30));
    }
}
