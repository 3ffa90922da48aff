//! The settings of a connection, as a body has them.

use schemas::PropertySelection;
use serde_json::{Map, Value};

use super::Fields;
use crate::{
    api::error::ApiError,
    control::{
        ConnectionSettings,
        settings::{GivenIntervals, parse_interval, parse_pass_interval},
    },
};

/// What an interval may be.
const INTERVAL: &str = "from 10s to 31d, such as 30s, 5m, 1h or 1d";

/// Reads and checks the settings of a connection.
pub(in crate::api) fn settings(body: &[u8]) -> Result<ConnectionSettings, ApiError> {
    let mut fields = Fields::parse(body)?;
    let mut settings = ConnectionSettings {
        credential: fields.text("credential", "a reference such as env:HUBSPOT_ACCESS_TOKEN"),
        streams: fields.names("streams"),
        ..ConnectionSettings::default()
    };
    if let Some(interval) = fields.text("interval", INTERVAL) {
        settings.interval_ms = fields.valid(parse_interval("interval", &interval));
    }
    settings.destination = fields.text("destination", "the name of a database");
    settings.reconcile = reconcile(&mut fields);
    settings.properties = properties(&mut fields);
    fields.wrong.extend(settings.check());
    fields.finish()?;
    // Refusals name the place in the list as it was given.
    for selection in settings.properties.iter_mut().flatten() {
        selection.names.sort_unstable();
    }
    Ok(settings)
}

/// The intervals of passes.
fn reconcile(fields: &mut Fields) -> GivenIntervals {
    let mut given = GivenIntervals::default();
    let Some(mut passes) = fields.object("reconcile", r#"such as {"full":"24h"}"#) else {
        return given;
    };
    for (name, interval_ms) in [
        ("late", &mut given.late_ms),
        ("archived", &mut given.archived_ms),
        ("full", &mut given.full_ms),
    ] {
        let field = format!("reconcile.{name}");
        match passes.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                *interval_ms = fields.valid(parse_pass_interval(&field, &text));
            }
            Some(_) => fields.refuse(field, format!("must be a string, {INTERVAL}, or off")),
        }
    }
    fields.refuse_unknown("reconcile", &passes, "late, archived, full");
    given
}

/// The properties to read of each stream, by the stream's name.
fn properties(fields: &mut Fields) -> Option<Vec<PropertySelection>> {
    let streams = fields.object(
        "properties",
        r#"such as {"contacts":{"exclude":["phone"]}}"#,
    )?;
    let given = streams.into_iter().filter(|(_, it)| !it.is_null());
    let selections = given.filter_map(|(stream, given)| {
        let selection = selection(&stream, given);
        if selection.is_none() {
            fields.refuse(
                format!("properties.{stream}"),
                r#"must be {"include":[…]} or {"exclude":[…]}, with names of properties"#,
            );
        }
        selection
    });
    Some(selections.collect())
}

/// The properties of one stream; `None` where it is not one list of names.
fn selection(stream: &str, given: Value) -> Option<PropertySelection> {
    let Value::Object(given) = given else {
        return None;
    };
    let mut lists = given.into_iter().filter(|(_, it)| !it.is_null());
    let (kind, names) = lists.next().filter(|_| lists.next().is_none())?;
    Some(PropertySelection {
        stream: stream.to_owned(),
        is_exclusion: match kind.as_str() {
            "include" => false,
            "exclude" => true,
            _ => return None,
        },
        names: serde_json::from_value(names).ok()?,
    })
}

