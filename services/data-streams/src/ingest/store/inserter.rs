//! Inserts groups of rows, and retries until each row is stored or rejected, or their
//! target has failed too often. Also says what to do about each kind of failure.

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

/// Attempts on a target whose tables fail while the store answers; about 2 s.
const TARGET_ATTEMPTS: u32 = 5;

/// The process stops before the rows are stored. They will be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Why rows are not stored.
#[derive(Debug)]
pub(crate) enum Unstored {
    /// The process stops.
    Stopped,
    /// Their target cannot be stored into now. Others can.
    Target(StoreError),
}

impl From<Stopped> for Unstored {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

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
    /// Prepares the tables of a group.
    pub(crate) async fn prepare_tables(&self, group: &RowGroup) -> Result<(), Unstored> {
        let mut backoff = Backoff::default();
        loop {
            match self.preparer.prepare(group).await {
                Ok(()) => {
                    self.health.holds(CLICKHOUSE);
                    return Ok(());
                }
                Err(error) => self.wait(error, &mut backoff).await?,
            }
        }
    }

    /// Prepares the tables of a group and stores its rows, in one attempt.
    pub(crate) async fn try_store(
        &self,
        decoded: &DecodedMessages,
        group: &RowGroup,
    ) -> Result<(), StoreError> {
        self.preparer.apply(&group.target).await?;
        let inserts = self.store.inserts(&group.target)?;
        inserts.insert(Rows::new(decoded, &group.rows)).await?;
        Ok(())
    }

    /// Stores the rows of a group. Returns the rows that the store rejects, by the
    /// index of their message; all others are stored.
    pub(crate) async fn store(
        &self,
        decoded: &DecodedMessages,
        group: &RowGroup,
    ) -> Result<Vec<RefusedRow>, Unstored> {
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
                    self.recover(group, error, &mut backoff).await?;
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
    ) -> Result<Box<dyn Inserts + '_>, Unstored> {
        loop {
            match self.store.inserts(&group.target) {
                Ok(inserts) => return Ok(inserts),
                Err(error) => self.recover(group, error, backoff).await?,
            }
        }
    }

    /// Sends rows; retries until the store answers.
    async fn insert(
        &self,
        inserts: &dyn Inserts,
        rows: Rows<'_>,
    ) -> Result<InsertOutcome, Unstored> {
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
                StoreErrorKind::Poison => return Ok(InsertOutcome::Refused(error.describe())),
                StoreErrorKind::Unavailable
                | StoreErrorKind::Fatal
                | StoreErrorKind::Target
                | StoreErrorKind::NotOurs => self.wait(error, &mut backoff).await?,
            }
        }
    }

    /// Waits, then applies the definitions, before rows are encoded again.
    async fn recover(
        &self,
        group: &RowGroup,
        error: StoreError,
        backoff: &mut Backoff,
    ) -> Result<(), Unstored> {
        self.wait(error, backoff).await?;
        loop {
            match self.preparer.apply(&group.target).await {
                Ok(()) => return Ok(()),
                Err(error) => self.wait(error, backoff).await?,
            }
        }
    }

    /// Reports the failure and waits before the next attempt. Waits longer while
    /// the store is another warehouse than expected. Gives up on the target when its
    /// tables, and not the store as a whole, have failed [`TARGET_ATTEMPTS`] times.
    async fn wait(&self, error: StoreError, backoff: &mut Backoff) -> Result<(), Unstored> {
        let (kind, is_of_target) = match error.kind {
            StoreErrorKind::Unavailable => ("unavailable", false),
            StoreErrorKind::SchemaChanged => ("schema_changed", true),
            StoreErrorKind::Fatal => ("fatal", false),
            StoreErrorKind::Target => ("target", true),
            // No attempt will do better.
            StoreErrorKind::Poison | StoreErrorKind::NotOurs => {
                return Err(Unstored::Target(error));
            }
        };
        if is_of_target && backoff.attempts >= TARGET_ATTEMPTS {
            return Err(Unstored::Target(error));
        }
        counter!(names::RETRIES, "kind" => kind).increment(1);
        let message = error.describe();
        // What concerns one target says nothing about the store.
        if !is_of_target {
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
