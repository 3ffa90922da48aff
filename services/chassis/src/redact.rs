//! Keeps secrets out of log lines and of messages about settings: passwords in
//! addresses, and the values of client settings whose names say what they are.
//!
//! It must not know which settings there are.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::LazyLock,
};

use clap::{
    CommandFactory, Parser,
    error::{ContextKind, ContextValue},
};
use regex_lite::{Captures, Regex};
use tracing_subscriber::fmt::MakeWriter;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// `user:password@` of an address. A password may contain an `@` or a slash itself, so this
/// goes to the last `@`: rather too much is hidden than too little.
const USER: &str = r#"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://)[^\s"'<>@/]*:[^\s"'<>]*@"#;

/// A setting of that kind with its value: `sasl.password=x`, `("ssl.key.pem", "x")`.
const SETTING: &str = r#"(?i)(?P<before>[a-z0-9._]*(?:password|passphrase|secret|\.pem|\.jaas\.config|sasl\.oauthbearer\.config)(?:\\?"\s*,\s*\\?"|\s*=\s*\\?"?))[^\s",)\\]+"#;

static PATTERNS: LazyLock<Option<[Regex; 2]>> =
    LazyLock::new(|| Some([Regex::new(USER).ok()?, Regex::new(SETTING).ok()?]));

/// The text without its secrets.
pub fn text(text: &str) -> Cow<'_, str> {
    let hide = |found: &Captures<'_>| {
        let before = found.name("before").map_or("", |it| it.as_str());
        let after = if found[0].ends_with('@') { "@" } else { "" };
        format!("{before}{HIDDEN}{after}")
    };
    let Some(patterns) = &*PATTERNS else {
        return Cow::Borrowed(HIDDEN);
    };
    patterns.iter().fold(Cow::Borrowed(text), |text, pattern| {
        if pattern.is_match(&text) {
            Cow::Owned(pattern.replace_all(&text, &hide).into_owned())
        } else {
            text
        }
    })
}

/// An error without the values of settings that hold secrets.
pub(crate) fn hide_values<T: CommandFactory>(mut error: clap::Error) -> clap::Error {
    let hidden = match (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) {
        (Some(ContextValue::String(argument)), Some(ContextValue::String(value))) => {
            let command = T::command();
            let holds_secret = command.get_arguments().any(|it| {
                let name = it.get_long().map(|name| format!("--{name} "));
                it.is_hide_env_values_set() && name.is_some_and(|it| argument.starts_with(&it))
            });
            if holds_secret {
                HIDDEN.to_owned()
            } else {
                text(value).into_owned()
            }
        }
        _ => return error,
    };
    error.insert(ContextKind::InvalidValue, ContextValue::String(hidden));
    error
}

/// Writes log lines to standard error, without their secrets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines<W>(pub(crate) W);

impl<'a, W: Fn() -> O, O: Write> MakeWriter<'a> for Lines<W> {
    type Writer = Line<O>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0())
    }
}

/// Each call of `write` gets one line.
#[derive(Debug)]
pub(crate) struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let line_text = String::from_utf8_lossy(line);
        self.0.write_all(text(&line_text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// For the tests of services: panics if a secret in one of their settings can be seen,
/// in the log line of their settings or in the message that refuses them.
#[doc(hidden)]
pub fn assert_settings_show_no_secret<T: Parser + CommandFactory + std::fmt::Debug>() {
    const SECRET: &str = "canary7f3a";
    let command = T::command();
    let mut parsed = 0;
    for argument in command.get_arguments() {
        let Some(name) = argument.get_long() else {
            continue;
        };
        let mut values = vec![
            format!("http://user:{SECRET}@localhost:1/x"),
            format!("sasl.password={SECRET}"),
            format!("linger.ms=5,ssl.key.password={SECRET}"),
        ];
        if argument.is_hide_env_values_set() {
            values.push(SECRET.to_owned());
            values.push(format!("sasl.password={SECRET},{SECRET}"));
        }
        for value in values {
            let arguments = ["test".to_owned(), format!("--{name}={value}")];
            let shown = match T::try_parse_from(arguments) {
                Ok(settings) => {
                    parsed += 1;
                    text(&format!("{settings:?} {settings:#?}")).into_owned()
                }
                Err(error) => hide_values::<T>(error).render().to_string(),
            };
            assert!(!shown.contains(SECRET), "--{name}={value} shows: {shown}");
        }
    }
    assert!(parsed > 0, "no setting takes any of these values");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn passwords_in_addresses_and_client_settings_are_hidden_and_nothing_else() {
        for (given, expected) in [
            (
                "at http://ann:x@y@host:1/z?a=b",
                "at http://***@host:1/z?a=b",
            ),
            ("\\\"https://:x@host\\\"", "\\\"https://***@host\\\""),
            ("sasl.password=x, b=c", "sasl.password=***, b=c"),
            (
                r#"("ssl.key.password", "x"), ("b", "c")"#,
                r#"("ssl.key.password", "***"), ("b", "c")"#,
            ),
            ("ssl.key.pem=x", "ssl.key.pem=***"),
        ] {
            assert_eq!(text(given), expected);
        }
        for kept in [
            "http://host/a@b",
            "http://127.0.0.1:8081/apis/ccompat/v7",
            "a secret: cannot be read",
            "linger.ms=5 ssl.ca.location=/etc/ca.pem",
        ] {
            assert_eq!(text(kept), kept);
        }
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn log_lines_of_both_formats_have_no_secrets() {
        for json in [false, true] {
            let buffer = Buffer::default();
            let written = buffer.clone();
            let lines =
                tracing_subscriber::fmt::layer().with_writer(Lines(move || written.clone()));
            let log = || {
                let url = "http://ann:hush-hush@host:1";
                tracing::info!(url, settings = ?[("sasl.password", "hush-hush")], "at {url}");
            };
            let registry = tracing_subscriber::registry();
            if json {
                tracing::subscriber::with_default(registry.with(lines.json()), log);
            } else {
                tracing::subscriber::with_default(registry.with(lines), log);
            }
            let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
            assert!(
                text.contains("***@host:1") && !text.contains("hush"),
                "{text}"
            );
        }
    }
}