impl Fields {
    /// Refuses the fields that are left of an object.
    fn refuse_unknown(&mut self, object: &str, left: &Map<String, Value>, known: &str) {
        for name in left.keys().take(super::MAX_UNKNOWN) {
            let name: String = name.chars().take(64).collect();
            self.refuse(
                format!("{object}.{name}"),
                format!("is not a field of {object}; known are {known}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_and_field(body: &str) -> (String, Option<String>) {
        match settings(body.as_bytes()).unwrap_err() {
            ApiError::MalformedJson(_) => ("malformed".to_owned(), None),
            ApiError::UnknownField(invalid) => ("unknown".to_owned(), Some(invalid.first.field)),
            ApiError::InvalidValue(invalid) => ("invalid".to_owned(), Some(invalid.first.field)),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_bad_body_is_refused_with_the_name_of_its_field() {
        for (body, code, field) in [
            ("{", "malformed", None),
            ("[]", "malformed", None),
            ("5", "malformed", None),
            ("null", "malformed", None),
            ("{\"a\":1}{}", "malformed", None),
            (r#"{"colour":"red"}"#, "unknown", Some("colour")),
            (r#"{"Interval":"5m"}"#, "unknown", Some("Interval")),
            (r#"{"interval":5}"#, "invalid", Some("interval")),
            (r#"{"interval":"9s"}"#, "invalid", Some("interval")),
            (r#"{"interval":"32d"}"#, "invalid", Some("interval")),
            (r#"{"streams":"contacts"}"#, "invalid", Some("streams")),
            (r#"{"streams":[]}"#, "invalid", Some("streams")),
            (r#"{"streams":[1]}"#, "invalid", Some("streams")),
            (r#"{"streams":["a","a"]}"#, "invalid", Some("streams[1]")),
            (r#"{"credential":"pat-x"}"#, "invalid", Some("credential")),
            (r#"{"credential":{}}"#, "invalid", Some("credential")),
            (r#"{"destination":"x_raw"}"#, "invalid", Some("destination")),
            (r#"{"reconcile":"1h"}"#, "invalid", Some("reconcile")),
            (
                r#"{"reconcile":{"late":"9s"}}"#,
                "invalid",
                Some("reconcile.late"),
            ),
            (
                r#"{"reconcile":{"full":5}}"#,
                "invalid",
                Some("reconcile.full"),
            ),
            (
                r#"{"reconcile":{"weekly":"7d"}}"#,
                "invalid",
                Some("reconcile.weekly"),
            ),
            (r#"{"properties":["a"]}"#, "invalid", Some("properties")),
            (
                r#"{"properties":{"contacts":["a"]}}"#,
                "invalid",
                Some("properties.contacts"),
            ),
            (
                r#"{"properties":{"contacts":{}}}"#,
                "invalid",
                Some("properties.contacts"),
            ),
            (
                r#"{"properties":{"contacts":{"include":["a"],"exclude":["b"]}}}"#,
                "invalid",
                Some("properties.contacts"),
            ),
            (
                r#"{"properties":{"contacts":{"include":[]}}}"#,
                "invalid",
                Some("properties.contacts.include"),
            ),
            (
                r#"{"properties":{"contacts":{"include":["b","a","b"]}}}"#,
                "invalid",
                Some("properties.contacts.include[2]"),
            ),
            (
                r#"{"properties":{"contacts":{"exclude":["a,b"]}}}"#,
                "invalid",
                Some("properties.contacts.exclude[0]"),
            ),
            (
                r#"{"properties":{"contacts":{"exclude":["hs_object_id"]}}}"#,
                "invalid",
                Some("properties.contacts.exclude[0]"),
            ),
        ] {
            assert_eq!(
                code_and_field(body),
                (code.to_owned(), field.map(ToOwned::to_owned)),
                "{body}"
            );
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_body_is_told_at_once() {
        let body = r#"{"colour":1,"interval":"9s","streams":["a","","a"],"credential":5,
            "destination":"x_raw","size":2}"#;
        let ApiError::InvalidValue(wrong) = settings(body.as_bytes()).unwrap_err() else {
            panic!("the first wrong field has a value that is not allowed");
        };
        let fields: Vec<_> = std::iter::once(&wrong.first)
            .chain(&wrong.others)
            .map(|it| it.field.as_str())
            .collect();
        let expected = [
            "credential",
            "interval",
            "streams[1]",
            "streams[2]",
            "destination",
            "colour",
            "size",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn passes_and_properties_are_read_as_they_are_written() {
        let body = r#"{"reconcile":{"late":"2h","full":"off"},
            "properties":{"contacts":{"include":["b","a"]},"companies":{"exclude":["c"]},
            "deals":null}}"#;
        let read = settings(body.as_bytes()).unwrap();
        assert_eq!(read.reconcile.late_ms, Some(7_200_000));
        assert_eq!(read.reconcile.archived_ms, None);
        assert_eq!(read.reconcile.full_ms, Some(0));
        let selection = |stream: &str, is_exclusion, names: &[&str]| PropertySelection {
            stream: stream.to_owned(),
            is_exclusion,
            names: names.iter().map(|it| (*it).to_owned()).collect(),
        };
        let expected = vec![
            selection("companies", true, &["c"]),
            selection("contacts", false, &["a", "b"]),
        ];
        assert_eq!(read.properties, Some(expected));
    }

    #[test]
    fn a_setting_left_out_or_null_is_not_given() {
        assert_eq!(settings(b"").unwrap(), ConnectionSettings::default());
        assert_eq!(settings(b" {} ").unwrap(), ConnectionSettings::default());
        assert_eq!(
            settings(br#"{"interval":null}"#).unwrap(),
            ConnectionSettings::default()
        );
    }
}
