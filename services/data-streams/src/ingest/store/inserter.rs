//! One group of rows into the store, whatever it takes.
//!
//! One table maps every kind of failure to what is done about it. It must not
//! know where rows come from.

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

/// The process ends before the rows are stored; they will be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Inserts groups.
pub(crate) struct Inserter {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) preparer: Arc<TablePreparer>,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
    /// Id of the warehouse that the offsets belong to.
    pub(crate) expected: watch::Receiver<String>,
}

enum InsertOutcome {
    /// All but these rows, by their index among those sent.
    Stored(Vec<RefusedRow>),
    SchemaChanged(StoreError),
    Refused(String),
}

impl Inserter {
    /// Makes a group's tables ready, for as long as it takes.
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

    /// Stores rows of a group: all but those refused are stored on return. They
    /// are named by their index into the source.
    pub(crate) async fn store(
        &self,
        decoded: &DecodedMessages,
        group: &RowGroup,
    ) -> Result<Vec<RefusedRow>, Stopped> {
        let mut refused = Vec::new();
        let mut backoff = Backoff::default();
        let mut work: Vec<&[usize]> = vec![&group.rows];
        // The same for all attempts, so that what was stored without our
        // knowledge is known by its token, until the tables change.
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
                // Halved until the row is alone that poisons its block.
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

    /// Inserts for the columns that a group's tables have now.
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

    /// Sends rows until there is an answer to them.
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

    /// Before the same rows are encoded for other columns.
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

    /// Says what is wrong, makes sure that it is still the same warehouse, and
    /// waits before the next attempt.
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
        // A changed table is a matter of milliseconds, and no failure.
        if error.kind != StoreErrorKind::SchemaChanged || backoff.attempts > 3 {
            self.health.fails(CLICKHOUSE, message.as_str());
        }
        tracing::debug!(kind, error = message, "store did not take it: trying again");
        self.pause(backoff.next()).await?;
        while let Ok(id) = self.store.warehouse_id().await {
            if id == *self.expected.borrow() {
                break;
            }
            self.health.fails(WAREHOUSE, ANOTHER_WAREHOUSE);
            self.pause(Duration::from_secs(2)).await?;
        }
        Ok(())
    }

    async fn pause(&self, time: Duration) -> Result<(), Stopped> {
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

/// Growing pauses: 50 ms, doubled up to 5 s.
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

/// An error with its causes, on one line.
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
