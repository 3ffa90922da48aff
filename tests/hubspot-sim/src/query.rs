//! The search engine: filters, one sort rule, paging by offset. Does no I/O.

mod filter;

use std::{borrow::Cow, cell::LazyCell};

use serde::Deserialize;

use crate::{
    definitions::Source,
    query::filter::{Operand, Operator, Test},
    record::Record,
    share::Share,
    table::Table,
};

/// The highest row that a query can be paged to.
const RESULT_CAP: usize = 10_000;

/// The body of a search.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SearchBody {
    filter_groups: Vec<Group>,
    /// The old form: a single group at the top level.
    filters: Vec<Filter>,
    sorts: Vec<Sort>,
    query: Option<String>,
    pub(crate) properties: Vec<String>,
    limit: Option<usize>,
    after: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Group {
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    property_name: String,
    operator: String,
    value: Option<serde_json::Value>,
    high_value: Option<serde_json::Value>,
    values: Vec<serde_json::Value>,
}

/// A sort rule: a string in the specification, an object from clients.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Sort {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Rule {
        property_name: String,
        #[serde(default)]
        direction: String,
    },
}

/// Why a search is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("Property \"{0}\" does not exist")]
    NoSuchProperty(String),
    #[error("{0}")]
    Invalid(String),
    /// HubSpot fails for times before 1970-01-01T00:00:01Z.
    #[error("internal error")]
    EpochZero,
}

/// One page of a search: ids with last-modified (ms) as in the index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) total: usize,
    pub(crate) rows: Vec<(u64, i64)>,
    /// Offset of the next page, if there is one.
    pub(crate) next: Option<usize>,
}

/// Quirks of a page.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct PageQuirks {
    /// How far outside a last-modified window rows are returned too, in ms.
    pub(crate) slop_ms: i64,
    /// Whether the page is short although more rows follow.
    pub(crate) short: bool,
    /// The share of the objects that is found; `None` is all.
    pub(crate) view: Option<Share>,
}

/// Runs a search on the index of a type.
pub(crate) fn run(table: &Table, body: &SearchBody, odd: PageQuirks) -> Result<Found, Refused> {
    let limit = body.limit.unwrap_or(10);
    let offset = offset(body)?;
    if limit > 200 {
        return Err(invalid("limit must not be greater than 200"));
    }
    if offset + limit > RESULT_CAP {
        return Err(invalid(
            "The maximum number of results that can be paged through is 10000",
        ));
    }
    let mut groups = body.filter_groups.clone();
    if !body.filters.is_empty() {
        groups.push(Group {
            filters: body.filters.clone(),
        });
    }
    if groups.len() > 5 || groups.iter().any(|it| it.filters.len() > 6) {
        return Err(invalid(
            "at most 5 filter groups with 6 filters each are allowed",
        ));
    }
    if groups.iter().map(|it| it.filters.len()).sum::<usize>() > 18 {
        return Err(invalid("at most 18 filters are allowed"));
    }
    let order = order(table, body)?;
    // `None` is a group that matches nothing.
    let mut tests: Vec<Option<Vec<Test<'_>>>> = Vec::new();
    for group in &groups {
        tests.push(filter::prepare(table, group)?);
    }
    let (low, high) = bounds(&tests, odd.slop_ms);
    let by_id = order.is_some_and(|it| it.source == Source::Id);
    let window = table.index.window(low, high);
    let mut rows: Vec<(u64, i64)> = window
        .get(window.partition_point(|(id, _)| *id < first_id(&tests))..)
        .unwrap_or_default()
        .iter()
        .filter(|(id, _)| odd.view.is_none_or(|view| view.holds(*id)))
        .filter(|&&(id, ms)| matches(table, body, &tests, (id, ms, odd.slop_ms)))
        .copied()
        .collect();
    // The window is ordered by id.
    if by_id && order.is_some_and(|it| it.descending) {
        rows.reverse();
    } else if !by_id {
        sort(table, &mut rows, order);
    }
    Ok(page(rows, offset, limit, odd.short))
}

/// The lowest id that can match: the start of a client's keyset page.
fn first_id(tests: &[Option<Vec<Test<'_>>>]) -> u64 {
    let lowest = |group: &Vec<Test<'_>>| {
        let limits = group
            .iter()
            .filter(|test| test.definition.source == Source::Id);
        limits
            .filter_map(|test| match (test.operator, test.values.first()) {
                (Operator::Gt | Operator::Gte, Some(Operand::Whole(id))) => u64::try_from(*id).ok(),
                _ => None,
            })
            .max()
            .unwrap_or(0)
    };
    tests.iter().flatten().map(lowest).min().unwrap_or(0)
}

