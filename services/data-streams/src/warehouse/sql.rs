//! Answers questions that people write in SQL, as a user of ClickHouse who may only read
//! what is meant for people. That user's rights are the boundary; the settings here only
//! bound what a question costs.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clickhouse::query::BytesCursor;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{WarehouseSettings, error::WarehouseError, session::Session};
use crate::records::{SqlColumn, SqlQuery, SqlRows};

/// How long a question may take, in seconds.
const SECONDS: u64 = 30;

/// Maximum size of an answer in bytes, in ClickHouse's memory and as text: 64 MiB.
const ANSWER_BYTES: usize = 64 << 20;

/// How much longer to wait for ClickHouse's own refusal.
const GRACE: Duration = Duration::from_secs(5);

const ACTION: &str = "answer a question";

/// Asks ClickHouse as a reading user.
#[derive(Debug)]
pub(crate) struct SqlReader {
    session: Session,
}

/// An answer in ClickHouse's format `JSONCompact`.
#[derive(Deserialize)]
struct Answer<'a> {
    meta: Vec<SqlColumn>,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    statistics: Statistics,
}

#[derive(Deserialize)]
struct Statistics {
    elapsed: f64,
}

impl SqlReader {
    /// A reader with the user of `settings`.
    pub(crate) fn new(settings: &WarehouseSettings) -> Self {
        Self {
            session: Session::new(settings),
        }
    }

    /// The rows of an answer, at most as many as are asked for.
    pub(crate) async fn rows(&self, query: &SqlQuery) -> Result<SqlRows, WarehouseError> {
        let bytes = self.answer(query, "JSONCompact", query.limit + 1).await?;
        let answer: Answer<'_> = serde_json::from_slice(&bytes)
            .map_err(|source| WarehouseError::AnswerFormat { source })?;
        let is_cut = answer.data.len() > query.limit;
        let rows = answer.data.into_iter().take(query.limit);
        Ok(SqlRows {
            columns: answer.meta,
            rows: rows.map(ToOwned::to_owned).collect(),
            is_cut,
            elapsed: Duration::try_from_secs_f64(answer.statistics.elapsed).unwrap_or_default(),
        })
    }

    /// The answer as CSV with a line of names.
    pub(crate) async fn csv(&self, query: &SqlQuery) -> Result<Bytes, WarehouseError> {
        self.answer(query, "CSVWithNames", query.limit).await
    }

    async fn answer(
        &self,
        query: &SqlQuery,
        format: &str,
        limit: usize,
    ) -> Result<Bytes, WarehouseError> {
        let mut asked = self
            .session
            .client()
            .query_raw(&query.text)
            .with_setting("limit", limit.to_string())
            .with_setting("max_execution_time", SECONDS.to_string())
            .with_setting("max_result_bytes", ANSWER_BYTES.to_string())
            .with_setting("cancel_http_readonly_queries_on_client_close", "1")
            .with_setting("output_format_json_quote_64bit_integers", "1")
            .with_setting("output_format_json_quote_decimals", "1");
        for (name, value) in &query.parameters {
            let value = if holds_several(&query.text, name) {
                value.clone()
            } else {
                escaped(value)
            };
            asked = asked.with_setting(format!("param_{name}"), value);
        }
        let limit = Duration::from_secs(SECONDS) + GRACE;
        self.session
            .fetch_within(ACTION, limit, async {
                whole(asked.fetch_bytes(format)?).await
            })
            .await?
            .ok_or(WarehouseError::AnswerSize {
                bytes: ANSWER_BYTES,
            })
    }
}

/// All of an answer; `None` if it has more than [`ANSWER_BYTES`], as a query may lift
/// ClickHouse's limit in its `SETTINGS`.
async fn whole(mut answer: BytesCursor) -> Result<Option<Bytes>, clickhouse::error::Error> {
    let mut all = BytesMut::new();
    while let Some(bytes) = answer.next().await? {
        if all.len() + bytes.len() > ANSWER_BYTES {
            return Ok(None);
        }
        all.extend_from_slice(&bytes);
    }
    Ok(Some(all.freeze()))
}

/// Whether a query declares a parameter as a list or the like, whose text has quotes and
/// escapes of its own and is parsed as it is. The client's own function would quote it.
fn holds_several(query: &str, parameter: &str) -> bool {
    let types = query.split('{').filter_map(|part| {
        let (name, rest) = part.split_once(':')?;
        (name.trim() == parameter).then_some(rest.trim_start())
    });
    let several = ["Array", "Tuple", "Map"];
    types
        .into_iter()
        .any(|it| several.iter().any(|kind| it.starts_with(kind)))
}

/// A value as ClickHouse reads it, which ends it at a line break, for example.
fn escaped(value: &str) -> String {
    let mut text = value.replace('\\', "\\\\");
    for (character, sign) in [('\t', "\\t"), ('\n', "\\n"), ('\r', "\\r"), ('\0', "\\0")] {
        text = text.replace(character, sign);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_is_escaped() {
        assert_eq!(escaped("a\tb\\n'"), r"a\tb\\n'");
    }

    #[test]
    fn a_list_is_known_by_its_declaration() {
        let query = "SELECT {a: String}, { b :Array(String)}, {c:Map(String, String)}";
        let found = ["a", "b", "c", "d"].map(|name| holds_several(query, name));
        assert_eq!(found, [false, true, true, false]);
    }
}
