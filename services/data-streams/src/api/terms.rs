//! The headers that put a request under terms: `If-Match`, `If-None-Match` and
//! `Idempotency-Key`.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};

use super::{body::parameter, error::ApiError};
use crate::control::{Condition, ConnectionChange, Submission};

/// The header whose value names a request, so that a repeated one has no second effect.
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Maximum number of characters of such a key.
pub(super) const LONGEST_KEY: usize = 255;

/// On what terms the caller wants a command.
#[derive(Debug, Default)]
pub(super) struct Terms {
    condition: Condition,
    key: Option<String>,
}

impl Terms {
    /// A change on these terms.
    pub(super) fn submission(self, change: ConnectionChange) -> Submission {
        Submission {
            change,
            condition: self.condition,
            key: self.key,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Terms {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(Self {
            condition: condition(&parts.headers)?,
            key: key(&parts.headers)?,
        })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let allowed = |key: &&str| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|it| it.is_ascii_graphic())
    };
    match value.to_str().ok().filter(allowed) {
        Some(key) if values.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(parameter(
            IDEMPOTENCY_KEY,
            format!("must be given once, with 1 to {LONGEST_KEY} ASCII characters and no spaces"),
        )),
    }
}

fn condition(headers: &HeaderMap) -> Result<Condition, ApiError> {
    let matched = text(headers, &header::IF_MATCH)?;
    match text(headers, &header::IF_NONE_MATCH)?.as_deref() {
        None => {}
        Some("*") if matched.is_none() => return Ok(Condition::Absent),
        // No connection is there and is not.
        Some("*") => return Ok(Condition::Revision(Vec::new())),
        Some(_) => return Err(parameter("If-None-Match", "must be *")),
    }
    Ok(match matched.as_deref() {
        None => Condition::Always,
        Some("*") => Condition::Exists,
        Some(tags) => Condition::Revision(strong_tags(tags)?),
    })
}

/// All values of a header, as one list.
fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, ApiError> {
    let values = headers.get_all(name).iter().map(|it| it.to_str());
    let values: Vec<_> = values
        .collect::<Result<_, _>>()
        .map_err(|_error| parameter(name.as_str(), "must be of ASCII characters"))?;
    Ok((!values.is_empty()).then(|| values.join(",").trim().to_owned()))
}

/// What the strong ones of entity tags say. A weak one matches nothing.
fn strong_tags(tags: &str) -> Result<Vec<String>, ApiError> {
    let mut strong = Vec::new();
    for tag in tags.split(',').map(str::trim) {
        let (is_weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |it| (true, it));
        let text = tag.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let allowed = |it: &&str| it.bytes().all(|it| it.is_ascii_graphic() && it != b'"');
        match text.filter(allowed) {
            Some(_) if is_weak => {}
            Some(text) => strong.push(text.to_owned()),
            None => return Err(parameter("If-Match", "must be * or ETags in double quotes")),
        }
    }
    Ok(strong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<Condition, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        condition(&headers)
    }

    #[test]
    fn conditions_are_read_from_their_headers() {
        let revisions =
            |tags: &[&str]| Condition::Revision(tags.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(read(&[]).unwrap(), Condition::Always);
        assert_eq!(read(&[("if-match", " * ")]).unwrap(), Condition::Exists);
        assert_eq!(read(&[("if-none-match", "*")]).unwrap(), Condition::Absent);
        assert_eq!(
            read(&[("if-match", "\"a\", W/\"b\""), ("if-match", "\"c\"")]).unwrap(),
            revisions(&["a", "c"])
        );
        let both = [("if-none-match", "*"), ("if-match", "*")];
        for nothing in [&[("if-match", "W/\"b\"")][..], &both] {
            assert_eq!(read(nothing).unwrap(), revisions(&[]), "{nothing:?}");
        }
    }

    #[test]
    fn a_key_is_one_value_of_visible_characters() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, value.parse().unwrap());
            }
            key(&headers)
        };
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["a-1"]).unwrap().as_deref(), Some("a-1"));
        let too_long = "x".repeat(LONGEST_KEY + 1);
        for wrong in [&["a", "a"][..], &[""], &["a b"], &["é"], &[&too_long]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn other_values_are_refused() {
        for pairs in [
            &[("if-none-match", "\"a\"")][..],
            &[("if-match", "a")],
            &[("if-match", "")],
            &[("if-match", "\"a\" \"b\"")],
            &[("if-match", "\"")],
        ] {
            let refused = read(pairs).unwrap_err();
            assert!(
                matches!(refused, ApiError::InvalidParameter(_)),
                "{pairs:?}"
            );
        }
    }
}
