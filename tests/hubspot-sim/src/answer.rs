//! Answers before they are sent, and HubSpot's error bodies.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::limits::{Allowance, Policy};

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) allowance: Option<Allowance>,
    /// Whether the header with the correlation id is sent.
    pub(crate) correlated: bool,
}

const JSON: &str = "application/json;charset=utf-8";

impl Answer {
    /// 200 with a body of rendered JSON.
    pub(crate) fn rendered(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            content_type: JSON,
            body,
            retry_after: None,
            allowance: None,
            correlated: true,
        }
    }

    /// An answer with a JSON body.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            ..Self::rendered(body.to_string().into_bytes())
        }
    }

    /// An answer in plain text or HTML.
    pub(crate) fn text(status: u16, content_type: &'static str, body: &str) -> Self {
        Self {
            status,
            content_type,
            ..Self::rendered(body.as_bytes().to_vec())
        }
    }

    /// An error with HubSpot's usual body.
    pub(crate) fn error(status: u16, category: &str, message: &str) -> Self {
        Self::json(
            status,
            &json!({"status": "error", "message": message, "correlationId": correlation_id(),
                    "category": category}),
        )
    }

    /// An error whose body may have no category.
    pub(crate) fn refused(status: u16, category: Option<&str>, message: &str) -> Self {
        match category {
            Some(category) => Self::error(status, category, message),
            None => Self::json(
                status,
                &json!({"status": "error", "message": message, "correlationId": correlation_id()}),
            ),
        }
    }

    /// 400 for an object type that does not exist, given by name or by id.
    pub(crate) fn no_such_type(name: &str) -> Self {
        let is_id = name.starts_with(|first: char| first.is_ascii_digit());
        let message = if is_id {
            format!("Invalid object or event type id: {name}")
        } else {
            format!("Unable to infer object type from: {name}")
        };
        Self::refused(400, None, &message)
    }

    /// The answer without its correlation id, in the header and in the body.
    pub(crate) fn without_correlation_id(mut self) -> Self {
        self.correlated = false;
        if let Ok(Value::Object(mut fields)) = serde_json::from_slice(&self.body) {
            fields.remove("correlationId");
            self.body = Value::Object(fields).to_string().into_bytes();
        }
        self
    }

    pub(crate) fn invalid(message: &str) -> Self {
        Self::error(400, "VALIDATION_ERROR", message)
    }

    pub(crate) fn no_such_property(name: &str) -> Self {
        let message = format!("Property \"{name}\" does not exist");
        Self::json(
            400,
            &json!({"status": "error", "message": message, "correlationId": correlation_id(),
                    "category": "VALIDATION_ERROR",
                    "errors": [{"message": message, "code": "PROPERTY_DOESNT_EXIST",
                                "context": {"propertyName": [name]}}]}),
        )
    }

    pub(crate) fn not_found() -> Self {
        Self::error(404, "OBJECT_NOT_FOUND", "resource not found")
    }

    /// 404 for an unknown path: HubSpot answers it in HTML.
    pub(crate) fn no_such_path() -> Self {
        Self::text(
            404,
            "text/html;charset=utf-8",
            "<html><body><h1>404 Not Found</h1></body></html>",
        )
    }

    pub(crate) fn unknown_token() -> Self {
        Self::error(
            401,
            "INVALID_AUTHENTICATION",
            "Authentication credentials not found. This API supports OAuth 2.0 authentication \
             and you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        )
    }

    pub(crate) fn expired_token(expired_at: &str) -> Self {
        Self::json(
            401,
            &json!({"status": "error",
                    "message": "The OAuth token used to make this call expired 0 second(s) ago.",
                    "correlationId": correlation_id(), "category": "EXPIRED_AUTHENTICATION",
                    "context": {"expire time": [expired_at]}}),
        )
    }

    pub(crate) fn missing_scope(scopes: &[String]) -> Self {
        Self::json(
            403,
            &json!({"status": "error",
                    "message": "This app hasn't been granted all required scopes to make this call. \
                                Read more about required scopes here: https://developers.hubspot.com/scopes.",
                    "correlationId": correlation_id(), "category": "MISSING_SCOPES",
                    "errors": [{"message": "One or more of the following scopes are required.",
                                "context": {"requiredGranularScopes": scopes}}],
                    "links": {"scopes": "https://developers.hubspot.com/scopes"}}),
        )
    }

    pub(crate) fn rate_limited(policy: Policy, retry_after: Option<u64>) -> Self {
        let (name, words) = match policy {
            Policy::TenSecondlyRolling => ("TEN_SECONDLY_ROLLING", "ten_secondly_rolling"),
            Policy::Secondly | Policy::SecondlyUnnamed => ("SECONDLY", "secondly"),
            Policy::Daily => ("DAILY", "daily"),
        };
        let message = format!("You have reached your {words} limit.");
        let id = correlation_id();
        let body = if policy == Policy::SecondlyUnnamed {
            json!({"status": "error", "message": message, "correlationId": id,
                   "category": "RATE_LIMITS"})
        } else {
            json!({"status": "error", "message": message, "errorType": "RATE_LIMIT",
                   "correlationId": id, "policyName": name, "requestId": correlation_id()})
        };
        Self {
            retry_after,
            ..Self::json(429, &body)
        }
    }

    pub(crate) fn uri_too_long() -> Self {
        Self::text(
            414,
            "text/html;charset=utf-8",
            "<html><body><h1>414 URI Too Long</h1></body></html>",
        )
    }
}

/// An id in the form of a UUID, unique in the process.
pub(crate) fn correlation_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("5100c0de-0000-4000-8000-{number:012x}")
}
