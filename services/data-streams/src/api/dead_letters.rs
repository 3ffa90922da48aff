//! What could not be stored: which messages, why, and putting them back.
//!
//! It must not know how a message is stored.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    body::{self, RawBody, timestamp},
    error::ApiError,
    records::{limit, unknown_parameter},
};
use crate::ingest::DeadLetter;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// Messages that could not be stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLettersBody {
    /// The newest ones, oldest first.
    results: Vec<DeadLetterBody>,
}

/// A message that could not be stored. Its bytes stay in Kafka.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterBody {
    /// Topic it came from.
    topic: String,
    /// Its partition there.
    partition: i32,
    /// Its offset there.
    offset: i64,
    /// Its key, as far as it is text.
    key: Option<String>,
    /// Why it could not be stored; stable, `snake_case`.
    reason: String,
    /// What is wrong with it.
    error: String,
    /// When it was appended to its topic.
    timestamp: String,
    /// Size of its value in bytes.
    bytes: usize,
}

impl From<DeadLetter> for DeadLetterBody {
    fn from(letter: DeadLetter) -> Self {
        Self {
            topic: letter.position.topic,
            partition: letter.position.partition,
            offset: letter.position.offset,
            key: letter
                .key
                .map(|key| String::from_utf8_lossy(&key).into_owned()),
            reason: letter.reason,
            error: letter.error,
            timestamp: timestamp(letter.timestamp),
            bytes: letter.value.map_or(0, |value| value.len()),
        }
    }
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReprocessedBody {
    /// Messages that are stored now.
    stored: u64,
    /// Messages that still cannot be stored.
    left: u64,
}

/// Lists what could not be stored.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    tag = "dead letters",
    params(("limit" = Option<u32>, Query, description = "100, at most 1,000")),
    responses(
        (status = 200, description = "The newest ones, oldest first", body = DeadLettersBody),
        (status = 400, description = "A parameter that cannot be", body = super::error::Problem),
        (status = 503, description = "Kafka or ClickHouse does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<DeadLettersBody>, ApiError> {
    let mut count = DEFAULT_LIMIT;
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => count = limit(&value, MAX_LIMIT)?,
            _ => return Err(unknown_parameter(&name, "limit")),
        }
    }
    let letters = api.backend.dead_letters(count).await?;
    Ok(Json(DeadLettersBody {
        results: letters.into_iter().map(Into::into).collect(),
    }))
}

/// Stores what now can be stored, under its original place.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/reprocess",
    tag = "dead letters",
    responses(
        (status = 200, description = "What became of them", body = ReprocessedBody),
        (status = 400, description = "Not JSON", body = super::error::Problem),
        (status = 422, description = "A body with fields", body = super::error::Problem),
        (status = 503, description = "Kafka or ClickHouse does not answer", body = super::error::Problem),
    )
)]
pub(super) async fn reprocess(
    State(api): State<Api>,
    body: RawBody,
) -> Result<Json<ReprocessedBody>, ApiError> {
    body::nothing(&body)?;
    let (stored, left) = api.backend.reprocess().await?;
    Ok(Json(ReprocessedBody { stored, left }))
}
