//! A backend whose records are numbered, each with three versions.

use super::*;
use crate::{
    ingest::{ChangeBatch, ChangeQuery, LogPosition, LoggedRecord, RebuildPhase},
    records::{SqlColumn, StoredVersion},
};

/// Records of [`NumberedRecords`].
pub(super) const RECORDS: u64 = 2_500;

/// A backend with the records 1 to [`RECORDS`].
#[derive(Debug)]
pub(in crate::api) struct NumberedRecords {
    /// Whether it cannot be reached.
    pub(in crate::api) away: bool,
}

#[async_trait]
impl Backend for NumberedRecords {
    async fn records(&self, query: &RecordQuery) -> Result<RecordPage, ApiError> {
        if self.away {
            return Err(ApiError::ClickHouseUnavailable);
        }
        let after = query.after.unwrap_or(0);
        let mut ids: Vec<_> = (after + 1..=RECORDS)
            .filter(|id| query.ids.as_ref().is_none_or(|ids| ids.contains(id)))
            .take(query.limit + 1)
            .collect();
        let more = ids.len() > query.limit;
        ids.truncate(query.limit);
        let next = ids.last().copied().filter(|_| more);
        let records = ids
            .into_iter()
            .map(|id| StoredRecord {
                id,
                created_at: 0,
                updated_at: 1_795_528_800_123,
                archived: false,
                deleted: false,
                properties: json!({ "age": id }).to_string(),
            })
            .collect();
        Ok(RecordPage { records, next })
    }

    async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, ApiError> {
        let stored = (1..=RECORDS).contains(&query.id);
        let all = (1..=3).rev().filter(|_| stored);
        let mut rest = all.filter(|it| query.before.is_none_or(|before| *it < before));
        Ok(HistoryPage {
            versions: rest.by_ref().take(query.limit).map(version).collect(),
            earlier: rest.next().map(version),
        })
    }

    async fn export(
        &self,
        query: &RecordQuery,
        out: mpsc::Sender<Result<Vec<StoredRecord>, ApiError>>,
    ) {
        let mut query = query.clone();
        loop {
            let page = self.records(&query).await;
            query.after = page.as_ref().ok().and_then(|page| page.next);
            let sent = out.send(page.map(|page| page.records)).await;
            if sent.is_err() || query.after.is_none() {
                return;
            }
        }
    }

    /// The log has 5 records in partition 1, in batches of 2; none to come.
    async fn changes(&self, query: ChangeQuery, out: mpsc::Sender<Result<ChangeBatch, ApiError>>) {
        const END: i64 = 5;
        let mut next = query.from.get(&1).copied().unwrap_or(0);
        loop {
            let read: Vec<_> = (next..END).take(2).collect();
            next = read.last().map_or(next, |it| it + 1);
            let batch = ChangeBatch {
                topic: "hubspot.records".to_owned(),
                records: read.into_iter().map(logged).collect(),
                next: [(0, 9), (1, next)].into(),
                at_end: next == END,
            };
            if out.send(Ok(batch)).await.is_err() || next == END {
                return;
            }
        }
    }

    async fn dead_letters(&self, _limit: usize) -> Result<Vec<ListedLetter>, ApiError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(vec![ListedLetter {
            position: LogPosition {
                topic: "hubspot.records".to_owned(),
                partition: 1,
                offset: 7,
            },
            reason: "not_framed".to_owned(),
            error: "no header".to_owned(),
            timestamp: 0,
            key: Some(b"1/contacts/2".to_vec()),
            bytes: 3,
        }])
    }

    async fn reprocess(&self) -> Result<Reprocessed, ApiError> {
        Ok(Reprocessed { stored: 1, left: 2 })
    }

    async fn start_rebuild(&self, _accepts_loss: bool) -> Result<RebuildState, ApiError> {
        Ok(self.rebuilds().await?.remove(0))
    }

    async fn rebuilds(&self) -> Result<Vec<RebuildState>, ApiError> {
        Ok(vec![RebuildState {
            id: "r1".to_owned(),
            phase: RebuildPhase::Reading,
            records: 1,
            expected: 2,
            started_at: 0,
            ended_at: None,
            error: None,
            accepts_loss: false,
        }])
    }

    async fn check_destination(
        &self,
        destination: &str,
        _portal_id: Option<i64>,
    ) -> Result<(), ApiError> {
        match destination {
            "taken" => Err(ApiError::DestinationTaken("another account's".to_owned())),
            _ => Ok(()),
        }
    }

    async fn skip(
        &self,
        _connection: &str,
        _names: &[String],
        _destination: &str,
    ) -> Result<bool, ApiError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(true)
    }

    async fn purge(&self, _connection: &str, _destination: &str) -> Result<(), ApiError> {
        Ok(())
    }

    fn waiting(&self, _connection: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    async fn csv(&self, _query: &RecordQuery, out: mpsc::Sender<Result<Bytes, ApiError>>) {
        for part in ["id\n", "1\n"] {
            if self.away || out.send(Ok(part.into())).await.is_err() {
                break;
            }
        }
        if self.away {
            drop(out.send(Err(ApiError::ClickHouseUnavailable)).await);
        }
    }

    async fn sql(&self, query: &SqlQuery) -> Result<SqlRows, ApiError> {
        if self.away {
            return Err(ApiError::SqlDisabled);
        }
        let row = serde_json::value::to_raw_value(&[query.limit]).unwrap();
        Ok(SqlRows {
            columns: vec![SqlColumn {
                name: "limit".to_owned(),
                kind: "UInt64".to_owned(),
            }],
            rows: vec![row],
            is_cut: false,
            elapsed: Duration::from_millis(7),
        })
    }

    async fn sql_as_csv(&self, query: &SqlQuery) -> Result<Bytes, ApiError> {
        Ok(format!("limit\n{}\n", query.limit).into())
    }

    fn comparison(&self, _connection: &str, stream: &str) -> Option<Comparison> {
        (stream == "contacts").then(|| Comparison {
            stream: stream.to_owned(),
            run_id: "compared".to_owned(),
            in_hubspot: 5,
            in_warehouse: 4,
            still_different: 1,
            ..Comparison::default()
        })
    }
}

fn version(number: u128) -> StoredVersion {
    StoredVersion {
        version: number,
        created_at: 0,
        updated_at: 1_795_528_800_123,
        synced_at: 0,
        archived: false,
        deleted: false,
        merged_into: None,
        connection: "default".to_owned(),
        run_id: "r1".to_owned(),
        reason: "incremental".to_owned(),
        topic: "hubspot.records".to_owned(),
        partition: 3,
        offset: 41,
        properties: json!({ "age": number.to_string() }).to_string(),
    }
}

fn logged(offset: i64) -> LoggedRecord {
    let mut properties = schemas::PropertyMapBuilder::default();
    properties.push("age", &offset.to_string());
    let properties = properties.finish();
    let record = schemas::CrmRecord::new(42, "contacts", 7, &properties);
    let datum = record.encode(1).split_off(schemas::codec::HEADER_BYTES);
    LoggedRecord {
        partition: 1,
        offset,
        datum: datum.into(),
    }
}
