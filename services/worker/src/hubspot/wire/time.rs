//! Parses HubSpot's times to milliseconds since 1970.

use schemas::Millis;

/// Parses RFC 3339, or milliseconds since 1970 in digits.
pub(super) fn parse(text: &str) -> Option<Millis> {
    usual_form(text.as_bytes()).or_else(|| other_form(text))
}

/// Parses `2026-01-02T03:04:05.678Z` and `2026-01-02T03:04:05Z`, the forms seen in
/// practice, ten times as fast as the general parser.
fn usual_form(text: &[u8]) -> Option<Millis> {
    let (seconds, fraction) = match text {
        [seconds @ .., b'.', a, b, c, b'Z'] if seconds.len() == 19 => {
            (seconds, number(&[*a, *b, *c])?)
        }
        [seconds @ .., b'Z'] if seconds.len() == 19 => (seconds, 0),
        _ => return None,
    };
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', rest @ ..] = seconds else {
        return None;
    };
    let [h0, h1, b':', i0, i1, b':', s0, s1] = rest else {
        return None;
    };
    let year = number(&[*y0, *y1, *y2, *y3])?;
    let month = number(&[*m0, *m1])?;
    let day = number(&[*d0, *d1])?;
    let (hour, minute, second) = (
        number(&[*h0, *h1])?,
        number(&[*i0, *i1])?,
        number(&[*s0, *s1])?,
    );
    // Days and seconds whose validity depends on the calendar are left to the
    // general parser.
    let plain = (1..=12).contains(&month)
        && (1..=28).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    plain.then(|| {
        let days = days_before(year, month, day);
        (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + fraction
    })
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + i64::from(digit - b'0'))
    })
}

/// Days since 1970-01-01 in the Gregorian calendar. Years are counted from March, so
/// that the leap day is the last one.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn other_form(text: &str) -> Option<Millis> {
    if let Ok(ms) = text.parse::<i64>() {
        return Some(ms);
    }
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_parsed() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2026-01-02T03:04:05.678Z"), Some(1_767_323_045_678));
        assert_eq!(parse("2026-01-31T03:04:05Z"), Some(1_769_828_645_000));
        assert_eq!(
            parse("2026-01-02T04:04:05.6789+01:00"),
            Some(1_767_323_045_678)
        );
        assert_eq!(parse("1582416000000"), Some(1_582_416_000_000));
        assert_eq!(parse("2026-02-30T00:00:00Z"), None);
        assert_eq!(parse("yesterday"), None);
    }

    proptest! {
        #[test]
        fn the_fast_parser_agrees_with_chrono(ms in 0_i64..4_102_444_800_000) {
            let time = chrono::DateTime::from_timestamp_millis(ms).unwrap();
            let text = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            prop_assert_eq!(parse(&text), Some(ms));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
