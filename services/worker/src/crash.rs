//! Named places at which a fault test makes the process die at once.
//!
//! Compiled to nothing without the feature `fault-injection`. It must not know
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

/// Dies here if `WORKER_CRASH_AT` names this place (`NAME`, or `NAME:N` for
/// the nth time that it is passed).
#[cfg(feature = "fault-injection")]
pub fn point(point: Point) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static TARGET: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let target = TARGET.get_or_init(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "for fault tests only, so no setting of the product"
        )]
        let text = std::env::var("WORKER_CRASH_AT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((name, count)) = target
        && name == point.name()
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        tracing::error!(point = name, "crash point reached");
        std::process::abort();
    }
}

/// Nothing: crash points are not compiled in.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn point(_: Point) {}
