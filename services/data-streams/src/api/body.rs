//! Reads bodies and query parameters field by field, so that every refusal
//! names the field and what is allowed.

use axum::body::Bytes;
use chrono::{DateTime, SecondsFormat};
use schemas::{Millis, RequestKind};
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::control::{Invalid, MAX_UNKNOWN, WrongInputs};

mod question;
mod settings;

pub(super) use question::question;
pub(super) use settings::settings;

/// A body before it is parsed. Under the name `Bytes`, utoipa would describe the
/// body as a string.
pub(super) type RawBody = Bytes;

/// A JSON object whose fields are taken one by one; those left over are unknown. All that
/// is wrong is collected, and refused at the end.
#[derive(Debug, Default)]
struct Fields {
    left: Map<String, Value>,
    known: Vec<&'static str>,
    wrong: Vec<Invalid>,
}

impl Fields {
    /// Parses a body; an empty one is an object without fields.
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(left)) => Ok(Self {
                left,
                ..Self::default()
            }),
            Ok(_) => Err(ApiError::MalformedJson(
                "it is a JSON value of another type".to_owned(),
            )),
            // The parser's message has line and column, never a value.
            Err(error) => Err(ApiError::MalformedJson(error.to_string())),
        }
    }

    /// Removes a field; null counts as left out.
    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// Notes what is wrong with a field.
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.wrong.push(Invalid::new(field, message));
    }

    fn text(&mut self, name: &'static str, allowed: &str) -> Option<String> {
        if let Value::String(text) = self.take(name)? {
            return Some(text);
        }
        self.refuse(name, format!("must be a string, {allowed}"));
        None
    }

    fn names(&mut self, name: &'static str) -> Option<Vec<String>> {
        let names = match self.take(name)? {
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Some(text),
                    _ => None,
                })
                .collect::<Option<_>>(),
            _ => None,
        };
        if names.is_none() {
            self.refuse(name, "must be a list of strings, such as [\"contacts\"]");
        }
        names
    }

    /// The streams of a request; `None` for all.
    fn some_streams(&mut self) -> Option<Vec<String>> {
        let streams = self.names("streams");
        if streams.as_ref().is_some_and(Vec::is_empty) {
            self.refuse(
                "streams",
                "must name at least one stream, or be left out for all",
            );
        }
        streams
    }

    fn flag(&mut self, name: &'static str) -> Option<bool> {
        let flag = self.take(name)?;
        if !flag.is_boolean() {
            self.refuse(name, "must be true or false");
        }
        flag.as_bool()
    }

    /// A field that is an object; of another one it notes what is wrong.
    fn object(&mut self, name: &'static str, example: &str) -> Option<Map<String, Value>> {
        if let Value::Object(object) = self.take(name)? {
            return Some(object);
        }
        self.refuse(name, format!("must be an object, {example}"));
        None
    }

    /// A value, or `None` after noting what is wrong with it.
    fn valid<T>(&mut self, value: Result<T, Invalid>) -> Option<T> {
        value.map_err(|invalid| self.wrong.push(invalid)).ok()
    }

    /// Refuses the request if a field is wrong, or was not taken.
    fn finish(self) -> Result<(), ApiError> {
        let known = if self.known.is_empty() {
            "this request takes no fields".to_owned()
        } else {
            format!(
                "is not a field of this request; known are {}",
                self.known.join(", ")
            )
        };
        let unknown = self.left.keys().take(MAX_UNKNOWN);
        let unknown = unknown
            .map(|name| Invalid::new(name.chars().take(64).collect::<String>(), known.clone()));
        let error = if self.wrong.is_empty() {
            ApiError::UnknownField
        } else {
            ApiError::InvalidValue
        };
        refuse_all(self.wrong.into_iter().chain(unknown), error)
    }
}

