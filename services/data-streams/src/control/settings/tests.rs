//! Settings that are allowed and that are not.

use proptest::prelude::*;
use schemas::DesiredState;

use super::*;

#[test]
fn defaults_are_as_documented() {
    let command = defaults("default");
    assert_eq!(command.credential, "env:HUBSPOT_ACCESS_TOKEN");
    assert_eq!(command.streams, ["contacts", "companies"]);
    assert_eq!(format_interval(command.interval_ms), "5m");
    assert_eq!(command.destination, "hubspot");
    assert_eq!(command.state, DesiredState::Stopped);
    assert_eq!(defaults("sales").destination, "hubspot_sales");
}

#[test]
fn only_references_to_hubspot_variables_and_to_files_of_the_folder_are_allowed() {
    for reference in [
        "",
        "env:",
        "env:PATH",
        "env:HUBSPOT_",
        "env:HUBSPOT_a",
        "env:hubspot_X",
        "file:",
        "file:/etc/passwd",
        "file:../x",
        "file:a..b",
        "file:.hidden",
        "file:a/b",
        "pat-na1-x",
        "https://example.com",
        "env:HUBSPOT_X\n",
        "ENV:HUBSPOT_X",
    ] {
        let settings = ConnectionSettings {
            credential: Some(reference.to_owned()),
            ..ConnectionSettings::default()
        };
        let invalid = settings.check().remove(0);
        assert_eq!(invalid.field, "credential", "{reference}");
        // The message's own examples are not an echo of the value.
        let is_echo = reference.len() > "env:HUBSPOT_".len() && invalid.message.contains(reference);
        assert!(!is_echo, "{reference}");
    }
    for reference in ["env:HUBSPOT_ACCESS_TOKEN", "file:sales.json", "file:a-b_c"] {
        let settings = ConnectionSettings {
            credential: Some(reference.to_owned()),
            ..ConnectionSettings::default()
        };
        assert_eq!(settings.check(), [], "{reference}");
    }
}

#[test]
fn intervals_out_of_range_or_malformed_are_refused() {
    for text in [
        "",
        "5",
        "m",
        "9s",
        "0s",
        "32d",
        "31d1s",
        "-5m",
        "5 m",
        "5M",
        "1w",
        "5ms",
        "1.5h",
        "99999999999999999999d",
        "9223372036854775807d",
        "５m",
    ] {
        assert!(parse_interval("interval", text).is_err(), "{text}");
    }
    assert_eq!(parse_interval("interval", "10s"), Ok(10_000));
    assert_eq!(parse_interval("interval", "31d"), Ok(MAX_INTERVAL_MS));
    assert_eq!(parse_interval("interval", "1h30m"), Ok(5_400_000));
}

#[test]
fn names_that_cannot_be_a_key_or_a_database_are_refused() {
    for name in [
        "",
        "A",
        "1a",
        "_a",
        "a-b",
        "a/b",
        "a b",
        "ä",
        &"a".repeat(51),
    ] {
        assert!(check_name(name).is_err(), "{name}");
    }
    for name in ["a", "default", "sales_2", &"a".repeat(50)] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
}

#[test]
fn malformed_and_reserved_destinations_are_refused() {
    for name in [
        "", "a_raw", "system", "default", "Hub", "1a", "a.b", "a`b", "a-b",
    ] {
        let settings = ConnectionSettings {
            destination: Some(name.to_owned()),
            ..ConnectionSettings::default()
        };
        assert!(!settings.check().is_empty(), "{name}");
    }
}

#[test]
fn malformed_reserved_and_repeated_streams_are_refused() {
    let check = |streams: &[&str]| {
        let streams = streams.iter().map(|it| (*it).to_owned()).collect();
        ConnectionSettings {
            streams: Some(streams),
            ..ConnectionSettings::default()
        }
        .check()
    };
    for streams in [
        &[][..],
        &[""],
        &["contacts", "contacts"],
        &["a/b"],
        &["changes"],
        &["contacts_all"],
        &["a b"],
        &["`"],
        &["associations"],
        &["contacts>"],
        &[">contacts"],
        &["contacts>companies>deals"],
        &["contacts>companies", "contacts>companies"],
        &[&format!("contacts>p_{}", "a".repeat(63))],
        &[&format!("p_{0}>p_{0}", "a".repeat(50))],
    ] {
        assert!(!check(streams).is_empty(), "{streams:?}");
    }
    assert_eq!(check(&["contacts", "companies", "deals", "2-3456789"]), []);
    assert_eq!(
        check(&["contacts", "contacts>companies", "p1_cars>0-1"]),
        []
    );
}

#[test]
fn a_stream_of_associations_has_no_properties_to_choose() {
    let of = |stream: &str| {
        let selection = PropertySelection {
            stream: stream.to_owned(),
            is_exclusion: true,
            names: vec!["phone".to_owned()],
        };
        ConnectionSettings {
            properties: Some(vec![selection]),
            ..ConnectionSettings::default()
        }
        .check()
    };
    assert_eq!(of("contacts"), []);
    let refused = of("contacts>companies");
    assert_eq!(refused[0].field, "properties.contacts>companies.exclude");
}

proptest! {
    #[test]
    fn a_formatted_interval_parses_to_itself(seconds in 10i64..=31 * 86_400) {
        let interval = seconds * 1_000;
        prop_assert_eq!(parse_interval("interval", &format_interval(interval)), Ok(interval));
    }

    #[test]
    fn any_text_parses_to_an_interval_in_range_or_is_refused(text in ".{0,40}") {
        if let Ok(interval) = parse_interval("interval", &text) {
            prop_assert!((MIN_INTERVAL_MS..=MAX_INTERVAL_MS).contains(&interval));
        }
    }
}
