//! The settings of a connection: defaults, allowed values, intervals as text.

use chassis::duration;
use std::collections::BTreeSet;

use schemas::{
    AssociatedTypes, Command, NEEDED_PROPERTIES, PropertySelection, default_destination,
};

/// Shortest time from one run to the next, in ms.
const MIN_INTERVAL_MS: i64 = 10_000;
/// Longest time from one run to the next, in ms.
const MAX_INTERVAL_MS: i64 = 31 * 24 * 3_600_000;
/// Maximum number of properties that the settings of a connection name.
const MAX_PROPERTIES: usize = 10_000;
/// Maximum number of characters of a property's name.
const LONGEST_PROPERTY: usize = 200;
/// Maximum number of characters of a stream of associations, whose table has its name.
const LONGEST_STREAM: usize = 100;
/// Names of views and tables of the warehouse.
const RESERVED_STREAMS: [&str; 2] = ["changes", "associations"];
/// Maximum number of streams of one connection.
const MAX_STREAMS: usize = 64;

const DEFAULT_CREDENTIAL: &str = "env:HUBSPOT_ACCESS_TOKEN";
const DEFAULT_STREAMS: [&str; 2] = ["contacts", "companies"];
const DEFAULT_INTERVAL_MS: i64 = 300_000;

/// Databases of ClickHouse or of the warehouse itself.
const RESERVED_DATABASES: [&str; 5] = [
    "system",
    "default",
    "information_schema",
    "hubspot_internal",
    "hubspot_meta",
];

/// A value that is not allowed: which field, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub(crate) struct Invalid {
    /// Name of the field, as the caller wrote it.
    pub(crate) field: String,
    /// What is wrong, and what is allowed.
    pub(crate) message: String,
}

impl Invalid {
    /// An error of this field.
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Settings as the caller gave them: `None` is a setting left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConnectionSettings {
    /// A reference to the credential.
    pub(crate) credential: Option<String>,
    /// Object types.
    pub(crate) streams: Option<Vec<String>>,
    /// Time from one start to the next, in ms.
    pub(crate) interval_ms: Option<i64>,
    /// ClickHouse database.
    pub(crate) destination: Option<String>,
    /// How often passes are made.
    pub(crate) reconcile: GivenIntervals,
    /// Which properties are read; replaces all selections.
    pub(crate) properties: Option<Vec<PropertySelection>>,
}

/// Intervals of passes as the caller gave them, in ms; 0: none are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit is part of the name")]
pub(crate) struct GivenIntervals {
    /// See [`schemas::ReconcileIntervals::late_ms`].
    pub(crate) late_ms: Option<i64>,
    /// See [`schemas::ReconcileIntervals::archived_ms`].
    pub(crate) archived_ms: Option<i64>,
    /// See [`schemas::ReconcileIntervals::full_ms`].
    pub(crate) full_ms: Option<i64>,
}

impl ConnectionSettings {
    /// All that is wrong with the given values; empty where they are allowed.
    pub(crate) fn check(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        wrong.extend(self.credential.as_deref().and_then(check_credential));
        wrong.extend(self.streams.as_deref().into_iter().flat_map(check_streams));
        let interval = |(name, ms): (&str, Option<i64>)| ms.and_then(|ms| check_interval(name, ms));
        wrong.extend(interval(("interval", self.interval_ms)));
        wrong.extend(self.destination.as_deref().and_then(check_destination));
        let GivenIntervals {
            late_ms,
            archived_ms,
            full_ms,
        } = self.reconcile;
        let passes = [
            ("reconcile.late", late_ms),
            ("reconcile.archived", archived_ms),
            ("reconcile.full", full_ms),
        ];
        let is_on = |(_, ms): &(&str, Option<i64>)| *ms != Some(OFF_MS);
        wrong.extend(passes.into_iter().filter(is_on).filter_map(interval));
        let selections = self.properties.as_deref();
        wrong.extend(selections.into_iter().flat_map(check_properties));
        wrong
    }

