//! Parses HubSpot's texts into the values of typed columns.
//!
//! HubSpot sends every value as text. A column gets a value only where nothing is
//! lost. Where the value would print differently, the text is stored too.

/// A text parsed as a value of type `T`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Parsed<T> {
    /// The value prints as the same text.
    Same(T),
    /// The value prints as another text (`1.50` as `1.5`): the text is stored too.
    Other(T),
    /// Not a value of this type, or one that would lose digits: only the text is
    /// stored.
    Text,
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The range of `DateTime64(3)`: 1900-01-01 to 2299-12-31.
pub(crate) const TIME_RANGE_MS: std::ops::RangeInclusive<i64> =
    -2_208_988_800_000..=10_413_791_999_999;

/// In a date or time, numbers up to this one are epoch seconds, larger ones epoch
/// milliseconds. 100,000,000,000 s is the year 5138; as milliseconds it is March
/// 1973, before HubSpot existed.
const LAST_EPOCH_SECOND: i64 = 99_999_999_999;

/// Parses a whole number.
pub(crate) fn integer(text: &str) -> Parsed<i64> {
    match text.parse::<i64>() {
        Ok(value) if is_plain_integer(text) => Parsed::Same(value),
        Ok(value) => Parsed::Other(value),
        Err(_) => Parsed::Text,
    }
}

/// No plus sign, no leading zeros, no negative zero.
fn is_plain_integer(text: &str) -> bool {
    match text.as_bytes() {
        [b'0'] => true,
        [b'-', first, ..] | [first, ..] => (b'1'..=b'9').contains(first),
        [] => false,
    }
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Parses a number as a double.
pub(crate) fn number(text: &str) -> Parsed<f64> {
    short_number(text).unwrap_or_else(|| long_number(text))
}

/// The common case: at most 15 digits in plain notation, which a double always
/// preserves. Mantissa and power of ten are exact, so that a single division
/// rounds once and correctly. `None` for any other notation.
fn short_number(text: &str) -> Option<Parsed<f64>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.as_bytes()),
        None => (false, text.as_bytes()),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa = 0u64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() && at > 0 => point = Some(at),
            _ => return None,
        }
    }
    let places = point.map_or(0, |at| digits.len() - at - 1);
    let count = digits.len() - usize::from(point.is_some());
    if count > 15 || (point.is_some() && places == 0) {
        return None;
    }
    let leads_with_zero = digits.first() == Some(&b'0') && digits.len() > 1 && point != Some(1);
    let ends_with_zero = point.is_some() && digits.last() == Some(&b'0');
    #[expect(clippy::cast_precision_loss, reason = "15 digits are below 2^53")]
    let value = mantissa as f64 / POWERS.get(places).copied()?;
    if leads_with_zero || ends_with_zero || (negative && mantissa == 0) {
        return Some(Parsed::Other(if negative { -value } else { value }));
    }
    Some(Parsed::Same(if negative { -value } else { value }))
}

/// Any other notation: a value only where the shortest text of the double has the
/// same digits and the same exponent.
fn long_number(text: &str) -> Parsed<f64> {
    let numeric = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let Some(value) = text
        .parse::<f64>()
        .ok()
        .filter(|value| numeric && value.is_finite())
    else {
        return Parsed::Text;
    };
    let printed = value.to_string();
    if printed == text {
        return Parsed::Same(value);
    }
    match (decimal(text), decimal(&printed)) {
        (Some(sent), Some(kept)) if sent == kept => Parsed::Other(value),
        _ => Parsed::Text,
    }
}

/// Sign, digits without zeros at either end, and the power of ten of the last
/// digit.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - trimmed.len()).ok()?;
    let significant = trimmed.trim_start_matches('0').to_owned();
    if significant.is_empty() {
        return Some((false, significant, 0));
    }
    Some((
        negative,
        significant,
        exponent - i64::try_from(fraction.len()).ok()? + dropped,
    ))
}

/// Parses `true` or `false`. HubSpot has also sent `Yes` and `No`.
pub(crate) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "true" => Parsed::Same(true),
        "false" => Parsed::Same(false),
        _ if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("yes") => {
            Parsed::Other(true)
        }
        _ if text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("no") => {
            Parsed::Other(false)
        }
        _ => Parsed::Text,
    }
}

/// Parses a date into days since 1970-01-01: `2026-01-02`, or a time at midnight.
pub(crate) fn date(text: &str) -> Parsed<i32> {
    let in_days = |ms: i64| {
        let fits = TIME_RANGE_MS.contains(&ms) && ms.rem_euclid(DAY_MS) == 0;
        i32::try_from(ms.div_euclid(DAY_MS)).ok().filter(|_| fits)
    };
    if let Some(ms) = iso_day(text.as_bytes()) {
        return in_days(ms).map_or(Parsed::Text, Parsed::Same);
    }
    match time(text) {
        Parsed::Same(ms) | Parsed::Other(ms) => in_days(ms).map_or(Parsed::Text, Parsed::Other),
        Parsed::Text => Parsed::Text,
    }
}

/// Parses a time into milliseconds since 1970: `2026-01-02T03:04:05.678Z`, any
/// other RFC 3339 time in whole milliseconds, a date, or epoch seconds or
/// milliseconds.
pub(crate) fn time(text: &str) -> Parsed<i64> {
    let parsed = iso_time(text.as_bytes())
        .map(Parsed::Same)
        .or_else(|| iso_day(text.as_bytes()).map(Parsed::Other))
        .or_else(|| epoch(text).map(Parsed::Other))
        .or_else(|| rfc3339(text).map(Parsed::Other))
        .unwrap_or(Parsed::Text);
    match parsed {
        Parsed::Same(ms) | Parsed::Other(ms) if TIME_RANGE_MS.contains(&ms) => parsed,
        _ => Parsed::Text,
    }
}

fn epoch(text: &str) -> Option<i64> {
    if !is_plain_integer(text) {
        return None;
    }
    let value: i64 = text.parse().ok()?;
    if value.abs() <= LAST_EPOCH_SECOND {
        value.checked_mul(1_000)
    } else {
        Some(value)
    }
}

fn rfc3339(text: &str) -> Option<i64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    let whole = time.timestamp_subsec_nanos() % 1_000_000 == 0;
    Some(time.timestamp_millis()).filter(|_| whole)
}

/// Parses exactly `YYYY-MM-DDThh:mm:ss.SSSZ`. Written by hand because it is the
/// common case and a record has several.
fn iso_time(text: &[u8]) -> Option<i64> {
    let (day, rest) = text.split_at_checked(10)?;
    let &[
        b'T',
        h1,
        h2,
        b':',
        m1,
        m2,
        b':',
        s1,
        s2,
        b'.',
        f1,
        f2,
        f3,
        b'Z',
    ] = rest
    else {
        return None;
    };
    let hours = digits(&[h1, h2])?;
    let minutes = digits(&[m1, m2])?;
    let seconds = digits(&[s1, s2])?;
    let millis = digits(&[f1, f2, f3])?;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(iso_day(day)? + ((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis)
}

/// Parses exactly `YYYY-MM-DD` into the milliseconds of its midnight; `None` for a
/// day that does not exist.
fn iso_day(text: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return None;
    };
    let year = digits(&[y1, y2, y3, y4])?;
    let month = digits(&[m1, m2])?;
    let day = digits(&[d1, d2])?;
    let date = chrono::NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    Some(
        date.signed_duration_since(chrono::NaiveDate::default())
            .num_days()
            * DAY_MS,
    )
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0i64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests;
