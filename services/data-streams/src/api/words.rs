//! The words that fields of answers may have, for the OpenAPI document only: the values
//! come as text from those who know them.

#![expect(dead_code, reason = "describes the answers")]

use utoipa::ToSchema;

/// Whether a connection is to fetch.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum DesiredState {
    Running,
    Stopped,
    Deleted,
}

/// What has become of a command.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum CommandProgress {
    Pending,
    Applied,
    Superseded,
}

/// What the worker says of a connection.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum ObservedState {
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
    Deleted,
}

/// What a stream does.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Phase {
    Backfill,
    Incremental,
    Idle,
    Waiting,
    Stopped,
    Skipped,
    Failed,
}

/// Kind of a requested run.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum RequestedKind {
    Sync,
    Reconcile,
    Resync,
}

/// Kind of a sync that is asked for.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum SyncKind {
    Sync,
    Resync,
}

/// Kind of a reconciliation.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum ReconciliationKind {
    Full,
    Archived,
    Late,
}

/// How far a rebuild is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum RebuildProgress {
    Reading,
    Exchanging,
    Done,
    Failed,
}

/// Which objects of two kinds are listed.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Flag {
    False,
    True,
    Any,
}
