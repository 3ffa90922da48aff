//! Named points at which a fault test ends the process at once. Without the feature
//! `fault-injection` they do nothing.

/// Points at which the process can be made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A page is fetched and submitted, nothing is written.
    AfterFetch,
    /// A transaction is about to begin.
    BeforeBegin,
    /// A transaction has begun, nothing is sent.
    AfterBegin,
    /// Half of a transaction's messages are sent.
    MidProduce,
    /// The tombstones of a transaction are next: what a new pack of the index repeats.
    /// The pack is sent, and is committed with them or not at all.
    BeforeTombstone,
    /// Everything is delivered, nothing is committed.
    BeforeCommit,
    /// Kafka was asked to commit, and whether it did is not known.
    UnknownCommit,
    /// The transaction is committed, but the streams do not know it yet.
    AfterCommit,
    /// Partitions are fenced, nothing is read.
    TakeOver,
    /// A message of the index is about to be read, after a take-over.
    InRestore,
    /// A part of an index that is filled from the log is submitted.
    InSeed,
    /// Objects that seem to be gone are about to be read by their ids. The second time,
    /// their first read is in the log.
    BeforeConfirm,
    /// A new access token is granted, but not kept yet.
    TokenRefresh,
}

impl Point {
    /// Its name in `WORKER_CRASH_AT`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AfterFetch => "after-fetch",
            Self::BeforeBegin => "before-begin",
            Self::AfterBegin => "after-begin",
            Self::MidProduce => "mid-produce",
            Self::BeforeTombstone => "before-tombstone",
            Self::BeforeCommit => "before-commit",
            Self::UnknownCommit => "unknown-commit",
            Self::AfterCommit => "after-commit",
            Self::TakeOver => "take-over",
            Self::InRestore => "in-restore",
            Self::InSeed => "in-seed",
            Self::BeforeConfirm => "before-confirm",
            Self::TokenRefresh => "token-refresh",
        }
    }
}

/// Aborts the process if `WORKER_CRASH_AT` names this point (`NAME`, or `NAME:N` for
/// the nth time that it is reached).
#[inline]
pub(crate) fn point(point: Point) {
    chassis::crash::point("WORKER_CRASH_AT", point.name());
}
