//! Makes partitions ours: fences them, then reads the log to its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{Dependencies, Sources};
use crate::{
    commit::TransactionalLog,
    crash,
    ownership::{Assignment, Restored},
};

/// Pause before a take-over that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Pause between two checks of whether membership is confirmed.
const MEMBERSHIP_POLL: Duration = Duration::from_millis(50);

/// Partitions that are fenced, and what the log says of them.
pub(super) struct TakenOver {
    pub(super) partitions: Vec<FencedPartition>,
    pub(super) restored: Restored,
}

/// A partition that no other producer can write to.
pub(super) struct FencedPartition {
    pub(super) number: i32,
    pub(super) log: Box<dyn TransactionalLog>,
}

/// Fences the partitions, all at once, and reads what the log says of them.
/// After a failure it waits until membership was confirmed later than that.
///
/// Fails when Kafka does not answer, or when a partition is revoked meanwhile.
pub(super) async fn take_over<S: Sources>(
    dependencies: &Arc<Dependencies<S>>,
    assignments: &[Assignment],
    failed_at: Option<Instant>,
) -> anyhow::Result<TakenOver> {
    if let Some(failed_at) = failed_at {
        tokio::time::sleep(RETRY).await;
        for assignment in assignments {
            while !assignment.lease.membership().is_confirmed_since(failed_at) {
                anyhow::ensure!(assignment.lease.is_held(), "the partition was revoked");
                tokio::time::sleep(MEMBERSHIP_POLL).await;
            }
        }
    }
    let started = Instant::now();
    let mut fencing = Vec::new();
    for assignment in assignments {
        let (dependencies, number) = (Arc::clone(dependencies), assignment.partition);
        fencing.push(tokio::task::spawn_blocking(move || {
            let log = dependencies.log.fence(number)?;
            anyhow::Ok(FencedPartition { number, log })
        }));
    }
    let mut partitions = Vec::new();
    for fenced in fencing {
        partitions.push(
            fenced
                .await
                .context("fencing panicked")?
                .context("cannot fence a partition")?,
        );
    }
    let fenced_ms = started.elapsed().as_millis();
    crash::point(crash::Point::TakeOver);
    let (reader, numbers) = (
        Arc::clone(dependencies),
        assignments
            .iter()
            .map(|it| it.partition)
            .collect::<Vec<_>>(),
    );
    let restored = tokio::task::spawn_blocking(move || reader.log.restore(&numbers))
        .await
        .context("reading panicked")??;
    let total_ms = started.elapsed().as_millis();
    tracing::debug!(
        partitions = partitions.len(),
        fenced_ms,
        total_ms,
        "fenced and read"
    );
    Ok(TakenOver {
        partitions,
        restored,
    })
}
