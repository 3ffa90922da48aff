//! A portal belongs to the connection whose claim is first in the log.
//!
//! Claims on a portal are messages of the status topic, in a partition chosen by
//! the portal. So all workers see them in one order, whichever of them owns the
//! connections. A claim is written once and holds until its connection is
//! deleted. After writing one, a worker reads until it finds it, and so has read
//! every claim before it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use schemas::{EncodeError, Status, partition_for};

use super::{Dependencies, Sources};
use crate::{commit::Committer, messages::Message, ownership::ClaimKeys};

/// How long a claim of our own may stay invisible after it was committed.
const VISIBLE_LIMIT: Duration = Duration::from_secs(30);
/// Pause before the claims are read again.
const RETRY: Duration = Duration::from_millis(50);

/// Claims a portal for a connection. Returns the connection that it belongs to,
/// which may be another.
pub(super) async fn claim<S: Sources>(
    dependencies: &Arc<Dependencies<S>>,
    committer: &Committer,
    connection: &str,
    portal_id: i64,
) -> anyhow::Result<String> {
    let mut claims = read(dependencies, portal_id, None).await?;
    if claims.is_empty() {
        committer
            .publish(vec![message(dependencies, connection, portal_id)?])
            .await?;
        claims = read(dependencies, portal_id, Some(connection)).await?;
    }
    let (holder, others) = claims.split_first().context("our own claim is missing")?;
    let holder = holder.clone();
    // Perhaps one of an attempt that was interrupted.
    if others.iter().any(|it| it == connection) {
        committer
            .publish(vec![release(dependencies, connection, portal_id)])
            .await?;
    }
    Ok(holder)
}

/// The message that releases a portal, to be part of another write.
pub(super) fn release<S>(
    dependencies: &Dependencies<S>,
    connection: &str,
    portal_id: i64,
) -> Message {
    let messages = &dependencies.commits.messages;
    messages.status_tombstone(
        partition(dependencies, portal_id),
        key(connection, portal_id),
    )
}

fn prefix(portal_id: i64) -> String {
    format!("portal:{portal_id}/")
}

fn partition<S>(dependencies: &Dependencies<S>, portal_id: i64) -> i32 {
    partition_for(
        prefix(portal_id).as_bytes(),
        dependencies.control_partitions,
    )
}

fn key(connection: &str, portal_id: i64) -> String {
    format!("{}{connection}", prefix(portal_id))
}

fn message<S>(
    dependencies: &Dependencies<S>,
    connection: &str,
    portal_id: i64,
) -> Result<Message, EncodeError> {
    let status = Status {
        connection: connection.to_owned(),
        at: dependencies.context.clock().now_ms(),
        ..Status::default()
    };
    dependencies.commits.messages.status(
        partition(dependencies, portal_id),
        key(connection, portal_id),
        &status,
    )
}

/// The connections that claim a portal. Waits until `own` is among them, if it
/// is given: an open transaction of another producer may still hide it.
async fn read<S: Sources>(
    dependencies: &Arc<Dependencies<S>>,
    portal_id: i64,
    own: Option<&str>,
) -> anyhow::Result<Vec<String>> {
    let started = Instant::now();
    loop {
        let keys = ClaimKeys {
            partition: partition(dependencies, portal_id),
            prefix: prefix(portal_id),
        };
        let reader = Arc::clone(dependencies);
        let read = move |asked: Vec<_>| reader.log.claims(&asked);
        let found = dependencies.claims.read(keys, read).await?;
        if own.is_none_or(|own| found.iter().any(|it| it == own)) {
            return Ok(found);
        }
        anyhow::ensure!(
            started.elapsed() < VISIBLE_LIMIT,
            "our own claim cannot be read from the status topic"
        );
        tokio::time::sleep(RETRY).await;
    }
}