    /// Changes the given settings of a command. Drops requests, confirmations and selected
    /// properties of streams that the connection no longer has.
    pub(crate) fn apply_to(&self, command: &mut Command) {
        if let Some(credential) = &self.credential {
            command.credential.clone_from(credential);
        }
        if let Some(streams) = &self.streams {
            command.streams.clone_from(streams);
        }
        if let Some(interval) = self.interval_ms {
            command.interval_ms = interval;
        }
        if let Some(destination) = &self.destination {
            command.destination.clone_from(destination);
        }
        let passes = &mut command.reconcile;
        passes.late_ms = self.reconcile.late_ms.unwrap_or(passes.late_ms);
        passes.archived_ms = self.reconcile.archived_ms.unwrap_or(passes.archived_ms);
        passes.full_ms = self.reconcile.full_ms.unwrap_or(passes.full_ms);
        if let Some(properties) = &self.properties {
            command.properties.clone_from(properties);
        }
        let has = |stream: &String| command.streams.contains(stream);
        command.requests.retain(|it| has(&it.stream));
        command.confirmed.retain(|it| has(&it.stream));
        command.properties.retain(|it| has(&it.stream));
    }
}

/// A new, stopped connection with all defaults.
pub(crate) fn defaults(connection: &str) -> Command {
    Command {
        connection: connection.to_owned(),
        credential: DEFAULT_CREDENTIAL.to_owned(),
        streams: DEFAULT_STREAMS.map(str::to_owned).to_vec(),
        interval_ms: DEFAULT_INTERVAL_MS,
        destination: default_destination(connection),
        ..Command::default()
    }
}

/// Checks a connection's name, which is part of a database's name and of Kafka
/// keys.
pub(crate) fn check_name(name: &str) -> Result<(), Invalid> {
    if is_identifier(name, 1, 50) && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(Invalid::new(
        "name",
        "a connection's name is a lower-case letter followed by up to 49 lower-case letters, \
         digits and underscores",
    ))
}

fn check_credential(reference: &str) -> Option<Invalid> {
    let valid = if let Some(variable) = reference.strip_prefix("env:") {
        variable.len() <= 128
            && variable.strip_prefix("HUBSPOT_").is_some_and(|rest| {
                !rest.is_empty()
                    && rest
                        .bytes()
                        .all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
            })
    } else if let Some(file) = reference.strip_prefix("file:") {
        file.len() <= 128
            && file.starts_with(|first: char| first.is_ascii_alphanumeric())
            && !file.contains("..")
            && file
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
    } else {
        false
    };
    if valid {
        return None;
    }
    // The value is not repeated: it may be a token given by mistake.
    Some(Invalid::new(
        "credential",
        "must be a reference, env:HUBSPOT_NAME or file:NAME (letters, digits, '.', '_', '-'), \
         never the credential itself",
    ))
}

fn check_streams(streams: &[String]) -> Vec<Invalid> {
    if streams.is_empty() || streams.len() > MAX_STREAMS {
        return vec![Invalid::new(
            "streams",
            format!("must name 1 to {MAX_STREAMS} object types, such as contacts"),
        )];
    }
    let wrong = streams.iter().enumerate().filter_map(|(index, stream)| {
        let is_repeated = streams.iter().take(index).any(|earlier| earlier == stream);
        let reason = check_stream(stream)
            .err()
            .or(is_repeated.then_some("is given twice"))?;
        Some(Invalid::new(format!("streams[{index}]"), reason))
    });
    wrong.collect()
}

/// Checks a stream: an object type, or two for associations.
fn check_stream(stream: &str) -> Result<(), &'static str> {
    let is_type = |name: &str| {
        (1..=64).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it))
    };
    let well_formed = match AssociatedTypes::of(stream) {
        None => is_type(stream),
        Some(types) => is_type(types.from) && is_type(types.to) && stream.len() <= LONGEST_STREAM,
    };
    if !well_formed {
        return Err(
            "must be an object type of 1 to 64 letters, digits, '_' and '-', such as \
                    contacts or 2-3456789; or two such types for associations, such as \
                    contacts>companies, of at most 100 characters",
        );
    }
    if RESERVED_STREAMS.contains(&stream)
        || stream.ends_with("_all")
        || stream.ends_with("__rebuild")
    {
        return Err(
            "is reserved for the warehouse: changes, associations, and every name that ends in \
                    _all or __rebuild",
        );
    }
    Ok(())
}

/// Checks the selected properties of all streams.
fn check_properties(selections: &[PropertySelection]) -> Vec<Invalid> {
    let count: usize = selections.iter().map(|it| it.names.len()).sum();
    if count > MAX_PROPERTIES {
        return vec![Invalid::new(
            "properties",
            format!("may name {MAX_PROPERTIES} properties in total, and names {count}"),
        )];
    }
    selections.iter().flat_map(check_selection).collect()
}

