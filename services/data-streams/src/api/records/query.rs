//! The parameters of a request for records, and the token of the next page.

use axum::http::Uri;

use super::super::{
    body::{refuse_all, time},
    error::ApiError,
};
use crate::{
    control::Invalid,
    records::{FlagFilter, RecordQuery},
};

/// Maximum number of records of a page.
pub(in crate::api) const MAX_LIMIT: usize = 1_000;
pub(in crate::api) const DEFAULT_LIMIT: usize = 100;
/// Maximum number of ids in a request.
const MAX_IDS: usize = 1_000;

/// The token of the page after `id`. `k1` is its version.
pub(super) fn token(id: u64) -> String {
    format!("k1{id:016x}")
}

/// The header `Link` to the page with this `after`, for the page at `uri`.
pub(super) fn next_link(uri: &Uri, after: &str) -> String {
    format!("<{}>; rel=\"next\"", next_address(uri, after))
}

fn next_address(uri: &Uri, after: &str) -> String {
    let parameters = uri.query().unwrap_or_default().split('&');
    let kept = parameters.filter(|it| !it.is_empty() && !it.starts_with("after="));
    let mut address = format!("{}?after={after}", uri.path());
    for parameter in kept {
        address.push('&');
        address.push_str(parameter);
    }
    address
}

fn parse_token(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("k1").filter(|it| it.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Reads the parameters of a request for records.
pub(super) fn query(pairs: Vec<(String, String)>) -> Result<RecordQuery, ApiError> {
    let mut query = RecordQuery {
        limit: DEFAULT_LIMIT,
        ..RecordQuery::default()
    };
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for (name, value) in pairs {
        let taken = if seen.contains(&name) {
            Err(Invalid::new(&name, "is given twice"))
        } else {
            take(&mut query, &name, &value)
        };
        wrong.extend(taken.err());
        seen.push(name);
    }
    refuse_all(wrong, ApiError::InvalidParameter)?;
    Ok(query)
}

/// Reads one parameter.
fn take(query: &mut RecordQuery, name: &str, value: &str) -> Result<(), Invalid> {
    match name {
        "limit" => query.limit = limit(value, MAX_LIMIT)?,
        "after" => {
            let id = parse_token(value).ok_or_else(|| {
                Invalid::new("after", "must be the paging.next.after of an earlier page")
            })?;
            query.after = Some(id);
        }
        "properties" => query.properties = Some(property_names(value)?),
        "updated_since" => query.updated_since = Some(time("updated_since", value)?),
        "updated_before" => query.updated_before = Some(time("updated_before", value)?),
        "synced_since" => query.synced_since = Some(time("synced_since", value)?),
        "archived" => query.archived = flag("archived", value)?,
        "deleted" => query.deleted = flag("deleted", value)?,
        "ids" => query.ids = Some(ids(value)?),
        _ => {
            return Err(unknown_parameter(
                name,
                "limit, after, properties, updated_since, updated_before, synced_since, archived, \
                 deleted, ids",
            ));
        }
    }
    Ok(())
}

/// The answer to one wrong parameter.
pub(in crate::api) fn refused_parameter(invalid: Invalid) -> ApiError {
    ApiError::InvalidParameter(invalid.into())
}

/// The error of a parameter that the address does not have.
pub(in crate::api) fn unknown_parameter(name: &str, known: &str) -> Invalid {
    Invalid::new(
        name.chars().take(64).collect::<String>(),
        format!("is not a parameter of this address; known are {known}"),
    )
}

/// Reads the number of results of a page.
pub(in crate::api) fn limit(value: &str, max: usize) -> Result<usize, Invalid> {
    value
        .parse()
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| Invalid::new("limit", format!("must be a number from 1 to {max}")))
}

fn flag(name: &str, value: &str) -> Result<FlagFilter, Invalid> {
    match value {
        "false" => Ok(FlagFilter::Exclude),
        "true" => Ok(FlagFilter::Only),
        "any" => Ok(FlagFilter::Include),
        _ => Err(Invalid::new(name, "must be false, true or any")),
    }
}

fn property_names(value: &str) -> Result<Vec<String>, Invalid> {
    let names: Vec<_> = value.split(',').map(|it| it.trim().to_owned()).collect();
    if names.len() > 2_000 || names.iter().any(|it| it.is_empty() || it.len() > 255) {
        return Err(Invalid::new(
            "properties",
            "must be names of properties, comma-separated",
        ));
    }
    Ok(names)
}

fn ids(value: &str) -> Result<Vec<u64>, Invalid> {
    let wrong = || {
        Invalid::new(
            "ids",
            format!("must be 1 to {MAX_IDS} object ids, comma-separated"),
        )
    };
    let mut ids = value
        .split(',')
        .map(|it| it.trim().parse::<u64>().map_err(|_error| wrong()))
        .collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > MAX_IDS {
        Err(wrong())
    } else {
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(name: &str, value: &str) -> String {
        match query(vec![(name.to_owned(), value.to_owned())]).unwrap_err() {
            ApiError::InvalidParameter(wrong) => wrong.first.field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_bad_parameter_is_refused_with_its_name() {
        for (name, value) in [
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "-1"),
            ("limit", "ten"),
            ("after", "1001"),
            ("after", "k1"),
            ("after", "k100000000000003eZ"),
            ("properties", ""),
            ("properties", "a,,b"),
            ("updated_since", "2026-01-01"),
            ("updated_before", "now"),
            ("archived", "yes"),
            ("deleted", "1"),
            ("synced_since", "today"),
            ("ids", ""),
            ("ids", "1,x"),
            ("ids", "-1"),
            ("offset", "1"),
        ] {
            assert_eq!(refused(name, value), name, "{value}");
        }
    }

    #[test]
    fn parameters_become_a_query() {
        let pairs = [
            ("limit", "1000"),
            ("properties", "email, firstname"),
            ("archived", "any"),
            ("deleted", "true"),
            ("synced_since", "1970-01-01T00:00:02Z"),
            ("ids", "3,1,3"),
            ("updated_since", "1970-01-01T00:00:01Z"),
        ];
        let read = query(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()).unwrap();
        assert_eq!(read.limit, 1_000);
        assert_eq!(read.properties.unwrap(), ["email", "firstname"]);
        assert_eq!(read.archived, FlagFilter::Include);
        assert_eq!(read.deleted, FlagFilter::Only);
        assert_eq!(read.synced_since, Some(2_000));
        assert_eq!(read.ids.unwrap(), [1, 3]);
        assert_eq!(read.updated_since, Some(1_000));
    }

    #[test]
    fn the_next_page_has_the_parameters_of_this_one() {
        let next = |uri: &str| next_address(&uri.parse().unwrap(), &token(5));
        let token = token(5);
        assert_eq!(next("/a"), format!("/a?after={token}"));
        assert_eq!(
            next("/a?limit=1&after=k1&ids=1%2C2"),
            format!("/a?after={token}&limit=1&ids=1%2C2")
        );
    }

    proptest! {
        #[test]
        fn a_token_parses_to_its_id(id in any::<u64>()) {
            prop_assert_eq!(parse_token(&token(id)), Some(id));
        }

        #[test]
        fn any_text_is_a_valid_token_or_refused(text in ".{0,30}") {
            prop_assert!(parse_token(&text).is_none_or(|id| token(id) == text));
        }
    }
}
