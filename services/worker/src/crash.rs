//! Named places at which a fault test makes the process die at once.
//!
//! Nothing happens there without the feature `fault-injection`. It must not know
//! what is done at those places.

/// Places at which the process can be told to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A page was fetched and handed over, nothing is written.
    AfterFetch,
    /// A transaction is about to begin.
    BeforeBegin,
    /// A transaction has begun, nothing is sent.
    AfterBegin,
    /// Half of a transaction's messages are sent.
    MidProduce,
    /// Everything is delivered, nothing is committed.
    BeforeCommit,
    /// The transaction is committed, nobody knows it yet.
    AfterCommit,
    /// Partitions are fenced, nothing is read.
    TakeOver,
    /// A new access token was granted, nothing is kept.
    TokenRefresh,
}

impl Point {
    /// Its name in `WORKER_CRASH_AT`.
    pub fn name(self) -> &'static str {
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

/// Dies here if `WORKER_CRASH_AT` names this place (`NAME`, or `NAME:N` for the nth
/// time that it is passed).
#[inline]
pub fn point(point: Point) {
    chassis::crash::point("WORKER_CRASH_AT", point.name());
}
