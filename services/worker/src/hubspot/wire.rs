//! Parses HubSpot's JSON into the types of the sync. Property values go straight
//! into their Avro encoding.

mod associations;
mod names;
mod object;
mod record_counts;
mod scan;
mod time;
mod tokens;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeSet};

use schemas::{Millis, Property};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};

pub(super) use self::{
    associations::associations,
    record_counts::record_count,
    tokens::{token, token_scopes},
};
use self::{
    object::Id,
    scan::{Scanner, Unexpected},
};
use crate::sync::{ListPage, Object, ObjectBatch, SearchPage};

/// Why an answer could not be parsed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParseError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// Not JSON, incomplete, or not of the expected form. Names the position and
    /// never quotes the text.
    #[error("not the expected JSON, at line {line} column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A batch with errors other than ids that were not found.
    #[error("the batch was read only in part")]
    Partial,
}

/// The account, from account info.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    /// HubSpot's id of the account.
    #[serde(rename = "portalId")]
    pub(super) portal_id: i64,
    /// Offset of its time zone from UTC.
    #[serde(rename = "utcOffsetMilliseconds", default)]
    pub(super) utc_offset_ms: Option<i64>,
}

/// The daily allowance, from account info.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Requests per day.
    pub(super) limit: i64,
    /// Requests used today.
    pub(super) used: i64,
    /// When HubSpot resets the counter.
    pub(super) resets_at: Option<Millis>,
}

/// A page of a search.
#[derive(Debug)]
pub(super) struct SearchAnswer {
    /// The ids, and how many match in total.
    pub(super) page: SearchPage,
    /// Cursor of the next page.
    pub(super) next: Option<String>,
}

/// An answer with objects.
#[derive(Default)]
struct Objects<'a> {
    results: Vec<Object>,
    paging: Option<Paging>,
    errors: Vec<ReadError<'a>>,
}

#[derive(Deserialize)]
struct Found {
    results: Vec<FoundId>,
    #[serde(default)]
    total: Option<i64>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct FoundId {
    id: Id,
}

#[derive(Deserialize)]
struct Paging {
    #[serde(default)]
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    after: Option<Cursor>,
}

/// A cursor: a string, but a number is accepted as well.
struct Cursor(String);

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object::text(deserializer).map(|text| Self(text.unwrap_or_default().into_owned()))
    }
}

#[derive(Deserialize)]
struct ReadError<'a> {
    #[serde(borrow, default)]
    category: Option<Cow<'a, str>>,
}

impl ReadError<'_> {
    fn is_not_found(&self) -> bool {
        self.category.as_deref() == Some("OBJECT_NOT_FOUND")
    }
}

