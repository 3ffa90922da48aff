//! Every setting that cannot be.

use proptest::prelude::*;

use super::*;

#[test]
fn defaults_are_the_promised_ones() {
    let command = defaults("default");
    assert_eq!(command.credential, "env:HUBSPOT_ACCESS_TOKEN");
    assert_eq!(command.streams, ["contacts", "companies"]);
    assert_eq!(format_interval(command.interval_ms), "5m");
    assert_eq!(command.destination, "hubspot");
    assert_eq!(command.state, DesiredState::Stopped);
    assert_eq!(defaults("sales").destination, "hubspot_sales");
}

#[test]
fn references_that_could_send_a_file_away_are_refused() {
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
        let settings = Settings {
            credential: Some(reference.to_owned()),
            ..Settings::default()
        };
        let invalid = settings.check().unwrap_err();
        assert_eq!(invalid.field, "credential", "{reference}");
        // What the message itself says by way of an example is no echo.
        let is_echo = reference.len() > "env:HUBSPOT_".len() && invalid.message.contains(reference);
        assert!(!is_echo, "{reference}");
    }
    for reference in ["env:HUBSPOT_ACCESS_TOKEN", "file:sales.json", "file:a-b_c"] {
        let settings = Settings {
            credential: Some(reference.to_owned()),
            ..Settings::default()
        };
        assert_eq!(settings.check(), Ok(()), "{reference}");
    }
}

#[test]
fn intervals_out_of_range_or_out_of_form_are_refused() {
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
        assert!(parse_interval(text).is_err(), "{text}");
    }
    assert_eq!(parse_interval("10s"), Ok(10_000));
    assert_eq!(parse_interval("31d"), Ok(MAX_INTERVAL_MS));
    assert_eq!(parse_interval("1h30m"), Ok(5_400_000));
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
fn destinations_that_could_collide_are_refused() {
    for name in [
        "", "a_raw", "system", "default", "Hub", "1a", "a.b", "a`b", "a-b",
    ] {
        let settings = Settings {
            destination: Some(name.to_owned()),
            ..Settings::default()
        };
        assert!(settings.check().is_err(), "{name}");
    }
}

#[test]
fn streams_are_named_once_and_rightly() {
    let check = |streams: &[&str]| {
        let streams = streams.iter().map(|it| (*it).to_owned()).collect();
        Settings {
            streams: Some(streams),
            ..Settings::default()
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
    ] {
        assert!(check(streams).is_err(), "{streams:?}");
    }
    assert_eq!(
        check(&["contacts", "companies", "deals", "2-3456789"]),
        Ok(())
    );
}

proptest! {
    #[test]
    fn an_interval_is_read_as_it_is_written(seconds in 10i64..=31 * 86_400) {
        let interval = seconds * 1_000;
        prop_assert_eq!(parse_interval(&format_interval(interval)), Ok(interval));
    }

    #[test]
    fn no_text_makes_the_parser_fail_otherwise_than_by_its_answer(text in ".{0,40}") {
        if let Ok(interval) = parse_interval(&text) {
            prop_assert!((MIN_INTERVAL_MS..=MAX_INTERVAL_MS).contains(&interval));
        }
    }
}