/// Checks the selected properties of a stream.
fn check_selection(selection: &PropertySelection) -> Vec<Invalid> {
    let kind = if selection.is_exclusion {
        "exclude"
    } else {
        "include"
    };
    let field = format!("properties.{}.{kind}", selection.stream);
    if AssociatedTypes::of(&selection.stream).is_some() {
        let message = "cannot be chosen: a stream of associations has no properties";
        return vec![Invalid::new(field, message)];
    }
    if selection.names.is_empty() {
        return vec![Invalid::new(field, "must name at least one property")];
    }
    let mut seen = BTreeSet::new();
    let wrong = selection
        .names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| {
            let well_formed = (1..=LONGEST_PROPERTY).contains(&name.len())
                && name.bytes().all(|it| it.is_ascii_graphic() && it != b',');
            let reason = if !well_formed {
                "must be HubSpot's internal name of a property, such as firstname"
            } else if !seen.insert(name) {
                "is given twice"
            } else if selection.is_exclusion && NEEDED_PROPERTIES.contains(&name.as_str()) {
                "cannot be excluded: the sync needs it"
            } else {
                return None;
            };
            Some(Invalid::new(format!("{field}[{index}]"), reason))
        });
    wrong.collect()
}

/// Checks that an interval is in range.
fn check_interval(field: &str, interval_ms: i64) -> Option<Invalid> {
    let allowed = MIN_INTERVAL_MS..=MAX_INTERVAL_MS;
    (!allowed.contains(&interval_ms)).then(|| Invalid::new(field, INTERVAL_ALLOWED))
}

/// The interval of passes that are not made, as a person writes it.
const OFF: &str = "off";
/// The same in a command.
const OFF_MS: i64 = 0;

const INTERVAL_ALLOWED: &str = "must be from 10s to 31d, written as 30s, 5m, 1h30m or 1d";

fn check_destination(destination: &str) -> Option<Invalid> {
    if !is_identifier(destination, 1, 60)
        || !destination.starts_with(|it: char| it.is_ascii_lowercase())
    {
        return Some(Invalid::new(
            "destination",
            "must be 1 to 60 lower-case letters, digits and underscores, beginning with a letter",
        ));
    }
    if destination.ends_with("_raw") || RESERVED_DATABASES.contains(&destination) {
        return Some(Invalid::new(
            "destination",
            "is reserved: system, default, information_schema, hubspot_internal, hubspot_meta, \
             and every name that ends in _raw",
        ));
    }
    None
}

fn is_identifier(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len())
        && text
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_')
}

const DAY_MS: i64 = 24 * 3_600_000;

const UNITS: [(&str, i64); 4] = [("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// Parses `30s`, `5m`, `1h30m` or `1d`; returns ms, in whole seconds.
pub(crate) fn parse_interval(field: &str, text: &str) -> Result<i64, Invalid> {
    let invalid = || Invalid::new(field, INTERVAL_ALLOWED);
    let interval = duration::parse(text).map_err(|_error| invalid())?;
    if interval.subsec_millis() > 0 {
        return Err(invalid());
    }
    let interval_ms = i64::try_from(interval.as_millis()).map_err(|_error| invalid())?;
    check_interval(field, interval_ms).map_or(Ok(interval_ms), Err)
}

/// Parses an interval, or `off`; returns ms, 0 for off.
pub(crate) fn parse_pass_interval(field: &str, text: &str) -> Result<i64, Invalid> {
    if text == OFF {
        return Ok(OFF_MS);
    }
    parse_interval(field, text).map_err(|it| Invalid {
        message: format!("{}; or {OFF}", it.message),
        ..it
    })
}

/// Formats an interval as [`parse_pass_interval`] parses it.
pub(crate) fn format_pass_interval(interval_ms: i64) -> String {
    match interval_ms {
        OFF_MS => OFF.to_owned(),
        // A day is written as 24h, as in the documentation.
        _ if interval_ms < 2 * DAY_MS => format_with(&UNITS[1..], interval_ms),
        _ => format_interval(interval_ms),
    }
}

/// Formats an interval as [`parse_interval`] parses it.
pub(crate) fn format_interval(interval_ms: i64) -> String {
    format_with(&UNITS, interval_ms)
}

fn format_with(units: &[(&str, i64)], interval_ms: i64) -> String {
    let mut rest_ms = interval_ms.max(0);
    let mut text = String::new();
    for (unit, factor) in units {
        let count = rest_ms / factor;
        rest_ms %= factor;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push_str(unit);
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests;
