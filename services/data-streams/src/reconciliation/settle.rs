//! Compares one verdict with the warehouse, repairs what differs, at most once, and
//! keeps the outcome.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use schemas::{DigestRange, Millis, RequestKind};

use super::{StreamName, Subject};
use crate::{
    comparison::{self, Comparison, DifferentRange, StoredRanges},
    control::ControlError,
    ingest::JobError,
    warehouse::WarehouseError,
};

/// Ranges that are named in the log.
const NAMED: usize = 10;

/// Time between two looks for the end of a rebuild by another instance.
const OTHER_REBUILD: Duration = Duration::from_secs(5);

/// Why a verdict cannot be compared now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// ClickHouse does not answer, or refuses.
    #[error(transparent)]
    Warehouse(#[from] WarehouseError),
    /// Kafka does not answer, or a rebuild failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The tables differ, and records wait that may be what they lack.
    #[error("records wait for their tables, which may be why the tables differ")]
    RecordsWait,
    /// The worker cannot be asked.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// What a comparison needs of the others.
#[async_trait]
pub(crate) trait Ports: Send + Sync {
    /// The time, in ms.
    fn now_ms(&self) -> Millis;

    /// Whether this instance is the one that compares.
    fn leads(&self) -> bool;

    /// The comparison of the last pass of each of these streams; the first one, if
    /// several instances compared it.
    async fn kept(&self, streams: &[StreamName]) -> Result<Vec<Comparison>, Failure>;

    /// Keeps a comparison for all instances.
    async fn keep(&self, comparison: &Comparison) -> Result<(), Failure>;

    /// Waits until the warehouse has all that the log has now; false if records of some
    /// streams wait for their tables.
    async fn until_loaded(&self) -> Result<bool, Failure>;

    /// What the warehouse has, as of the verdict.
    async fn stored(
        &self,
        subject: &Subject,
        ranges: &[DigestRange],
    ) -> Result<StoredRanges, Failure>;

    /// The objects in these ranges of which there is a dead letter.
    async fn dead_objects(
        &self,
        subject: &Subject,
        ranges: Vec<DifferentRange>,
    ) -> Result<BTreeSet<i64>, Failure>;

    /// Whether another instance fills the tables from the log now.
    async fn others_refill(&self) -> Result<bool, Failure>;

    /// Fills the tables from the log.
    async fn refill(&self) -> Result<(), Failure>;

    /// Asks the worker for a pass over a stream that writes every object.
    async fn ask_for_resync(&self, subject: &Subject) -> Result<(), Failure>;
}

/// What one comparison shows.
struct Look {
    /// Live objects in the warehouse.
    live: i64,
    different: Vec<DifferentRange>,
    /// Those of them without a dead letter: nothing explains them.
    unexplained: Vec<DifferentRange>,
}

/// Compares a verdict with the warehouse and keeps the outcome. `previous` is the last
/// comparison of the stream.
pub(super) async fn settle(
    ports: &dyn Ports,
    subject: &Subject,
    previous: Option<&Comparison>,
) -> Result<Comparison, Failure> {
    let ranges = comparison::ranges(&subject.verdict);
    let is_all_loaded = ports.until_loaded().await?;
    let mut look = Look::take(ports, subject, &ranges).await?;
    if !is_all_loaded && !look.unexplained.is_empty() {
        return Err(Failure::RecordsWait);
    }
    if look.is_to_be_repaired(subject, previous) {
        look = repaired(ports, subject, &ranges, look).await?;
        if !look.unexplained.is_empty() {
            ask(ports, subject).await?;
        }
    }
    let outcome = Comparison {
        compared_at: ports.now_ms(),
        in_warehouse: look.live,
        still_different: comparison::still_different(&look.different),
        ..Comparison::new(&subject.connection, &subject.verdict)
    };
    ports.keep(&outcome).await?;
    tracing::info!(
        connection = outcome.connection,
        stream = outcome.stream,
        run_id = outcome.run_id,
        in_hubspot = outcome.in_hubspot,
        in_warehouse = outcome.in_warehouse,
        still_different = outcome.still_different,
        "verdict compared with the tables"
    );
    Ok(outcome)
}

/// Fills the tables from the log and looks again.
async fn repaired(
    ports: &dyn Ports,
    subject: &Subject,
    ranges: &[DigestRange],
    mut look: Look,
) -> Result<Look, Failure> {
    // Two that fill the same tables at once would lose rows; and what the other one
    // does may be the repair.
    while ports.others_refill().await? {
        tokio::time::sleep(OTHER_REBUILD).await;
        look = Look::take(ports, subject, ranges).await?;
    }
    if look.unexplained.is_empty() {
        return Ok(look);
    }
    tracing::warn!(
        connection = subject.connection,
        stream = subject.verdict.stream,
        ranges = look.unexplained.len(),
        "tables differ from the log, so they are filled from it again"
    );
    ports.refill().await?;
    Look::take(ports, subject, ranges).await
}

/// Asks for a pass that writes every object, as the log lacks something. A person who
/// stopped the connection wants no requests to HubSpot but those asked for.
async fn ask(ports: &dyn Ports, subject: &Subject) -> Result<(), Failure> {
    let (connection, stream) = (&subject.connection, &subject.verdict.stream);
    if subject.is_running || subject.verdict.request_id.is_some() {
        tracing::warn!(
            connection,
            stream,
            "the log itself differs from HubSpot, so a resync is requested"
        );
        ports.ask_for_resync(subject).await
    } else {
        tracing::warn!(
            connection,
            stream,
            "the log itself differs from HubSpot; request a resync, as the connection is stopped"
        );
        Ok(())
    }
}

impl Look {
    async fn take(
        ports: &dyn Ports,
        subject: &Subject,
        ranges: &[DigestRange],
    ) -> Result<Self, Failure> {
        let stored = ports.stored(subject, ranges).await?;
        let different = comparison::differences(ranges, &stored);
        let mut unexplained = different.clone();
        if !different.is_empty() {
            let dead = ports.dead_objects(subject, different.clone()).await?;
            unexplained.retain(|range| !dead.iter().any(|id| range.has(*id)));
        }
        let look = Self {
            live: stored.values().map(|range| range.live).sum(),
            different,
            unexplained,
        };
        look.log(subject);
        Ok(look)
    }

    /// Only ranges of ids and counts, never a value.
    fn log(&self, subject: &Subject) {
        for range in self.different.iter().take(NAMED) {
            tracing::warn!(
                connection = subject.connection,
                stream = subject.verdict.stream,
                run_id = subject.verdict.run_id,
                first_id = range.first_id,
                end_id = range.end_id,
                in_log = range.in_log,
                in_warehouse = range.in_warehouse,
                dead_letters = !self.unexplained.contains(range),
                "objects in a range of ids differ from the log"
            );
        }
        if let Some(more) = self.different.len().checked_sub(NAMED + 1) {
            tracing::warn!(ranges = more + 1, "more ranges of ids differ");
        }
    }

    /// Dead letters are explained. What a pass that wrote every object has left is only
    /// reported, and so is, unless somebody asked for the pass, what the last repair
    /// could not change.
    fn is_to_be_repaired(&self, subject: &Subject, previous: Option<&Comparison>) -> bool {
        let left = comparison::still_different(&self.different);
        let is_known = previous.is_some_and(|it| it.still_different == left);
        !self.unexplained.is_empty()
            && subject.asked != Some(RequestKind::Resync)
            && (subject.asked.is_some() || !is_known)
    }
}
