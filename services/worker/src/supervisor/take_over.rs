//! Makes partitions ours: fence, then read.
//!
//! It must not know what runs on them.

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

/// Before a partition that failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Partitions that are fenced and read.
pub(super) struct TakenOver {
    pub(super) logs: Vec<(i32, Box<dyn TransactionalLog>)>,
    pub(super) restored: Restored,
}

/// Fences the partitions, all at once, and reads what the log says of them.
/// After a failure, only once membership is confirmed anew.
pub(super) async fn take_over<S: Sources>(
    dependencies: &Arc<Dependencies<S>>,
    assignments: &[Assignment],
    failed_at: Option<Instant>,
) -> anyhow::Result<TakenOver> {
    if let Some(failed_at) = failed_at {
        tokio::time::sleep(PAUSE).await;
        for assignment in assignments {
            while !assignment.lease.membership().is_confirmed_since(failed_at) {
                anyhow::ensure!(assignment.lease.is_held(), "the partition was let go");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let started = Instant::now();
    let mut fencing = Vec::new();
    for assignment in assignments {
        let (dependencies, number) = (Arc::clone(dependencies), assignment.partition);
        fencing.push(tokio::task::spawn_blocking(move || {
            dependencies.log.fence(number).map(|log| (number, log))
        }));
    }
    let mut logs = Vec::new();
    for fenced in fencing {
        logs.push(
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
        partitions = logs.len(),
        fenced_ms,
        total_ms,
        "fenced and read"
    );
    Ok(TakenOver { logs, restored })
}
