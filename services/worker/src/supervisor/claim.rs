//! A portal belongs to one connection: the one whose claim comes first in the
//! log.
//!
//! Claims on a portal are messages in one partition of the status topic, chosen
//! by the portal, so that they have one order that all workers see, whichever
//! of them owns the connections. A claim is written once and stands until its
//! connection is deleted; whoever has written one reads until it shows, and
//! then sees every claim before it. It must not know what is fetched.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use schemas::{Status, partition_for};
use tokio::sync::{Mutex as Turn, oneshot};

use super::{Dependencies, Sources};
use crate::{commit::Committer, messages::Message, ownership::ClaimKeys};

/// A claim that does not show for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before a claim that does not show is looked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// Claims a portal for a connection; the name of the connection that has it.
pub(super) async fn claim<S: Sources>(
    dependencies: &Arc<Dependencies<S>>,
    committer: &Committer,
    connection: &str,
    portal_id: i64,
) -> anyhow::Result<String> {
    let before = read(dependencies, portal_id, None).await?;
    if let Some(holder) = before.into_iter().next() {
        return Ok(holder);
    }
    committer
        .publish(vec![message(dependencies, connection, portal_id, true)])
        .await?;
    let after = read(dependencies, portal_id, Some(connection)).await?;
    let holder = after
        .into_iter()
        .next()
        .context("our own claim does not show")?;
    if holder != connection {
        committer
            .publish(vec![message(dependencies, connection, portal_id, false)])
            .await?;
    }
    Ok(holder)
}

/// Gives a portal up, as part of another write.
pub(super) fn release<S>(
    dependencies: &Dependencies<S>,
    connection: &str,
    portal_id: i64,
) -> Message {
    message(dependencies, connection, portal_id, false)
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

fn message<S>(
    dependencies: &Dependencies<S>,
    connection: &str,
    portal_id: i64,
    made: bool,
) -> Message {
    let status = Status {
        connection: connection.to_owned(),
        at: dependencies.context.clock().now_ms(),
        whole: None,
        stream: None,
    };
    let key = format!("{}{connection}", prefix(portal_id));
    let messages = &dependencies.commits.messages;
    let mut message = messages.status(partition(dependencies, portal_id), key, &status);
    if !made {
        message.payload = None;
    }
    message
}

/// Reads claims for all who ask at once: a thousand connections may start
/// together, and each read takes a client of its own.
#[derive(Debug, Default)]
pub struct Claims {
    waiting: Mutex<Vec<(ClaimKeys, oneshot::Sender<Vec<String>>)>>,
    /// Whoever holds it reads for all that wait.
    turn: Turn<()>,
}

impl Claims {
    /// Connections that claim the portal, as the log has them now.
    async fn read<S: Sources>(
        &self,
        dependencies: &Arc<Dependencies<S>>,
        keys: ClaimKeys,
    ) -> anyhow::Result<Vec<String>> {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push((keys, answer));
        tokio::select! {
            biased;
            claims = &mut answered => return claims.context("reading claims failed"),
            _turn = self.turn.lock() => {
                let (asked, answers): (Vec<_>, Vec<_>) = self.waiting().drain(..).unzip();
                let reader = Arc::clone(dependencies);
                let read = move || reader.log.claims(&asked);
                let all = tokio::task::spawn_blocking(read)
                    .await
                    .context("reading panicked")??;
                for (claims, answer) in all.into_iter().zip(answers) {
                    // Whoever asked may have gone.
                    drop(answer.send(claims));
                }
            }
        }
        answered.await.context("reading claims failed")
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(ClaimKeys, oneshot::Sender<Vec<String>>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims on a portal; waits until `own` is among them, if it is named:
/// another producer's open transaction may hide it still.
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
        let found = dependencies.claims.read(dependencies, keys).await?;
        if own.is_none_or(|own| found.iter().any(|it| it == own)) {
            return Ok(found);
        }
        anyhow::ensure!(
            started.elapsed() < PATIENCE,
            "our own claim does not show in the status topic"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
