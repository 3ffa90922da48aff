//! A portal belongs to one connection: the one whose claim comes first in the
//! log.
//!
//! Claims on a portal are messages in one partition of the status topic, chosen
//! by the portal, so that they have one order that all workers see, whichever
//! of them owns the connections. A claim is written once and stands until its
//! connection is deleted; whoever has written one reads until it shows, and
//! then sees every claim before it. It must not know what is fetched.

use std::sync::Arc;

use anyhow::Context as _;
use schemas::{Status, partition_for};

use super::{Sources, World};
use crate::{
    commit::{Committer, Message},
    ownership,
};

/// Claims a portal for a connection; the name of the connection that has it.
pub(super) async fn claim<S: Sources>(
    world: &Arc<World<S>>,
    committer: &Committer,
    connection: &str,
    portal_id: i64,
) -> anyhow::Result<String> {
    let before = read(world, portal_id, None).await?;
    if let Some(holder) = before.into_iter().next() {
        return Ok(holder);
    }
    committer
        .publish(vec![message(world, connection, portal_id, true)])
        .await?;
    let after = read(world, portal_id, Some(connection.to_owned())).await?;
    let holder = after
        .into_iter()
        .next()
        .context("our own claim does not show")?;
    if holder != connection {
        committer
            .publish(vec![message(world, connection, portal_id, false)])
            .await?;
    }
    Ok(holder)
}

/// Gives a portal up, as part of another write.
pub(super) fn release<S>(world: &World<S>, connection: &str, portal_id: i64) -> Message {
    message(world, connection, portal_id, false)
}

fn prefix(portal_id: i64) -> String {
    format!("portal:{portal_id}/")
}

fn partition<S>(world: &World<S>, portal_id: i64) -> i32 {
    partition_for(prefix(portal_id).as_bytes(), world.kafka.control_partitions)
}

fn message<S>(world: &World<S>, connection: &str, portal_id: i64, made: bool) -> Message {
    let status = Status {
        connection: connection.to_owned(),
        at: world.context.clock().now_ms(),
        whole: None,
        stream: None,
    };
    Message {
        topic: world.shared.topics.status.clone(),
        partition: Some(partition(world, portal_id)),
        key: format!("{}{connection}", prefix(portal_id)),
        payload: made.then(|| world.shared.codec.status(&status)),
    }
}

async fn read<S: Sources>(
    world: &Arc<World<S>>,
    portal_id: i64,
    own: Option<String>,
) -> anyhow::Result<Vec<String>> {
    let world = Arc::clone(world);
    tokio::task::spawn_blocking(move || {
        let partition = partition(&world, portal_id);
        let prefix = prefix(portal_id);
        ownership::claims(
            &world.kafka,
            &world.worker,
            partition,
            &prefix,
            own.as_deref(),
        )
    })
    .await
    .context("reading panicked")?
}
