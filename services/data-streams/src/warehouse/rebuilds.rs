//! The rebuilds, kept in ClickHouse, so that every instance knows them and one carries
//! them out.

use std::time::Duration;

use serde::Deserialize;

use super::{
    error::WarehouseError,
    names::{TableName, literal},
    session::Session,
};
use crate::ingest::{KnownRebuild, RebuildLease, RebuildPhase, RebuildState};

/// Rebuilds that are shown.
const SHOWN: usize = 20;

/// A row of the table.
#[derive(clickhouse::Row, Deserialize)]
struct StoredRebuild {
    id: String,
    phase: String,
    records: u64,
    expected: u64,
    started_at: i64,
    ended_at: Option<i64>,
    error: Option<String>,
    accepts_loss: bool,
    owner: String,
    silent_ms: i64,
}

/// Reads the last rebuilds, newest first.
pub(super) async fn last(session: &Session) -> Result<Vec<KnownRebuild>, WarehouseError> {
    let select = format!(
        "SELECT id, toString(phase) AS phase, records, expected, started_at, ended_at, error, \
         accepts_loss, owner, dateDiff('millisecond', at, now64(6)) AS silent_ms FROM {} FINAL \
         ORDER BY id DESC LIMIT {SHOWN}",
        TableName::bookkeeping("rebuilds")
    );
    let rows = session.client().query_raw(&select);
    let rows = rows.fetch_all::<StoredRebuild>();
    let rows = session.within("read the rebuilds", rows).await?;
    Ok(rows.into_iter().map(KnownRebuild::from).collect())
}

/// Keeps a rebuild that somebody asks for, unless one is not over.
pub(super) async fn ask(session: &Session, asked: &RebuildState) -> Result<(), WarehouseError> {
    let table = TableName::bookkeeping("rebuilds");
    let none = format!("NOT EXISTS (SELECT 1 FROM {table} FINAL WHERE ended_at IS NULL)");
    insert(session, asked, "", &none).await
}

/// Keeps the state of a rebuild, if this instance still carries it out.
pub(super) async fn note(
    session: &Session,
    state: &RebuildState,
    before: &str,
    owner: &str,
) -> Result<(), WarehouseError> {
    let is_its = format!("({}) = {}", owner_of(&state.id), literal(before));
    insert(session, state, owner, &is_its).await
}

/// Fails once a rebuild is another instance's.
pub(super) async fn check(session: &Session, lease: &RebuildLease) -> Result<(), WarehouseError> {
    for id in &lease.ids {
        let owner = owner_of(id);
        let owner = session.client().query_raw(&owner).fetch_one::<String>();
        if session.within("read who rebuilds", owner).await? != lease.owner {
            return Err(WarehouseError::Superseded);
        }
    }
    Ok(())
}

fn owner_of(id: &str) -> String {
    let table = TableName::bookkeeping("rebuilds");
    format!(
        "SELECT argMax(owner, at) FROM {table} WHERE id = {}",
        literal(id)
    )
}

async fn insert(
    session: &Session,
    state: &RebuildState,
    owner: &str,
    condition: &str,
) -> Result<(), WarehouseError> {
    let error = state.error.as_deref();
    let values = [
        literal(&state.id),
        literal(name(state.phase)),
        state.records.to_string(),
        state.expected.to_string(),
        state.started_at.to_string(),
        state
            .ended_at
            .map_or_else(|| "NULL".to_owned(), |it| it.to_string()),
        error.map_or_else(|| "NULL".to_owned(), literal),
        state.accepts_loss.to_string(),
        literal(owner),
    ];
    let insert = format!(
        "INSERT INTO {} (id, phase, records, expected, started_at, ended_at, error, \
         accepts_loss, owner) SELECT {} WHERE {condition}",
        TableName::bookkeeping("rebuilds"),
        values.join(", ")
    );
    session.execute("note a rebuild", &insert).await
}

const PHASES: [(RebuildPhase, &str); 4] = [
    (RebuildPhase::Reading, "reading"),
    (RebuildPhase::Exchanging, "exchanging"),
    (RebuildPhase::Done, "done"),
    (RebuildPhase::Failed, "failed"),
];

fn name(phase: RebuildPhase) -> &'static str {
    let found = PHASES.iter().find(|(it, _)| *it == phase);
    found.map_or("", |(_, name)| name)
}

impl From<StoredRebuild> for KnownRebuild {
    fn from(row: StoredRebuild) -> Self {
        let phase = PHASES.iter().find(|(_, name)| *name == row.phase);
        Self {
            state: RebuildState {
                id: row.id,
                phase: phase.map_or(RebuildPhase::Failed, |(phase, _)| *phase),
                records: row.records,
                expected: row.expected,
                started_at: row.started_at,
                ended_at: row.ended_at,
                error: row.error,
                accepts_loss: row.accepts_loss,
            },
            owner: row.owner,
            silent_for: Duration::from_millis(row.silent_ms.max(0).unsigned_abs()),
        }
    }
}
