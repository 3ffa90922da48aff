//! The settings of a connection: defaults, allowed values, intervals as text.

use chassis::duration;
use schemas::{Command, DesiredState, default_destination};

/// Shortest time from one run to the next, in ms.
const MIN_INTERVAL_MS: i64 = 10_000;
/// Longest time from one run to the next, in ms.
const MAX_INTERVAL_MS: i64 = 31 * 24 * 3_600_000;
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
}

impl ConnectionSettings {
    /// All that is wrong with the given values; empty where they are allowed.
    pub(crate) fn check(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        wrong.extend(self.credential.as_deref().and_then(check_credential));
        wrong.extend(self.streams.as_deref().into_iter().flat_map(check_streams));
        wrong.extend(self.interval_ms.and_then(check_interval));
        wrong.extend(self.destination.as_deref().and_then(check_destination));
        wrong
    }

    /// Changes the given settings of a command. Drops requests and confirmations of
    /// streams that the connection no longer has.
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
        command
            .requests
            .retain(|request| command.streams.contains(&request.stream));
        command
            .confirmed
            .retain(|confirmed| command.streams.contains(&confirmed.stream));
    }
}

/// A new, stopped connection with all defaults.
pub(crate) fn defaults(connection: &str) -> Command {
    Command {
        command_id: String::new(),
        based_on: None,
        issued_at: 0,
        connection: connection.to_owned(),
        state: DesiredState::Stopped,
        credential: DEFAULT_CREDENTIAL.to_owned(),
        streams: DEFAULT_STREAMS.map(str::to_owned).to_vec(),
        interval_ms: DEFAULT_INTERVAL_MS,
        destination: default_destination(connection),
        requests: Vec::new(),
        confirmed: Vec::new(),
        check_id: None,
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

/// Checks an object type.
fn check_stream(stream: &str) -> Result<(), &'static str> {
    let well_formed = (1..=64).contains(&stream.len())
        && stream.starts_with(|first: char| first.is_ascii_alphanumeric())
        && stream
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it));
    if !well_formed {
        return Err(
            "must be an object type of 1 to 64 letters, digits, '_' and '-', such as \
                    contacts or 2-3456789",
        );
    }
    if stream == "changes" || stream.ends_with("_all") || stream.ends_with("__rebuild") {
        return Err(
            "is reserved for the warehouse: changes, and every name that ends in _all \
                    or __rebuild",
        );
    }
    Ok(())
}

/// Checks that an interval is in range.
fn check_interval(interval_ms: i64) -> Option<Invalid> {
    let allowed = MIN_INTERVAL_MS..=MAX_INTERVAL_MS;
    (!allowed.contains(&interval_ms)).then(|| Invalid::new("interval", INTERVAL_ALLOWED))
}

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

const UNITS: [(&str, i64); 4] = [
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// Parses `30s`, `5m`, `1h30m` or `1d`; returns ms, in whole seconds.
pub(crate) fn parse_interval(text: &str) -> Result<i64, Invalid> {
    let invalid = || Invalid::new("interval", INTERVAL_ALLOWED);
    let interval = duration::parse(text).map_err(|_error| invalid())?;
    if interval.subsec_millis() > 0 {
        return Err(invalid());
    }
    let interval_ms = i64::try_from(interval.as_millis()).map_err(|_error| invalid())?;
    check_interval(interval_ms).map_or(Ok(interval_ms), Err)
}

/// Formats an interval as [`parse_interval`] parses it.
pub(crate) fn format_interval(interval_ms: i64) -> String {
    let mut rest_ms = interval_ms.max(0);
    let mut text = String::new();
    for (unit, factor) in UNITS {
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