#[derive(Deserialize)]
struct Defined {
    results: Vec<DefinedProperty>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefinedProperty {
    name: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    field_type: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    group_name: Option<String>,
    #[serde(default)]
    calculated: Option<bool>,
    #[serde(default)]
    referenced_object_type: Option<String>,
    #[serde(default)]
    archived: Option<bool>,
    #[serde(default)]
    data_sensitivity: Option<String>,
}

#[derive(Deserialize)]
struct Usages {
    #[serde(default)]
    results: Vec<UsageEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageEntry {
    #[serde(default)]
    usage_limit: Option<i64>,
    #[serde(default)]
    current_usage: Option<i64>,
    #[serde(default)]
    resets_at: Option<serde_json::Value>,
}

/// Parses a page of the list.
pub(super) fn list_page(body: &[u8]) -> Result<ListPage, ParseError> {
    let page = objects(body)?;
    Ok(ListPage {
        objects: page.results,
        next: next_of(page.paging),
    })
}

/// Parses a page of a search and the cursor of the next one. Drops ids that are not
/// above `after_id`, as the search index can return rows outside the filter.
pub(super) fn search_page(body: &[u8], after_id: i64) -> Result<SearchAnswer, ParseError> {
    let found: Found = parse(body)?;
    let mut ids: Vec<i64> = found.results.iter().map(|found| found.id.0).collect();
    ids.retain(|id| *id > after_id);
    ids.sort_unstable();
    ids.dedup();
    let total = found
        .total
        .unwrap_or_else(|| i64::try_from(ids.len()).unwrap_or(i64::MAX));
    let next = next_of(found.paging);
    let more = next.is_some();
    let page = SearchPage { ids, total, more };
    Ok(SearchAnswer { page, next })
}

/// Parses a batch read. Objects have the id of the answer, which for a merged object
/// is not the requested one.
pub(super) fn batch(body: &[u8], asked: &[i64]) -> Result<ObjectBatch, ParseError> {
    let read = objects(body)?;
    // An id that is missing for any other reason would be taken for deleted.
    if !read.errors.iter().all(ReadError::is_not_found) {
        return Err(ParseError::Partial);
    }
    let mut objects = read.results;
    let mut seen = std::collections::HashSet::with_capacity(objects.len());
    objects.retain(|object| seen.insert(object.id));
    let missing = asked
        .iter()
        .copied()
        .filter(|id| !seen.contains(id))
        .collect();
    Ok(ObjectBatch { objects, missing })
}

/// Parses the read of one object, which may answer with the winner of a merge.
pub(super) fn one(body: &[u8], asked: i64) -> Result<ObjectBatch, ParseError> {
    let wrapped = [br#"{"results":["#, body, b"]}"].concat();
    batch(&wrapped, &[asked])
}

/// Parses the properties of an object type, without archived ones.
pub(super) fn properties(body: &[u8]) -> Result<Vec<Property>, ParseError> {
    let defined: Defined = parse(body)?;
    let present = defined
        .results
        .into_iter()
        .filter(|property| property.archived != Some(true));
    Ok(present.map(Property::from).collect())
}

/// Parses the properties of one sensitivity. A server that does not know the parameter
/// answers with others, which are left out.
pub(super) fn properties_of(body: &[u8], sensitivity: &str) -> Result<Vec<Property>, ParseError> {
    let defined: Defined = parse(body)?;
    let of_kind = defined.results.into_iter().filter(|property| {
        property.archived != Some(true) && property.data_sensitivity.as_deref() == Some(sensitivity)
    });
    Ok(of_kind.map(Property::from).collect())
}

/// The names of the properties that the first object of a page has a value of; `None` if
/// the page is empty.
pub(super) fn first_with_values(body: &[u8]) -> Result<Option<BTreeSet<String>>, ParseError> {
    #[derive(Deserialize)]
    struct Page {
        results: Vec<Found>,
    }
    #[derive(Deserialize)]
    struct Found {
        properties: serde_json::Map<String, serde_json::Value>,
    }
    let page: Page = parse(body)?;
    let first = page.results.into_iter().next();
    let has_value = |(name, value): (String, serde_json::Value)| (!value.is_null()).then_some(name);
    Ok(first.map(|it| it.properties.into_iter().filter_map(has_value).collect()))
}

/// Parses account details.
pub(super) fn account(body: &[u8]) -> Result<Account, ParseError> {
    parse(body)
}

/// Parses the daily allowance. `None` if the answer has none.
pub(super) fn usage(body: &[u8]) -> Result<Option<Usage>, ParseError> {
    let usages: Usages = parse(body)?;
    Ok(usages.results.into_iter().find_map(|entry| {
        Some(Usage {
            limit: entry.usage_limit?,
            used: entry.current_usage.unwrap_or(0),
            resets_at: match entry.resets_at? {
                serde_json::Value::String(text) => time::parse(&text),
                serde_json::Value::Number(number) => number.as_i64(),
                _ => None,
            },
        })
    }))
}

fn next_of(paging: Option<Paging>) -> Option<String> {
    let after = paging?.next?.after?.0;
    (!after.is_empty()).then_some(after)
}

/// Parses an answer with objects, the only one that is not parsed by serde: it is
/// nearly all of the bytes.
fn objects(body: &[u8]) -> Result<Objects<'_>, ParseError> {
    let text = std::str::from_utf8(body).map_err(ParseError::NotUtf8)?;
    let mut scanner = Scanner::new(text);
    let mut answer = Objects::default();
    let mut has_results = false;
    scanner
        .members(|scanner, name| {
            match name {
                "results" => {
                    answer.results = object::objects(scanner)?;
                    has_results = true;
                }
                "paging" => answer.paging = scanner.value()?,
                "errors" => answer.errors = scanner.value()?,
                _ => {
                    scanner.value::<IgnoredAny>()?;
                }
            }
            Ok(())
        })
        .and_then(|()| scanner.end())
        .and_then(|()| has_results.then_some(()).ok_or(scanner.unexpected()))
        .map_err(|Unexpected(at)| error_at(text, at))?;
    Ok(answer)
}

/// The error at a byte, as line and column.
fn error_at(text: &str, at: usize) -> ParseError {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    ParseError::Json {
        line: before.matches('\n').count() + 1,
        column: at - line_start + 1,
    }
}

/// Checks the whole body for UTF-8 once, which is faster than each string by itself.
fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, ParseError> {
    let text = std::str::from_utf8(body).map_err(ParseError::NotUtf8)?;
    serde_json::from_str(text).map_err(|error| located(&error))
}

fn owned<T: DeserializeOwned>(body: &[u8]) -> Result<T, ParseError> {
    serde_json::from_slice(body).map_err(|error| located(&error))
}

/// Keeps the position only, as serde's message can quote a value.
fn located(error: &serde_json::Error) -> ParseError {
    ParseError::Json {
        line: error.line(),
        column: error.column(),
    }
}

impl From<DefinedProperty> for Property {
    fn from(defined: DefinedProperty) -> Self {
        Self {
            name: defined.name,
            kind: defined.kind.unwrap_or_else(|| "string".to_owned()),
            field_type: defined.field_type.unwrap_or_default(),
            label: defined.label.unwrap_or_default(),
            description: defined.description.unwrap_or_default(),
            group_name: defined.group_name.unwrap_or_default(),
            calculated: defined.calculated.unwrap_or_default(),
            referenced_object_type: defined.referenced_object_type,
            gone: false,
            volatile: false,
        }
    }
}
