//! What HubSpot says of the token of a private app or of a service key.

use serde::Deserialize;
use serde_json::json;

use crate::{Shared, answer::Answer, auth::TokenKind};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    token_key: String,
}

/// Answers without looking at the request's own token, as HubSpot does.
pub(crate) fn answer(shared: &Shared, body: &[u8]) -> Answer {
    let Ok(asked) = serde_json::from_slice::<Asked>(body) else {
        return Answer::invalid("tokenKey is missing");
    };
    match shared.portal_of(&asked.token_key) {
        Err(refused) => refused,
        Ok(_) if shared.tokens.caller(&asked.token_key).kind == TokenKind::OAuth => {
            Answer::invalid("The token is not of a private app")
        }
        Ok(portal) => Answer::json(
            200,
            &json!({"userId": 1, "hubId": portal.id(), "appId": 2,
                    "scopes": portal.scopes()}),
        ),
    }
}
