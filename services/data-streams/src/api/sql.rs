//! The route that answers questions in SQL, for the dashboard and for those who cannot
//! reach ClickHouse.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api,
    access::Client,
    body::{self, RawBody},
    error::{ApiError, Problem},
    records::{CSV, accepts},
};
use crate::records::{SqlColumn, SqlRows};

/// Where questions are asked. A token that may only read is enough.
pub(super) const PATH: &str = "/v1/sql";

/// Maximum number of rows as JSON.
const MAX_ROWS: usize = 10_000;

/// Maximum number of rows as CSV.
const MAX_CSV_ROWS: usize = 1_000_000;

/// A question in SQL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the request")]
pub(super) struct QuestionBody {
    /// One query, without FORMAT.
    #[schema(example = "SELECT count() FROM hubspot.contacts", min_length = 1)]
    query: String,
    /// Values of the parameters in it, such as email of `{email:String}`.
    parameters: Option<BTreeMap<String, String>>,
    /// Maximum number of rows: 1,000 when left out, at most 10,000, as CSV 1,000,000.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1000)]
    limit: Option<u32>,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnswerBody {
    /// Its columns.
    columns: Vec<ColumnBody>,
    /// Rows, each a list of values in the order of the columns. Integers of 64 bits and
    /// more and decimals are strings.
    #[schema(value_type = Vec<Vec<serde_json::Value>>)]
    rows: Vec<Box<RawValue>>,
    /// Whether there are more rows than `limit`.
    is_cut: bool,
    /// How long ClickHouse took, in milliseconds.
    elapsed_ms: u64,
}

/// A column of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ColumnBody {
    /// Its name.
    name: String,
    /// ClickHouse's type.
    #[serde(rename = "type")]
    #[schema(example = "Nullable(String)")]
    kind: String,
}

impl From<SqlColumn> for ColumnBody {
    fn from(column: SqlColumn) -> Self {
        Self {
            name: column.name,
            kind: column.kind,
        }
    }
}

impl From<SqlRows> for AnswerBody {
    fn from(answer: SqlRows) -> Self {
        Self {
            columns: answer.columns.into_iter().map(Into::into).collect(),
            rows: answer.rows,
            is_cut: answer.is_cut,
            elapsed_ms: u64::try_from(answer.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Answers a question in ClickHouse's SQL.
///
/// As the user of ClickHouse that may only read (`CLICKHOUSE_READER_PASSWORD`), for at most
/// 30 s and 64 MiB. With `Accept: text/csv` as CSV with a line of names.
#[utoipa::path(
    post,
    path = "/v1/sql",
    operation_id = "query_sql",
    tag = "records",
    request_body = QuestionBody,
    responses(
        (
            status = 200,
            description = "The rows",
            content((AnswerBody = "application/json"), (String = "text/csv")),
        ),
        (status = 400, description = "The body is not a JSON object", body = Problem),
        (status = 409, description = "The service has no user of ClickHouse for it", body = Problem),
        (status = 422, description = "A field has a value that is not allowed, or ClickHouse refuses the query", body = Problem),
        (status = 429, description = "Too many questions at a time", body = Problem),
        (status = 503, description = "ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn query(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, ApiError> {
    let as_csv = accepts(&headers, "text/csv");
    let question = body::question(&body, if as_csv { MAX_CSV_ROWS } else { MAX_ROWS })?;
    let _place = api.questions.take(client)?;
    if as_csv {
        let rows = api.backend.sql_as_csv(&question).await?;
        return Ok(([(header::CONTENT_TYPE, CSV)], rows).into_response());
    }
    let answer = api.backend.sql(&question).await?;
    Ok(Json(AnswerBody::from(answer)).into_response())
}
