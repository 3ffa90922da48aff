//! What the token may do, as HubSpot says.

use secrecy::ExposeSecret;
use serde_json::json;

use super::Client;
use crate::hubspot::{
    call::{Call, Endpoint},
    wire,
};

impl Client {
    /// The scopes of the token in use, sorted by name. `None` if HubSpot does not say.
    pub(in crate::hubspot) async fn scopes(&self) -> Option<Vec<String>> {
        let mut scopes = if self.auth.is_oauth().await {
            self.auth.granted_scopes().await?
        } else {
            self.scopes_of_key().await?
        };
        scopes.sort_unstable();
        scopes.dedup();
        Some(scopes)
    }

    /// The scopes of the token of a private app or of a service key. HubSpot does not
    /// document this request, so nothing depends on its answer.
    async fn scopes_of_key(&self) -> Option<Vec<String>> {
        let token = self.auth.token(self.version()).await.ok()?;
        let body = json!({"tokenKey": token.secret.expose_secret()}).to_string();
        let path = ["oauth", "v2", "private-apps", "get", "access-token-info"];
        let url = self.transport.url(&path);
        let call = Call {
            attempts: 1,
            ..Call::post(Endpoint::TokenInfo, url, body)
        };
        self.call(&call, wire::token_scopes).await.ok()?.value
    }
}