/// Refuses a request with all that is wrong in it, if anything is.
pub(super) fn refuse_all(
    wrong: impl IntoIterator<Item = Invalid>,
    error: fn(WrongInputs) -> ApiError,
) -> Result<(), ApiError> {
    WrongInputs::refuse(wrong).map_err(error)
}

/// The body of a sync.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyncRequest {
    /// All streams of the connection when `None`.
    pub(super) streams: Option<Vec<String>>,
    /// What kind of run.
    pub(super) kind: RequestKind,
}

/// Reads the body of a sync.
pub(super) fn sync(body: &[u8]) -> Result<SyncRequest, ApiError> {
    let mut fields = Fields::parse(body)?;
    let streams = fields.some_streams();
    let kind = fields.text("kind", "sync or resync");
    let full = fields.flag("full");
    let kind = match (kind.as_deref(), full) {
        (Some("resync"), None | Some(true)) | (None, Some(true)) => RequestKind::Resync,
        (None | Some("sync"), None | Some(false)) => RequestKind::Sync,
        (Some("sync" | "resync"), Some(_)) => {
            fields.refuse("full", "contradicts kind; give one of them");
            RequestKind::Sync
        }
        (Some(_), _) => {
            fields.refuse("kind", "must be sync or resync");
            RequestKind::Sync
        }
    };
    fields.finish()?;
    Ok(SyncRequest { streams, kind })
}

/// Reads the body of a reconciliation: its streams; `None` for all.
pub(super) fn reconcile(body: &[u8]) -> Result<Option<Vec<String>>, ApiError> {
    let mut fields = Fields::parse(body)?;
    let streams = fields.some_streams();
    fields.finish()?;
    Ok(streams)
}

/// Whether the body of a rebuild accepts losses.
pub(super) fn accepts_loss(body: &[u8]) -> Result<bool, ApiError> {
    let mut fields = Fields::parse(body)?;
    let accepts_loss = fields.flag("accept_loss");
    fields.finish()?;
    Ok(accepts_loss.unwrap_or(false))
}

/// Reads the body of a route that has no fields.
pub(super) fn nothing(body: &[u8]) -> Result<(), ApiError> {
    Fields::parse(body)?.finish()
}

/// The error of a query parameter.
pub(super) fn parameter(name: &str, message: impl Into<String>) -> ApiError {
    ApiError::InvalidParameter(Invalid::new(name, message).into())
}

/// Parses an RFC 3339 time; fractions of a millisecond are cut off.
pub(super) fn time(name: &str, text: &str) -> Result<Millis, Invalid> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_millis())
        .map_err(|_error| {
            Invalid::new(
                name,
                "must be an RFC 3339 time, such as 2026-01-31T12:00:00.000Z",
            )
        })
}

/// Formats a time as RFC 3339 in UTC with milliseconds.
pub(super) fn timestamp(ms: Millis) -> String {
    DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sync_may_name_streams_and_its_kind() {
        let empty = SyncRequest {
            streams: None,
            kind: RequestKind::Sync,
        };
        assert_eq!(sync(b"").unwrap(), empty);
        let full = SyncRequest {
            streams: Some(vec!["contacts".to_owned()]),
            kind: RequestKind::Resync,
        };
        assert_eq!(
            sync(br#"{"streams":["contacts"],"full":true}"#).unwrap(),
            full
        );
        for body in [
            r#"{"kind":"all"}"#,
            r#"{"streams":[]}"#,
            r#"{"kind":"sync","full":true}"#,
            "{\"x\":1}",
        ] {
            assert!(sync(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(timestamp(1_795_528_800_123), "2026-11-24T14:00:00.123Z");
        assert_eq!(
            time("t", "2026-11-24T15:00:00.123+01:00").unwrap(),
            1_795_528_800_123
        );
        assert!(time("t", "yesterday").is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused_without_a_panic(body in ".{0,80}") {
            drop(settings(body.as_bytes()));
            drop(sync(body.as_bytes()));
            drop(reconcile(body.as_bytes()));
        }
    }
}
