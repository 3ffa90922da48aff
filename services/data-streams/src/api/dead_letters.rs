//! The routes of dead letters: messages that could not be stored, and storing
//! them again.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    access::Client,
    body::{self, RawBody, timestamp},
    error::{ApiError, Problem},
    records::{limit, refused_parameter, unknown_parameter},
};
use crate::ingest::{ListedLetter, Reprocessed};

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
    /// Topic of the message.
    topic: String,
    /// Partition of the message.
    #[schema(minimum = 0)]
    partition: i32,
    /// Offset of the message.
    #[schema(minimum = 0)]
    offset: i64,
    /// Key of the message; bytes that are not UTF-8 are replaced.
    key: Option<String>,
    /// Why it could not be stored, for programs: stable, `snake_case`.
    reason: String,
    /// Why it could not be stored, for people.
    error: String,
    /// When the message was appended to its topic.
    #[schema(format = DateTime)]
    timestamp: String,
    /// Size of the value in bytes.
    bytes: usize,
}

/// Does something with the dead letters, which reads all of them: once at a time, others
/// get 429. It goes on, and keeps its place, where the caller hangs up.
async fn one_at_a_time<T: Send + 'static>(
    api: &Api,
    client: Client,
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let place = api.dead_letters.take(client)?;
    let working = api.context.spawn_owned(async move {
        let _until_the_end = place;
        work.await
    });
    working.await.map_err(|error| {
        tracing::error!(%error, "reading the dead letters panicked");
        ApiError::Internal
    })?
}

impl From<ListedLetter> for DeadLetterBody {
    fn from(letter: ListedLetter) -> Self {
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
            bytes: letter.bytes,
        }
    }
}

/// How many dead letters were stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReprocessedBody {
    /// Messages that were stored now.
    stored: u64,
    /// Messages that still cannot be stored.
    left: u64,
}

/// Lists messages that could not be stored.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "list_dead_letters",
    tag = "dead letters",
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many; 100 when left out, at most 1,000")),
    responses(
        (status = 200, description = "The newest ones, oldest first", body = DeadLettersBody),
        (status = 400, description = "A parameter is unknown or not allowed", body = Problem),
        (status = 429, description = "The dead letters are being read for another request", body = Problem),
        (status = 503, description = "Kafka or ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<DeadLettersBody>, ApiError> {
    let mut count = DEFAULT_LIMIT;
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => count = limit(&value, MAX_LIMIT).map_err(refused_parameter)?,
            _ => return Err(refused_parameter(unknown_parameter(&name, "limit"))),
        }
    }
    let backend = Arc::clone(&api.backend);
    let letters = one_at_a_time(
        &api,
        client,
        async move { backend.dead_letters(count).await },
    )
    .await?;
    Ok(Json(DeadLettersBody {
        results: letters.into_iter().map(Into::into).collect(),
    }))
}

/// Tries to store the dead letters again, under their original positions in the log.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/reprocess",
    operation_id = "reprocess_dead_letters",
    tag = "dead letters",
    responses(
        (status = 200, description = "How many were stored", body = ReprocessedBody),
        (status = 400, description = "The body is not a JSON object", body = Problem),
        (status = 422, description = "The body has fields", body = Problem),
        (status = 429, description = "The dead letters are being read for another request", body = Problem),
        (status = 503, description = "Kafka or ClickHouse does not answer", body = Problem),
    )
)]
pub(super) async fn reprocess(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    body: RawBody,
) -> Result<Json<ReprocessedBody>, ApiError> {
    body::nothing(&body)?;
    let backend = Arc::clone(&api.backend);
    let stored = one_at_a_time(&api, client, async move { backend.reprocess().await }).await?;
    let Reprocessed { stored, left } = stored;
    Ok(Json(ReprocessedBody { stored, left }))
}
