//! Inserts groups of rows, and retries until each row is stored or rejected. Also
//! says what to do about each kind of failure.

use std::{fmt, sync::Arc, time::Duration};

use chassis::Health;
use metrics::{counter, histogram};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::preparer::TablePreparer;
use crate::ingest::{
    Inserted, Inserts, KeptAsText, RefusedRow, Rows, Store, StoreError, StoreErrorKind,
    conditions::{ANOTHER_WAREHOUSE, CLICKHOUSE, WAREHOUSE},
    decode::router::{DecodedMessages, RowGroup},
    metrics as names,
};

/// How often the warehouse's id is checked while it is not the expected one.
const WAREHOUSE_CHECK: Duration = Duration::from_secs(2);

/// The process stops before the rows are stored. They will be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Inserts groups of rows.
pub(crate) struct Inserter {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) preparer: Arc<TablePreparer>,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
    /// Id of the warehouse that the committed offsets belong to.
    pub(crate) expected: watch::Receiver<String>,
}

enum InsertOutcome {
    /// Stored, except these rows, by their index among those sent.
    Stored(Vec<RefusedRow>),
    SchemaChanged(StoreError),
    Refused(String),
}

impl Inserter {
    /// Prepares the tables of a group; retries until it succeeds.
    pub(crate) async fn prepare_tables(&self, group: &RowGroup) -> Result<(), Stopped> {
        let mut backoff = Backoff::default();
        loop {
            match self.preparer.prepare(group).await {
                Ok(()) => {
                    self.health.holds(CLICKHOUSE);
                    return Ok(());
                }
                Err(error) => self.wait(&error, &mut backoff).await?,
            }
        }
    }

    /// Stores the rows of a group. Returns the rows that the store rejects, by the
    /// index of their message; all others are stored.
    pub(crate) async fn store(
        &self,
        decoded: &DecodedMessages,
        group: &RowGroup,
    ) -> Result<Vec<RefusedRow>, Stopped> {
        let mut refused = Vec::new();
        let mut backoff = Backoff::default();
        let mut work: Vec<&[usize]> = vec![&group.rows];
        // All attempts use the same inserts until the columns change. So the
        // store recognises rows by their token if the answer to an earlier
        // attempt was lost.
        let mut inserts = self.inserts(group, &mut backoff).await?;
        while let Some(rows) = work.pop() {
            match self.insert(&*inserts, Rows::new(decoded, rows)).await? {
                InsertOutcome::Stored(stored) => {
                    refused.extend(stored.into_iter().filter_map(|row| {
                        let index = *rows.get(row.index)?;
                        Some(RefusedRow { index, ..row })
                    }));
                }
                InsertOutcome::SchemaChanged(error) => {
                    self.recover(group, &error, &mut backoff).await?;
                    inserts = self.inserts(group, &mut backoff).await?;
                    work.push(rows);
                }
                // Split in halves until the row that causes this is alone.
                InsertOutcome::Refused(why) => match rows {
                    [] => {}
                    [index] => refused.push(RefusedRow {
                        index: *index,
                        error: why,
                    }),
                    _ => {
                        let (left, right) = rows.split_at(rows.len() / 2);
                        work.push(right);
                        work.push(left);
                    }
                },
            }
        }
        Ok(refused)
    }

    /// Inserts for the current columns of a group's tables.
    async fn inserts(
        &self,
        group: &RowGroup,
        backoff: &mut Backoff,
    ) -> Result<Box<dyn Inserts + '_>, Stopped> {
        loop {
            match self.store.inserts(&group.target) {
                Ok(inserts) => return Ok(inserts),
                Err(error) => self.recover(group, &error, backoff).await?,
            }
        }
    }

    /// Sends rows; retries until the store answers.
    async fn insert(
        &self,
        inserts: &dyn Inserts,
        rows: Rows<'_>,
    ) -> Result<InsertOutcome, Stopped> {
        let mut backoff = Backoff::default();
        loop {
            let error = match inserts.insert(rows).await {
                Ok(stored) => {
                    self.health.holds(CLICKHOUSE);
                    let KeptAsText { text, form } = stored.kept_as_text;
                    counter!(names::VALUES_KEPT_AS_TEXT, "kind" => "text").increment(text);
                    counter!(names::VALUES_KEPT_AS_TEXT, "kind" => "form").increment(form);
                    stored.tables.into_iter().for_each(count);
                    return Ok(InsertOutcome::Stored(stored.refused));
                }
                Err(error) => error,
            };
            match error.kind {
                StoreErrorKind::SchemaChanged => return Ok(InsertOutcome::SchemaChanged(error)),
                StoreErrorKind::Poison => return Ok(InsertOutcome::Refused(describe(&error))),
                StoreErrorKind::Unavailable | StoreErrorKind::Fatal => {
                    self.wait(&error, &mut backoff).await?;
                }
            }
        }
    }

    /// Waits, then applies the definitions, before rows are encoded again.
    async fn recover(
        &self,
        group: &RowGroup,
        error: &StoreError,
        backoff: &mut Backoff,
    ) -> Result<(), Stopped> {
        self.wait(error, backoff).await?;
        loop {
            match self.preparer.apply(&group.target, group.portal_id).await {
                Ok(()) => return Ok(()),
                Err(error) => self.wait(&error, backoff).await?,
            }
        }
    }

    /// Reports the failure and waits before the next attempt. Waits longer while
    /// the store is another warehouse than expected.
    pub(crate) async fn wait(
        &self,
        error: &StoreError,
        backoff: &mut Backoff,
    ) -> Result<(), Stopped> {
        let kind = match error.kind {
            StoreErrorKind::Unavailable => "unavailable",
            StoreErrorKind::SchemaChanged => "schema_changed",
            StoreErrorKind::Poison => "poison",
            StoreErrorKind::Fatal => "fatal",
        };
        counter!(names::RETRIES, "kind" => kind).increment(1);
        let message = describe(error);
        // New columns are applied within milliseconds, so this is no failure yet.
        if error.kind != StoreErrorKind::SchemaChanged || backoff.attempts > 3 {
            self.health.fails(CLICKHOUSE, message.as_str());
        }
        tracing::debug!(kind, error = message, "the store failed; will retry");
        self.pause(backoff.next()).await?;
        while let Ok(id) = self.store.warehouse_id().await {
            if id == *self.expected.borrow() {
                break;
            }
            self.health.fails(WAREHOUSE, ANOTHER_WAREHOUSE);
            self.pause(WAREHOUSE_CHECK).await?;
        }
        Ok(())
    }

    /// Sleeps, unless the process stops first.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Stopped),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

impl fmt::Debug for Inserter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inserter")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

fn count(inserted: Inserted) {
    let Inserted {
        table,
        rows,
        bytes,
        took,
    } = inserted;
    let number = |count: usize| u64::try_from(count).unwrap_or_default();
    histogram!(names::INSERT_SECONDS, "table" => table.clone()).record(took);
    counter!(names::ROWS, "table" => table.clone()).increment(number(rows));
    counter!(names::BYTES, "table" => table).increment(number(bytes));
}

/// Pauses between attempts: 50 ms, doubled up to 5 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        let time = Duration::from_millis(50).saturating_mul(1 << self.attempts.min(7));
        self.attempts += 1;
        time.min(Duration::from_secs(5))
    }
}

/// An error with its sources, on one line.
pub(crate) fn describe(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
