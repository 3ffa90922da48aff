//! Reads the settings of a process: flags, and environment variables of the same names.
//! All that are wrong are reported at once, each with what is allowed, before anything
//! starts.
//!
//! It must not know which settings there are.

use std::{ffi::OsString, process::ExitCode};

use clap::{
    Command, Parser,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{redact, with_causes};

/// The exit code for wrong settings, as clap's.
const WRONG_SETTINGS: u8 = 2;

/// Why a process does not start.
#[derive(Debug)]
enum Refusal {
    /// Settings that are wrong, in words.
    Settings(Vec<String>),
    /// The command line asks for help, or cannot be read at all.
    CommandLine(clap::Error),
}

/// Parses the command line and the environment. `check` says what is wrong with settings
/// that can be parsed. Where anything is wrong, or help was asked for, prints that, without
/// secrets, and returns the exit code of the process.
pub fn parse<T: Parser>(check: impl FnOnce(&T) -> Vec<anyhow::Error>) -> Result<T, ExitCode> {
    read(std::env::args_os().collect(), check).map_err(|refusal| match refusal {
        Refusal::CommandLine(error) => {
            // Nobody can be told if that fails.
            drop(error.print());
            let code = u8::try_from(error.exit_code());
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Refusal::Settings(wrong) => {
            #[expect(clippy::print_stderr, reason = "there is no log yet")]
            {
                eprint!("{}", in_words(&wrong));
            }
            ExitCode::from(WRONG_SETTINGS)
        }
    })
}

fn in_words(wrong: &[String]) -> String {
    let count = match wrong.len() {
        1 => "a setting is".to_owned(),
        count => format!("{count} settings are"),
    };
    let list = wrong.join("\n  - ");
    format!("error: {count} wrong:\n  - {list}\n\nFor what is allowed, try '--help'.\n")
}

/// Parses what is given. A setting that is wrong is noted, and the others are looked at
/// without it.
fn read<T: Parser>(
    mut arguments: Vec<OsString>,
    check: impl FnOnce(&T) -> Vec<anyhow::Error>,
) -> Result<T, Refusal> {
    let mut wrong = Vec::new();
    let mut left_out: Vec<String> = Vec::new();
    let matches = loop {
        let command = left_out
            .iter()
            .fold(T::command(), |it, name| optional(it, name));
        let error = match command.try_get_matches_from(&arguments) {
            Ok(matches) => break matches,
            Err(error) => redact::hide_values::<T>(error),
        };
        let named = names_of(&error);
        // What is left out cannot be wrong; if it were, this would not end.
        if named.is_empty() || named.iter().any(|name| left_out.contains(name)) {
            return Err(Refusal::CommandLine(error));
        }
        let command = T::command();
        let variables = named.iter().filter_map(|name| variable(&command, name));
        wrong.push(told(&error, &variables.collect::<Vec<_>>()));
        for name in named {
            arguments = without(arguments, &name);
            left_out.push(name);
        }
    };
    let settings = T::from_arg_matches(&matches);
    if let Ok(settings) = &settings {
        let checked = check(settings);
        wrong.extend(checked.iter().map(|error| with_causes(error.as_ref())));
    }
    match settings {
        Ok(settings) if wrong.is_empty() => Ok(settings),
        Err(error) if wrong.is_empty() => Err(Refusal::CommandLine(error)),
        _ => {
            let hidden = wrong.iter().map(|it| redact::text(it).into_owned());
            Err(Refusal::Settings(hidden.collect()))
        }
    }
}

/// The flags of the settings that an error is about, if the others can be looked at
/// without them.
fn names_of(error: &clap::Error) -> Vec<String> {
    let is_of_settings = matches!(
        error.kind(),
        ErrorKind::InvalidValue
            | ErrorKind::ValueValidation
            | ErrorKind::InvalidUtf8
            | ErrorKind::MissingRequiredArgument
    );
    let named = error
        .get(ContextKind::InvalidArg)
        .filter(|_| is_of_settings);
    let shown = match named {
        Some(ContextValue::String(one)) => std::slice::from_ref(one),
        Some(ContextValue::Strings(all)) => all.as_slice(),
        _ => &[],
    };
    let flag = |shown: &String| {
        let flag = shown.split([' ', '=']).next().unwrap_or_default();
        Some(flag.strip_prefix("--")?.to_owned())
    };
    shown.iter().filter_map(flag).collect()
}

/// What clap says, without its hint, and the environment variables that it may come from.
fn told(error: &clap::Error, variables: &[String]) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = ["\n\nUsage:", "\n\nFor more"]
        .iter()
        .filter_map(|hint| text.find(hint))
        .min();
    let text = text
        .get(..end.unwrap_or(text.len()))
        .unwrap_or(text)
        .trim_end();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    format!("{} [{}]", lines.join(" "), variables.join(", "))
}

fn variable(command: &Command, name: &str) -> Option<String> {
    let argument = command
        .get_arguments()
        .find(|it| it.get_long() == Some(name))?;
    Some(argument.get_env()?.to_string_lossy().into_owned())
}

/// The arguments without a flag and its value.
fn without(arguments: Vec<OsString>, name: &str) -> Vec<OsString> {
    let flag = format!("--{name}");
    let with_value = format!("{flag}=");
    let mut is_value = false;
    let is_kept = |argument: &OsString| {
        if std::mem::take(&mut is_value) {
            return false;
        }
        is_value = *argument == *flag;
        let argument = argument.to_string_lossy();
        !is_value && !argument.starts_with(&with_value)
    };
    let mut arguments = arguments;
    arguments.retain(is_kept);
    arguments
}

/// The command without the variable of a setting, which it does not need any more.
fn optional(command: Command, name: &str) -> Command {
    let found = command
        .get_arguments()
        .find(|it| it.get_long() == Some(name))
        .map(|it| it.get_id().clone());
    match found {
        None => command,
        Some(id) => command.mut_arg(id, |it| it.env(Resettable::Reset).required(false)),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[arg(long, env = "TEST_SETTINGS_COUNT", default_value = "1")]
        count: NonZeroU32,
        #[arg(long, env = "TEST_SETTINGS_FORMAT", default_value = "text", value_parser = ["text", "json"])]
        format: String,
        #[arg(long, env = "TEST_SETTINGS_PLACE")]
        place: String,
        #[arg(long, env = "TEST_SETTINGS_TOKEN", hide_env_values = true, value_parser = token)]
        token: Option<String>,
    }

    fn token(text: &str) -> Result<String, String> {
        Err(format!("{} characters are too few", text.len()))
    }

    fn wrong(arguments: &[&str], checked: &'static [&'static str]) -> Vec<String> {
        let check = |_: &Settings| checked.iter().map(|it| anyhow::anyhow!(*it)).collect();
        let arguments = [&["test"], arguments].concat();
        match read::<Settings>(arguments.iter().map(OsString::from).collect(), check) {
            Ok(_) => Vec::new(),
            Err(Refusal::Settings(wrong)) => wrong,
            Err(Refusal::CommandLine(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn settings_that_are_right_are_read() {
        assert!(wrong(&["--place", "here", "--count", "3"], &[]).is_empty());
    }

    #[test]
    fn all_that_are_wrong_are_named_at_once_with_what_is_allowed_and_without_secrets() {
        let given = ["--count", "0", "--format=xml", "--token=canary"];
        let wrong = wrong(&given, &["never asked, as a setting is missing"]);
        let expected = [
            ("--count", "TEST_SETTINGS_COUNT", "zero"),
            ("--format", "TEST_SETTINGS_FORMAT", "text, json"),
            ("--place", "TEST_SETTINGS_PLACE", "required"),
            ("--token", "TEST_SETTINGS_TOKEN", "6 characters are too few"),
        ];
        assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
        for (flag, variable, reason) in expected {
            let is_told =
                |it: &&String| it.contains(flag) && it.contains(variable) && it.contains(reason);
            assert!(wrong.iter().any(|it| is_told(&it)), "{flag}: {wrong:#?}");
        }
        assert!(!wrong.concat().contains("canary"), "{wrong:#?}");
    }

    #[test]
    fn what_does_not_fit_together_is_named_beside_a_value_that_is_wrong() {
        let given = ["--place", "here", "--format", "xml"];
        let wrong = wrong(&given, &["the first", "the second"]);
        assert_eq!(wrong.len(), 3, "{wrong:#?}");
        assert_eq!(wrong[1..], ["the first", "the second"]);
        let words = in_words(&wrong);
        assert!(
            words.starts_with("error: 3 settings are wrong:\n  - invalid value"),
            "{words}"
        );
    }

    #[test]
    fn help_and_an_unknown_flag_are_answered_by_clap() {
        for given in ["--help", "--nothing"] {
            let arguments = ["test", given].map(OsString::from).to_vec();
            let refused = read::<Settings>(arguments, |_| Vec::new());
            assert!(matches!(refused, Err(Refusal::CommandLine(_))), "{given}");
        }
    }
}
