//! Connects the API to the warehouse and its loader: forwards its requests, and
//! maps their errors to the API's.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    api::{Backend, error::ApiError},
    comparison::Comparison,
    ingest::{
        ChangeBatch, ChangeQuery, Ingest, JobError, ListedLetter, RebuildState, Reprocessed,
        StoreErrorKind,
    },
    reconciliation::Comparisons,
    records::{
        HistoryPage, HistoryQuery, RecordPage, RecordQuery, SqlQuery, SqlRows, StoredRecord,
    },
    warehouse::{SqlReader, Warehouse, WarehouseError},
};

/// Maximum time for one request to the warehouse.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Maximum time for the check of a destination.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// The warehouse and its loader.
#[derive(Debug)]
pub(crate) struct Storage {
    /// Stores the records.
    pub(crate) warehouse: Arc<Warehouse>,
    /// Loads records into the warehouse.
    pub(crate) ingest: Ingest,
    /// What the comparisons with the log have shown.
    pub(crate) comparisons: Comparisons,
    /// Answers questions in SQL, where there is a user for them.
    pub(crate) sql: Option<SqlReader>,
}

#[async_trait]
impl Backend for Storage {
    async fn records(&self, query: &RecordQuery) -> Result<RecordPage, ApiError> {
        within(self.warehouse.records(query)).await
    }

    async fn export(
        &self,
        query: &RecordQuery,
        out: mpsc::Sender<Result<Vec<StoredRecord>, ApiError>>,
    ) {
        if let Err(error) = self.warehouse.export(query, &out).await {
            // Fails only when the reader is gone.
            drop(out.send(Err(warehouse_failure(&error))).await);
        }
    }

    async fn csv(&self, query: &RecordQuery, out: mpsc::Sender<Result<Bytes, ApiError>>) {
        if let Err(error) = self.warehouse.csv(query, &out).await {
            // Fails only when the reader is gone.
            drop(out.send(Err(warehouse_failure(&error))).await);
        }
    }

    async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, ApiError> {
        within(self.warehouse.history(query)).await
    }

    async fn changes(&self, query: ChangeQuery, out: mpsc::Sender<Result<ChangeBatch, ApiError>>) {
        self.ingest.changes(query, out, job_failure).await;
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<ListedLetter>, ApiError> {
        let letters = self.ingest.dead_letters(limit).await;
        letters.map_err(job_failure)
    }

    async fn reprocess(&self) -> Result<Reprocessed, ApiError> {
        self.ingest.reprocess().await.map_err(job_failure)
    }

    async fn start_rebuild(&self, accepts_loss: bool) -> Result<RebuildState, ApiError> {
        // Without this check, a rebuild that cannot reach the warehouse would fail
        // after the caller got the answer that it started.
        within(self.warehouse.ping()).await?;
        let asked = self.ingest.start_rebuild(accepts_loss).await;
        asked.map_err(job_failure)
    }

    async fn rebuilds(&self) -> Result<Vec<RebuildState>, ApiError> {
        self.ingest.rebuilds().await.map_err(job_failure)
    }

    async fn check_destination(
        &self,
        destination: &str,
        portal_id: Option<i64>,
    ) -> Result<(), ApiError> {
        let check = self.warehouse.check_destination(destination, portal_id);
        // A start does not wait for ClickHouse: the loader checks it too.
        match tokio::time::timeout(CHECK_LIMIT, check).await {
            Ok(Err(error @ WarehouseError::Taken { .. })) => {
                Err(ApiError::DestinationTaken(error.to_string()))
            }
            Ok(Err(error @ WarehouseError::Foreign { .. })) => {
                Err(ApiError::DestinationForeign(error.to_string()))
            }
            Ok(Err(error)) => {
                tracing::debug!(destination, %error, "a destination was not checked");
                Ok(())
            }
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    async fn skip(
        &self,
        connection: &str,
        names: &[String],
        destination: &str,
    ) -> Result<bool, ApiError> {
        let is_owned = self.warehouse.is_owned(destination, connection);
        if !within(is_owned).await? {
            return Ok(false);
        }
        self.ingest.skip(names).await.map_err(job_failure)?;
        Ok(true)
    }

    async fn purge(&self, connection: &str, destination: &str) -> Result<(), ApiError> {
        within(self.warehouse.purge(destination, connection)).await
    }

    async fn sql(&self, query: &SqlQuery) -> Result<SqlRows, ApiError> {
        let reader = self.sql.as_ref().ok_or(ApiError::SqlDisabled)?;
        let answered = reader.rows(query).await;
        answered.map_err(|error| question_failure(&error))
    }

    async fn sql_as_csv(&self, query: &SqlQuery) -> Result<Bytes, ApiError> {
        let reader = self.sql.as_ref().ok_or(ApiError::SqlDisabled)?;
        let answered = reader.csv(query).await;
        answered.map_err(|error| question_failure(&error))
    }

    fn waiting(&self, connection: &str) -> BTreeMap<String, String> {
        self.ingest.waiting(connection)
    }

    fn comparison(&self, connection: &str, stream: &str) -> Option<Comparison> {
        self.comparisons.last(connection, stream)
    }
}

/// Fails after `ANSWER_LIMIT` instead of hanging.
async fn within<T>(answer: impl Future<Output = Result<T, WarehouseError>>) -> Result<T, ApiError> {
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(answer) => answer.map_err(|error| warehouse_failure(&error)),
        Err(_elapsed) => {
            let seconds = ANSWER_LIMIT.as_secs();
            tracing::warn!(seconds, "clickhouse did not answer a request in time");
            Err(ApiError::ClickHouseUnavailable)
        }
    }
}

/// The failure of a question in SQL. What it asks is not logged.
fn question_failure(error: &WarehouseError) -> ApiError {
    let refusal = error.refusal_of_question();
    refusal.map_or_else(|| warehouse_failure(error), ApiError::QueryRefused)
}

fn warehouse_failure(error: &WarehouseError) -> ApiError {
    use std::error::Error as _;

    if let WarehouseError::NoProperties { .. } = error {
        tracing::warn!(%error, "a request failed");
        return ApiError::Incomplete;
    }
    let cause = error.source().map(ToString::to_string);
    match error.kind() {
        StoreErrorKind::Unavailable | StoreErrorKind::Target => {
            tracing::warn!(%error, cause, "clickhouse did not answer a request");
            ApiError::ClickHouseUnavailable
        }
        StoreErrorKind::SchemaChanged
        | StoreErrorKind::Poison
        | StoreErrorKind::Fatal
        | StoreErrorKind::NotOurs => {
            tracing::error!(%error, cause, "a request failed");
            ApiError::Internal
        }
    }
}

fn job_failure(error: JobError) -> ApiError {
    match error {
        JobError::Kafka(reason) => {
            tracing::warn!(reason, "kafka did not answer a request");
            ApiError::KafkaUnavailable
        }
        JobError::Store(reason) => {
            tracing::warn!(reason, "clickhouse did not answer a request");
            ApiError::ClickHouseUnavailable
        }
        JobError::Schema(reason) => {
            tracing::warn!(reason, "a record of the log could not be decoded");
            ApiError::RegistryUnavailable
        }
        JobError::Rebuild(reason) => {
            tracing::error!(reason, "a rebuild failed");
            ApiError::Internal
        }
        JobError::Stopped => {
            tracing::warn!("a request failed because the process is shutting down");
            ApiError::KafkaUnavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_are_missing_have_a_code_of_their_own() {
        let missing = WarehouseError::NoProperties { object_id: 7 };
        assert!(matches!(warehouse_failure(&missing), ApiError::Incomplete));
    }
}