fn matches(
    table: &Table,
    body: &SearchBody,
    tests: &[Option<Vec<Test<'_>>>],
    (id, modified_ms, slop_ms): (u64, i64, i64),
) -> bool {
    // Read only for a filter that needs more than the index has.
    let record = LazyCell::new(|| table.live.get(&id).or_else(|| table.archived.get(&id)));
    let group_matches = |group: &Option<Vec<Test<'_>>>| {
        let all = |tests: &Vec<Test<'_>>| {
            tests
                .iter()
                .all(|test| test.matches((id, modified_ms), &record, slop_ms))
        };
        group.as_ref().is_some_and(all)
    };
    let query = body.query.as_deref().filter(|query| !query.is_empty());
    (tests.is_empty() || tests.iter().any(group_matches))
        && query.is_none_or(|query| record.is_some_and(|record| mentions(record, query)))
}

fn page(rows: Vec<(u64, i64)>, offset: usize, limit: usize, short: bool) -> Found {
    let total = rows.len();
    let mut taken = limit.min(total.saturating_sub(offset));
    if short && taken > 1 && offset + taken < total {
        taken /= 2;
    }
    let next = offset + taken;
    Found {
        total,
        rows: rows.into_iter().skip(offset).take(taken).collect(),
        next: (next < total && taken > 0).then_some(next),
    }
}

fn offset(body: &SearchBody) -> Result<usize, Refused> {
    match &body.after {
        None | Some(serde_json::Value::Null) => Ok(0),
        Some(after) => {
            let text = plain(after);
            if text.is_empty() {
                return Ok(0);
            }
            text.parse()
                .map_err(|_not_a_number| invalid("after must be a number"))
        }
    }
}

/// The smallest window that contains all groups, to read no more of the index.
fn bounds(tests: &[Option<Vec<Test<'_>>>], slop_ms: i64) -> (i64, i64) {
    let mut all: Option<(i64, i64)> = None;
    for group in tests.iter().flatten() {
        let (mut low, mut high) = (i64::MIN, i64::MAX);
        for test in group
            .iter()
            .filter(|test| test.definition.source == Source::Modified)
        {
            let whole = |slot: usize| match test.values.get(slot) {
                Some(Operand::Whole(ms)) => i64::try_from(*ms).ok(),
                _ => None,
            };
            let (from, to) = match test.operator {
                Operator::Gt | Operator::Gte => (whole(0), None),
                Operator::Lt | Operator::Lte => (None, whole(0)),
                Operator::Eq => (whole(0), whole(0)),
                Operator::Between => (whole(0), whole(1)),
                _ => (None, None),
            };
            low = low.max(from.map_or(i64::MIN, |ms| ms.saturating_sub(slop_ms)));
            high = high.min(to.map_or(i64::MAX, |ms| ms.saturating_add(slop_ms)));
        }
        all = Some(all.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
    }
    match all {
        Some(bounds) => bounds,
        None if tests.is_empty() => (i64::MIN, i64::MAX),
        None => (1, 0),
    }
}

#[derive(Clone, Copy)]
struct Order {
    slot: u16,
    source: Source,
    descending: bool,
}

fn order(table: &Table, body: &SearchBody) -> Result<Option<Order>, Refused> {
    if body.sorts.len() > 1 {
        return Err(invalid("only one sort rule is allowed"));
    }
    let Some(sort) = body.sorts.first() else {
        return Ok(None);
    };
    let (name, descending) = match sort {
        Sort::Name(name) => (name.trim_start_matches('-'), name.starts_with('-')),
        Sort::Rule {
            property_name,
            direction,
        } => (property_name.as_str(), direction == "DESCENDING"),
    };
    let (slot, definition) = table
        .definitions
        .active(name)
        .ok_or_else(|| Refused::NoSuchProperty(name.to_owned()))?;
    Ok(Some(Order {
        slot,
        source: definition.source,
        descending,
    }))
}

fn sort(table: &Table, rows: &mut [(u64, i64)], order: Option<Order>) {
    let created = |id: u64| table.live.get(&id).map_or(0, |record| record.created_ms);
    let Some(order) = order else {
        rows.sort_by_cached_key(|(id, _)| (created(*id), *id));
        return;
    };
    match order.source {
        Source::Id => rows.sort_unstable(),
        Source::Modified => rows.sort_unstable_by_key(|&(id, ms)| (ms, id)),
        Source::Created => rows.sort_by_cached_key(|(id, _)| (created(*id), *id)),
        Source::Stored | Source::ReadTime => rows.sort_by_cached_key(|(id, _)| {
            let record = table.live.get(id);
            record
                .and_then(|it| it.values.get(order.slot))
                .unwrap_or("")
                .to_owned()
        }),
    }
    if order.descending {
        rows.reverse();
    }
}

fn mentions(record: &Record, query: &str) -> bool {
    let query = query.to_lowercase();
    record
        .values
        .iter()
        .any(|(_, value)| value.to_lowercase().contains(&query))
}

fn plain(value: &serde_json::Value) -> Cow<'_, str> {
    match value {
        serde_json::Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn invalid(message: &str) -> Refused {
    Refused::Invalid(message.to_owned())
}

#[cfg(test)]
mod tests;
