//! Answers questions that people write in SQL, as a user of ClickHouse who may only read
//! what is meant for people. That user's rights are the boundary; the settings here only
//! bound what a question costs.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{WarehouseSettings, error::WarehouseError, session::Session};
use crate::records::{SqlColumn, SqlQuery, SqlRows};

/// How long a question may take, in seconds.
const SECONDS: u64 = 30;

/// Maximum size of an answer in ClickHouse's memory, in bytes: 64 MiB.
const ANSWER_BYTES: u64 = 64 << 20;

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
    pub(crate) async fn csv(&self, query: &SqlQuery) -> Result<bytes::Bytes, WarehouseError> {
        self.answer(query, "CSVWithNames", query.limit).await
    }

    async fn answer(
        &self,
        query: &SqlQuery,
        format: &str,
        limit: usize,
    ) -> Result<bytes::Bytes, WarehouseError> {
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
            asked = asked.with_setting(format!("param_{name}"), escaped(value));
        }
        let limit = Duration::from_secs(SECONDS) + GRACE;
        self.session
            .fetch_within(ACTION, limit, async {
                asked.fetch_bytes(format)?.collect().await
            })
            .await
    }
}

/// A parameter's value as ClickHouse reads it, which is the text that its type is parsed
/// from. The client's own escaping is for texts only: a list would lose its quotes.
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
    fn only_what_would_end_a_value_is_escaped() {
        assert_eq!(escaped("['a', 'b']"), "['a', 'b']");
        assert_eq!(escaped("a\tb\\n"), r"a\tb\\n");
    }
}
