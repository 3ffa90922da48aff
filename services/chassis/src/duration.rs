//! Durations as people write them in settings: `500ms`, `15s`, `5m`, `1h30m`,
//! `1d`.

use std::time::Duration;

const MS: u64 = 1;
const SECOND: u64 = 1_000;

fn unit_ms(name: &str) -> Option<u64> {
    Some(match name {
        "ms" => MS,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 24 * 3_600 * SECOND,
        _ => return None,
    })
}

/// Parses whole numbers with ms, s, m, h or d. The sum must be above 0.
pub fn parse(text: &str) -> Result<Duration, String> {
    sum_ms(text)
        .filter(|ms| *ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            "a whole number with ms, s, m, h or d is needed, such as 5m, and not 0".to_owned()
        })
}

/// As [`parse`], but takes a number without a unit for seconds, and allows 0.
pub fn or_seconds(text: &str) -> Result<Duration, String> {
    or_unit(text, SECOND, "seconds")
}

/// As [`parse`], but takes a number without a unit for milliseconds, and allows
/// 0.
pub fn or_milliseconds(text: &str) -> Result<Duration, String> {
    or_unit(text, MS, "milliseconds")
}

fn or_unit(text: &str, default_ms: u64, unit: &str) -> Result<Duration, String> {
    let number: Option<u64> = text.parse().ok();
    number
        .map_or_else(|| sum_ms(text), |number| number.checked_mul(default_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!("a whole number with ms, s, m, h or d is needed, such as 5m, or of {unit}")
        })
}

/// The sum of numbers with units, in ms.
fn sum_ms(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, next) = after.split_at_checked(letters)?;
        let part = number.parse::<u64>().ok()?.checked_mul(unit_ms(unit)?)?;
        total = total.checked_add(part)?;
        if next.is_empty() {
            return Some(total);
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_parts_are_added() {
        for (text, ms) in [
            ("500ms", 500),
            ("15s", 15_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
        ] {
            let expected = Ok(Duration::from_millis(ms));
            assert_eq!(parse(text), expected, "{text}");
            assert_eq!(or_seconds(text), expected, "{text}");
            assert_eq!(or_milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn a_number_alone_has_the_unit_of_its_setting_or_none() {
        assert!(parse("8").is_err());
        assert_eq!(or_seconds("8"), Ok(Duration::from_secs(8)));
        assert_eq!(or_milliseconds("8"), Ok(Duration::from_millis(8)));
    }

    #[test]
    fn zero_is_allowed_only_where_a_limit_may_be_0() {
        assert!(parse("0s").is_err());
        assert_eq!(or_seconds("0"), Ok(Duration::ZERO));
        assert_eq!(or_milliseconds("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn malformed_and_too_large_durations_are_refused() {
        for wrong in [
            "",
            "m",
            "1 h",
            "-1s",
            "1x",
            "1.5h",
            "1h30",
            "5 m",
            "99999999999999999999d",
            "18446744073709551615s",
            "1ä",
        ] {
            for parse in [parse, or_seconds, or_milliseconds] {
                assert!(parse(wrong).is_err(), "{wrong}");
            }
        }
    }
}
