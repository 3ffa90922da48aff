//! Which texts become values, and which stay texts.

use proptest::prelude::*;

use super::*;

#[test]
fn a_number_becomes_a_value_only_where_no_digit_is_lost() {
    for (text, expected) in [
        ("0", Parsed::Same(0.0)),
        ("1500", Parsed::Same(1500.0)),
        ("-12.5", Parsed::Same(-12.5)),
        ("0.1", Parsed::Same(0.1)),
        ("12345678901.25", Parsed::Same(12_345_678_901.25)),
        (
            "0.30000000000000004",
            Parsed::Same(0.300_000_000_000_000_04),
        ),
        ("1500.00", Parsed::Other(1500.0)),
        ("007", Parsed::Other(7.0)),
        ("-0", Parsed::Other(-0.0)),
        ("+5", Parsed::Other(5.0)),
        (".5", Parsed::Other(0.5)),
        ("1E3", Parsed::Other(1000.0)),
        ("9007199254740993", Parsed::Text),
        ("3.14159265358979323846", Parsed::Text),
        ("3092727991;3881228353", Parsed::Text),
        ("1,500", Parsed::Text),
        ("NaN", Parsed::Text),
        ("inf", Parsed::Text),
        ("1e999", Parsed::Text),
        ("-", Parsed::Text),
        (".", Parsed::Text),
        ("", Parsed::Text),
    ] {
        assert_eq!(number(text), expected, "{text}");
    }
}

#[test]
fn an_identifier_keeps_all_digits() {
    assert_eq!(
        integer("9007199254740993"),
        Parsed::Same(9_007_199_254_740_993)
    );
    assert_eq!(integer("-5"), Parsed::Same(-5));
    assert_eq!(integer("0012"), Parsed::Other(12));
    assert_eq!(integer("1.0"), Parsed::Text);
    assert_eq!(integer("99999999999999999999"), Parsed::Text);
}

#[test]
fn times_and_dates_are_parsed_in_all_their_forms() {
    let at = 1_653_696_000_000;
    assert_eq!(time("2022-05-28T00:00:00.000Z"), Parsed::Same(at));
    assert_eq!(time("2022-05-28T00:00:00Z"), Parsed::Other(at));
    assert_eq!(time("2022-05-28T02:00:00+02:00"), Parsed::Other(at));
    assert_eq!(time("2022-05-28"), Parsed::Other(at));
    assert_eq!(time("1653696000000"), Parsed::Other(at));
    assert_eq!(time("1653696000"), Parsed::Other(at));
    assert_eq!(
        time("2022-05-28T00:00:00.0001Z"),
        Parsed::Text,
        "parts of a millisecond"
    );
    assert_eq!(
        time("2022-02-30T00:00:00.000Z"),
        Parsed::Text,
        "no such day"
    );
    assert_eq!(
        time("1800-01-01T00:00:00.000Z"),
        Parsed::Text,
        "before the type begins"
    );
    assert_eq!(date("2022-05-28"), Parsed::Same(19_140));
    assert_eq!(date("1653696000000"), Parsed::Other(19_140));
    assert_eq!(date("2022-05-28T00:00:00.000Z"), Parsed::Other(19_140));
    assert_eq!(
        date("2022-05-28T00:00:01.000Z"),
        Parsed::Text,
        "not a midnight"
    );
    assert_eq!(date("28/05/2022"), Parsed::Text);
}

#[test]
fn yes_and_no_are_parsed_as_booleans() {
    assert_eq!(boolean("true"), Parsed::Same(true));
    assert_eq!(boolean("No"), Parsed::Other(false));
    assert_eq!(boolean("1"), Parsed::Text);
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
        number(&text);
        integer(&text);
        boolean(&text);
        date(&text);
        time(&text);
    }

    #[test]
    fn a_value_reported_as_the_same_prints_as_its_text(text in "-?[0-9]{1,20}(\\.[0-9]{1,12})?(e[0-9]{1,2})?") {
        match number(&text) {
            Parsed::Same(value) => prop_assert_eq!(value.to_string(), text),
            Parsed::Other(value) => {
                prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
            },
            Parsed::Text => {}
        }
    }

    #[test]
    fn the_text_of_a_double_is_reported_as_the_same(value in any::<f64>().prop_filter("finite", |v| v.is_finite() && *v != 0.0)) {
        prop_assert_eq!(number(&value.to_string()), Parsed::Same(value));
    }

    #[test]
    fn short_numbers_round_as_in_the_standard_library(whole in 0u64..1_000_000_000, fraction in 0u32..1_000_000) {
        let text = format!("{whole}.{fraction:06}");
        let expected: f64 = text.parse().unwrap();
        match number(&text) {
            Parsed::Same(value) | Parsed::Other(value) => prop_assert_eq!(value.to_bits(), expected.to_bits()),
            Parsed::Text => prop_assert!(false, "{} is a number", text),
        }
    }

    #[test]
    fn a_time_in_hubspots_form_is_reported_as_the_same(ms in TIME_RANGE_MS) {
        let text = chrono::DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        prop_assert_eq!(time(&text), Parsed::Same(ms));
        prop_assert!(matches!(date(text.get(..10).unwrap()), Parsed::Same(_)));
    }
}
