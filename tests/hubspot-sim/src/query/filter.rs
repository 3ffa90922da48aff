//! The filters of a search.

use std::cell::LazyCell;

use super::{Group, Refused, invalid, plain};
use crate::{
    definitions::{Definition, Source},
    record::Record,
    table::Table,
    timestamps,
};

/// A filter, parsed for use with many objects.
pub(super) struct Test<'a> {
    slot: u16,
    pub(super) definition: &'a Definition,
    pub(super) operator: Operator,
    pub(super) values: Vec<Operand>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    Between,
    In,
    NotIn,
    Has,
    HasNot,
    Contains,
    ContainsNot,
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(super) enum Operand {
    Whole(i128),
    Fraction(f64),
    Text(String),
}

/// Parses a group; `None` if it matches nothing.
pub(super) fn prepare<'a>(
    table: &'a Table,
    group: &Group,
) -> Result<Option<Vec<Test<'a>>>, Refused> {
    let mut tests = Vec::new();
    for filter in &group.filters {
        let name = filter.property_name.as_str();
        if table.name == "contacts" && name == "hs_lastmodifieddate" {
            // Contacts have `lastmodifieddate`; HubSpot returns nothing, without an
            // error.
            return Ok(None);
        }
        let (slot, definition) = table
            .definitions
            .active(name)
            .ok_or_else(|| Refused::NoSuchProperty(name.to_owned()))?;
        let (operator, count) = operator(&filter.operator)?;
        let mut values: Vec<Operand> = Vec::new();
        for value in filter
            .value
            .iter()
            .chain(&filter.high_value)
            .chain(&filter.values)
        {
            values.push(operand(definition, &plain(value))?);
        }
        if values.len() < count {
            return Err(invalid("operator needs a value"));
        }
        tests.push(Test {
            slot,
            definition,
            operator,
            values,
        });
    }
    Ok(Some(tests))
}

fn operator(name: &str) -> Result<(Operator, usize), Refused> {
    Ok(match name {
        "EQ" => (Operator::Eq, 1),
        "NEQ" => (Operator::Neq, 1),
        "LT" => (Operator::Lt, 1),
        "LTE" => (Operator::Lte, 1),
        "GT" => (Operator::Gt, 1),
        "GTE" => (Operator::Gte, 1),
        "BETWEEN" => (Operator::Between, 2),
        "IN" => (Operator::In, 1),
        "NOT_IN" => (Operator::NotIn, 1),
        "HAS_PROPERTY" => (Operator::Has, 0),
        "NOT_HAS_PROPERTY" => (Operator::HasNot, 0),
        "CONTAINS_TOKEN" => (Operator::Contains, 1),
        "NOT_CONTAINS_TOKEN" => (Operator::ContainsNot, 1),
        _ => return Err(invalid("unknown operator")),
    })
}

/// A filter's value in the type by which the property compares.
fn operand(definition: &Definition, text: &str) -> Result<Operand, Refused> {
    match definition.kind.as_str() {
        "datetime" | "date" => {
            let ms = timestamps::parse(text).ok_or_else(|| invalid("value is not a time"))?;
            if ms < 1_000 {
                return Err(Refused::EpochZero);
            }
            Ok(Operand::Whole(i128::from(ms)))
        }
        "number" => number(text).ok_or_else(|| invalid("value is not a number")),
        _ => Ok(Operand::Text(text.to_lowercase())),
    }
}

fn number(text: &str) -> Option<Operand> {
    match text.parse() {
        Ok(whole) => Some(Operand::Whole(whole)),
        Err(_) => text.parse().ok().map(Operand::Fraction),
    }
}

impl Test<'_> {
    /// Whether an object matches, by its id and last-modified in the index, or by
    /// its values.
    pub(super) fn matches<'a, F: FnOnce() -> Option<&'a Record>>(
        &self,
        row: (u64, i64),
        record: &LazyCell<Option<&'a Record>, F>,
        slop_ms: i64,
    ) -> bool {
        let slop = if self.definition.source == Source::Modified {
            slop_ms
        } else {
            0
        };
        let Some(actual) = self.actual(row, record) else {
            return matches!(
                self.operator,
                Operator::HasNot | Operator::Neq | Operator::NotIn | Operator::ContainsNot
            );
        };
        let first = self.values.first();
        let above = |limit: Option<&Operand>| limit.is_some_and(|it| actual >= shift(it, -slop));
        let below = |limit: Option<&Operand>| limit.is_some_and(|it| actual <= shift(it, slop));
        let holds = |words: &Operand| match (&actual, words) {
            (Operand::Text(text), Operand::Text(word)) => text.contains(word.trim_matches('*')),
            _ => &actual == words,
        };
        match self.operator {
            Operator::Has => true,
            Operator::HasNot => false,
            Operator::Eq => above(first) && below(first),
            Operator::Neq => first != Some(&actual),
            Operator::Gt if slop == 0 => first.is_some_and(|it| actual > *it),
            Operator::Lt if slop == 0 => first.is_some_and(|it| actual < *it),
            Operator::Gt | Operator::Gte => above(first),
            Operator::Lt | Operator::Lte => below(first),
            Operator::Between => above(first) && below(self.values.get(1)),
            Operator::In => self.values.contains(&actual),
            Operator::NotIn => !self.values.contains(&actual),
            Operator::Contains => first.is_some_and(holds),
            Operator::ContainsNot => !first.is_some_and(holds),
        }
    }

    fn actual<'a, F: FnOnce() -> Option<&'a Record>>(
        &self,
        (id, modified_ms): (u64, i64),
        record: &LazyCell<Option<&'a Record>, F>,
    ) -> Option<Operand> {
        match self.definition.source {
            Source::Id => Some(Operand::Whole(i128::from(id))),
            Source::Created => Some(Operand::Whole(i128::from((**record)?.created_ms))),
            Source::Modified => Some(Operand::Whole(i128::from(modified_ms))),
            // The index does not have it.
            Source::ReadTime => None,
            Source::Stored => {
                let text = (**record)?
                    .values
                    .get(self.slot)
                    .filter(|it| !it.is_empty())?;
                match self.definition.kind.as_str() {
                    "number" => number(text),
                    "date" | "datetime" => {
                        timestamps::parse(text).map(|ms| Operand::Whole(i128::from(ms)))
                    }
                    _ => Some(Operand::Text(text.to_lowercase())),
                }
            }
        }
    }
}

fn shift(limit: &Operand, by: i64) -> Operand {
    match limit {
        Operand::Whole(ms) => Operand::Whole(ms.saturating_add(i128::from(by))),
        other => other.clone(),
    }
}
