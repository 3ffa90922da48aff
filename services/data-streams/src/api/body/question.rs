//! A question in SQL, as a body has it.

use serde_json::Value;

use super::Fields;
use crate::{api::error::ApiError, records::SqlQuery};

/// Maximum number of rows when left out.
const DEFAULT_LIMIT: usize = 1_000;

/// Reads a question for at most `max_limit` rows.
pub(in crate::api) fn question(body: &[u8], max_limit: usize) -> Result<SqlQuery, ApiError> {
    let mut fields = Fields::parse(body)?;
    let text = fields.text("query", "one query of ClickHouse's SQL");
    let text = text.unwrap_or_default();
    if text.trim().is_empty() {
        fields.refuse("query", "must be one query of ClickHouse's SQL");
    }
    let limit = match fields.take("limit") {
        None => Some(DEFAULT_LIMIT),
        Some(limit) => limit.as_u64().and_then(|it| usize::try_from(it).ok()),
    };
    let limit = limit.filter(|it| (1..=max_limit).contains(it));
    if limit.is_none() {
        fields.refuse(
            "limit",
            format!("must be a whole number from 1 to {max_limit}"),
        );
    }
    let given = fields.object("parameters", r#"such as {"email":"a@example.com"}"#);
    let mut parameters = Vec::new();
    for (name, value) in given.into_iter().flatten() {
        match value {
            Value::String(value) if is_identifier(&name) => parameters.push((name, value)),
            _ => fields.refuse(
                format!("parameters.{}", name.chars().take(64).collect::<String>()),
                "must be a string, and its name of letters, digits and underscores",
            ),
        }
    }
    fields.finish()?;
    Ok(SqlQuery {
        text,
        parameters,
        limit: limit.unwrap_or(DEFAULT_LIMIT),
    })
}

/// Whether a parameter of a query can have this name.
fn is_identifier(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(|it: char| it.is_ascii_digit())
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_a_query_and_may_have_parameters_and_a_limit() {
        let read = question(
            br#"{"query":"SELECT {a:String}","parameters":{"a":"b"}}"#,
            10_000,
        );
        let expected = SqlQuery {
            text: "SELECT {a:String}".to_owned(),
            parameters: vec![("a".to_owned(), "b".to_owned())],
            limit: 1_000,
        };
        assert_eq!(read.unwrap(), expected);
        for wrong in [
            "",
            r#"{"query":" "}"#,
            r#"{"query":1}"#,
            r#"{"query":"SELECT 1","limit":0}"#,
            r#"{"query":"SELECT 1","limit":10001}"#,
            r#"{"query":"SELECT 1","limit":"5"}"#,
            r#"{"query":"SELECT 1","parameters":{"a b":"c"}}"#,
            r#"{"query":"SELECT 1","parameters":{"a":1}}"#,
            r#"{"query":"SELECT 1","format":"CSV"}"#,
        ] {
            assert!(question(wrong.as_bytes(), 10_000).is_err(), "{wrong}");
        }
    }
}
