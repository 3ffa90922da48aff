//! What a rebuild is doing, as the store keeps it for all instances.

use std::{sync::atomic::AtomicBool, time::Duration};

use serde::{Deserialize, Serialize};

/// What a rebuild is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildPhase {
    /// Filling the shadow tables, or waiting for the instance that will.
    Reading,
    /// Exchanging the tables, and reading the records that arrived meanwhile.
    Exchanging,
    /// Done.
    Done,
    /// Failed. If it had begun to exchange tables, the next start of a process asks for
    /// a new rebuild; otherwise the live tables are unchanged.
    Failed,
}

/// The progress of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildState {
    /// UUID.
    pub id: String,
    /// What it is doing.
    pub phase: RebuildPhase,
    /// Records read.
    pub records: u64,
    /// Offsets in the log when it began. This is more than the number of records:
    /// transaction markers and compacted records count too.
    pub expected: u64,
    /// When it was asked for, in ms.
    pub started_at: i64,
    /// When it ended, in ms.
    pub ended_at: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether tables may lose objects that the log no longer has.
    pub accepts_loss: bool,
}

impl RebuildState {
    /// The state of a rebuild that is asked for at `now`, in ms.
    pub(crate) fn asked_at(now: i64, accepts_loss: bool) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            phase: RebuildPhase::Reading,
            records: 0,
            expected: 0,
            started_at: now,
            ended_at: None,
            error: None,
            accepts_loss,
        }
    }
}

/// A rebuild, and who carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRebuild {
    /// Its progress.
    pub state: RebuildState,
    /// The instance that carries it out; empty where none does yet.
    pub owner: String,
    /// Time since that instance has last written of it.
    pub silent_for: Duration,
}

impl KnownRebuild {
    /// Whether it is still to be carried out, or to its end.
    pub(crate) fn is_open(&self) -> bool {
        self.state.ended_at.is_none()
    }
}

/// What a live table would lose by a rebuild.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{table} would lose {lost} of its {held} objects, which the log no longer has: request a \
     resync of the connection, which writes them again, or accept the loss with \
     {{\"accept_loss\": true}}"
)]
pub struct TableLoss {
    /// The table.
    pub table: String,
    /// How many live objects it has.
    pub held: u64,
    /// How many of them the log lacks.
    pub lost: u64,
}

/// The right of one instance to carry out rebuilds.
#[derive(Debug)]
pub struct RebuildLease {
    /// Ids of the rebuilds.
    pub ids: Vec<String>,
    /// The instance.
    pub owner: String,
    /// Whether whoever asked for one of them accepts that tables lose objects.
    pub accepts_loss: bool,
    /// Whether another instance has taken them over.
    pub(crate) is_lost: AtomicBool,
}
