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
    /// Everything is delivered, nothing is committed.
    BeforeCommit,
    /// The transaction is committed, but the streams do not know it yet.
    AfterCommit,
    /// Partitions are fenced, nothing is read.
    TakeOver,
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
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::TakeOver => "take-over",
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
