//! What the body of an error says.

use serde::Deserialize;

/// How HubSpot says that it does not know an object type.
const UNKNOWN_TYPE: [&str; 2] = [
    "Unable to infer object type",
    "Invalid object or event type",
];
/// A word with so many digits may be a value of a record.
const LONG_NUMBER: usize = 7;
/// Characters of HubSpot's message that are shown.
const LONGEST_MESSAGE: usize = 300;

/// What the body of an error says. Any part can be missing, and some bodies are
/// HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::hubspot) struct Detail {
    /// The kind of error.
    pub(in crate::hubspot) category: Category,
    /// The limit that was exceeded.
    pub(in crate::hubspot) policy: Option<Policy>,
    /// The scopes of which one is needed.
    pub(in crate::hubspot) scopes: Vec<String>,
    /// HubSpot's id of the failed request, which its support needs. An answer without
    /// one is a proxy's.
    pub(in crate::hubspot) correlation_id: Option<String>,
    /// What HubSpot says, without what may be a value of a record.
    pub(in crate::hubspot) message: Option<String>,
    /// The object type is not one that the account has.
    pub(in crate::hubspot) is_unknown_type: bool,
}

/// The kinds of errors that the table distinguishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::hubspot) enum Category {
    /// The token lacks a scope.
    MissingScopes,
    /// The refresh token is revoked, or its app was uninstalled.
    Revoked,
    /// Client id or secret are wrong.
    BadClient,
    /// Any other error.
    #[default]
    Other,
}

/// HubSpot's names of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hubspot) enum Policy {
    /// The general limit per 10 s, or that of associations.
    TenSecondly,
    /// The limit of searches per second.
    Secondly,
    /// The daily allowance.
    Daily,
}

/// The body of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    status: Option<serde_json::Value>,
    error: Option<serde_json::Value>,
    category: Option<serde_json::Value>,
    message: Option<serde_json::Value>,
    #[serde(rename = "policyName")]
    policy_name: Option<serde_json::Value>,
    #[serde(rename = "correlationId")]
    correlation_id: Option<serde_json::Value>,
    errors: Option<serde_json::Value>,
}

impl Detail {
    /// What the body of an error says; the id of the request may be in a header.
    pub(in crate::hubspot) fn read(body: &[u8], correlation_id: Option<&str>) -> Self {
        let body = serde_json::from_slice(body).unwrap_or_default();
        Self::of(&body, correlation_id)
    }

    /// Whether HubSpot gave this answer, and not a proxy before it.
    pub(in crate::hubspot) fn is_hubspots(&self) -> bool {
        self.correlation_id.is_some() || self.category != Category::Other
    }

    fn of(body: &ErrorBody, header: Option<&str>) -> Self {
        let text = |value: &Option<serde_json::Value>| {
            value
                .as_ref()
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let named = [text(&body.category), text(&body.status), text(&body.error)];
        let is = |names: &[&str]| named.iter().any(|name| names.contains(&name.as_str()));
        let category = if is(&["MISSING_SCOPES"]) {
            Category::MissingScopes
        } else if is(&[
            "BAD_REFRESH_TOKEN",
            "BAD_HUB",
            "invalid_grant",
            "access_denied",
        ]) {
            Category::Revoked
        } else if is(&["BAD_CLIENT_ID", "BAD_CLIENT_SECRET", "invalid_client"]) {
            Category::BadClient
        } else {
            Category::Other
        };
        let message = text(&body.message);
        let ids = [
            text(&body.correlation_id),
            header.unwrap_or_default().to_owned(),
        ];
        Self {
            category,
            policy: policy_of(&text(&body.policy_name)).or_else(|| policy_of(&message)),
            scopes: body.errors.as_ref().map(scopes_of).unwrap_or_default(),
            correlation_id: ids
                .into_iter()
                .find(|id| id.len() <= 64 && is_identifier(id)),
            is_unknown_type: UNKNOWN_TYPE.iter().any(|it| message.contains(it)),
            message: Some(without_values(&message)).filter(|it| !it.is_empty()),
        }
    }
}

/// A message without what may be a value of a record: addresses and long numbers.
fn without_values(message: &str) -> String {
    let may_be_value = |word: &&str| {
        word.contains('@') || word.bytes().filter(u8::is_ascii_digit).count() >= LONG_NUMBER
    };
    let words = message.split(|it: char| it.is_whitespace() || it.is_control());
    let shown = words
        .filter(|it| !it.is_empty())
        .map(|it| if may_be_value(&it) { "…" } else { it });
    let mut text = shown.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn policy_of(text: &str) -> Option<Policy> {
    let text = text.to_ascii_lowercase();
    if text.contains("daily") {
        Some(Policy::Daily)
    } else if text.contains("ten_secondly") {
        Some(Policy::TenSecondly)
    } else if text.contains("secondly") {
        Some(Policy::Secondly)
    } else {
        None
    }
}

fn scopes_of(errors: &serde_json::Value) -> Vec<String> {
    let named = errors
        .get(0)
        .and_then(|error| error.get("context"))
        .and_then(|context| {
            context
                .get("requiredGranularScopes")
                .or_else(|| context.get("requiredScopes"))
        });
    let scopes = named
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten();
    scopes
        .filter_map(|scope| scope.as_str())
        .filter(|scope| is_identifier(scope))
        .take(8)
        .map(ToOwned::to_owned)
        .collect()
}

fn is_identifier(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

impl Detail {
    /// For messages, after the status.
    pub(super) fn as_words(&self) -> String {
        let mut words = match self.category {
            Category::MissingScopes if self.scopes.is_empty() => ", a scope is missing".to_owned(),
            Category::MissingScopes => {
                format!(
                    ", one of these scopes is needed: {}",
                    self.scopes.join(", ")
                )
            }
            Category::Revoked => ", the refresh token is revoked".to_owned(),
            Category::BadClient => ", the client id or secret is wrong".to_owned(),
            Category::Other => String::new(),
        };
        if let Some(message) = self.message.as_ref().filter(|_| self.is_hubspots()) {
            words.extend([", HubSpot says: ", &format!("{message:?}")]);
        }
        match self.policy {
            Some(Policy::TenSecondly) => words.push_str(", the limit per 10 seconds is reached"),
            Some(Policy::Secondly) => words.push_str(", the limit per second is reached"),
            Some(Policy::Daily) => words.push_str(", the daily limit is reached"),
            None => {}
        }
        if let Some(id) = &self.correlation_id {
            words.push_str(", correlation id ");
            words.push_str(id);
        }
        words
    }
}
