//! The warehouse and its loader as the API sees them.
//!
//! It must not know HTTP.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::{
    api::{Archived, Backend, BackendError, RecordQuery, StoredPage, StoredRecord},
    ingest::{Ingest, ReplayError, dead_letter::DeadLetter, rebuild::RebuildState},
    warehouse::{self, Warehouse},
};

/// How long one question to the warehouse may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Joins storage and loader.
#[derive(Debug)]
pub struct Storage {
    /// Where records are.
    pub warehouse: Arc<Warehouse>,
    /// What fills it.
    pub ingest: Ingest,
}

#[async_trait]
impl Backend for Storage {
    async fn records(&self, query: &RecordQuery) -> Result<StoredPage, BackendError> {
        let filter = filter(query);
        let page = self
            .warehouse
            .records(&query.destination, &query.object_type, &filter);
        let page = within(page).await?;
        // An object type of which nothing was stored yet has no records.
        let page = page.unwrap_or_default();
        let records = page.records.into_iter().map(stored).collect();
        Ok(StoredPage {
            records,
            next: page.next,
        })
    }

    async fn export(
        &self,
        query: &RecordQuery,
        out: mpsc::Sender<Result<Vec<StoredRecord>, BackendError>>,
    ) {
        let (sink, mut records) = mpsc::channel(1);
        let place = (query.destination.as_str(), query.object_type.as_str());
        let export = self.warehouse.export(place, filter(query), sink);
        let forward = async {
            while let Some(handful) = records.recv().await {
                let handful = handful
                    .map(|records| records.into_iter().map(stored).collect())
                    .map_err(failure);
                if out.send(handful).await.is_err() {
                    break;
                }
            }
            // Ends the export, where nobody takes any more.
            records.close();
        };
        let (exported, ()) = tokio::join!(export, forward);
        if let Err(error) = exported {
            drop(out.send(Err(failure(error))).await);
        }
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BackendError> {
        self.ingest
            .dead_letters(limit)
            .await
            .map_err(replay_failure)
    }

    async fn reprocess(&self) -> Result<(u64, u64), BackendError> {
        let outcome = self.ingest.reprocess().await.map_err(replay_failure)?;
        Ok((outcome.stored, outcome.left))
    }

    async fn start_rebuild(&self) -> Result<RebuildState, BackendError> {
        // A rebuild that cannot reach the warehouse would fail at once, unseen.
        within(self.warehouse.ping()).await?;
        Ok(self.ingest.start_rebuild())
    }

    fn rebuild(&self) -> Option<RebuildState> {
        self.ingest.rebuild()
    }
}

fn filter(query: &RecordQuery) -> warehouse::Filter {
    warehouse::Filter {
        limit: query.limit,
        after: query.after,
        ids: query.ids.clone(),
        updated_since: query.updated_since,
        updated_before: query.updated_before,
        archived: match query.archived {
            Archived::No => warehouse::Archived::No,
            Archived::Yes => warehouse::Archived::Yes,
            Archived::Any => warehouse::Archived::Any,
        },
        properties: query.properties.clone(),
    }
}

fn stored(record: warehouse::Record) -> StoredRecord {
    StoredRecord {
        id: record.id,
        created_at: record.created_at,
        updated_at: record.updated_at,
        archived: record.archived,
        properties: record.properties,
    }
}

/// Whoever waits for an answer is told soon that there is none.
async fn within<T>(
    answer: impl Future<Output = Result<T, warehouse::Error>>,
) -> Result<T, BackendError> {
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(answer) => answer.map_err(failure),
        Err(_elapsed) => Err(BackendError::ClickHouse(format!(
            "no answer within {} s",
            ANSWER_LIMIT.as_secs()
        ))),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is given to map_err, by value"
)]
fn failure(error: warehouse::Error) -> BackendError {
    use std::error::Error as _;

    let cause = error
        .source()
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    let reason = format!("{error}{cause}");
    match error.advice() {
        warehouse::Advice::Retry => BackendError::ClickHouse(reason),
        warehouse::Advice::SchemaChanged | warehouse::Advice::Poison | warehouse::Advice::Fatal => {
            BackendError::Defect(reason)
        }
    }
}

fn replay_failure(error: ReplayError) -> BackendError {
    match error {
        ReplayError::Kafka(reason) => BackendError::Kafka(reason),
        ReplayError::Store(reason) => BackendError::ClickHouse(reason),
        ReplayError::Stopped => BackendError::Kafka("shutting down".to_owned()),
    }
}
