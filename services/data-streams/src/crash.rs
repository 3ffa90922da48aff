//! The points at which a fault test ends the process at once. Without the
//! feature `fault-injection` they do nothing.

/// A point at which the process can be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A batch is decoded and routed, nothing of it is stored.
    BeforeInsert,
    /// One table has its rows of a batch, others may not.
    AfterInsert,
    /// A batch is stored and its dead letters are acknowledged, no offset is
    /// committed.
    BeforeCommit,
    /// Offsets are committed, the loader does not know it yet.
    AfterCommit,
    /// Columns are added, the views do not show them yet.
    InAlter,
    /// Some statements of a migration are done, the migration is not recorded.
    InMigration,
    /// A rebuild has exchanged one table, not the next.
    InExchange,
}

impl Point {
    /// Its name in `DATA_STREAMS_CRASH_AT`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BeforeInsert => "before-insert",
            Self::AfterInsert => "after-insert",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::InAlter => "in-alter",
            Self::InMigration => "in-migration",
            Self::InExchange => "in-exchange",
        }
    }
}

/// Ends the process if `DATA_STREAMS_CRASH_AT` is this point: `NAME` for the first
/// time that it is reached, `NAME:N` for the Nth.
#[inline]
pub(crate) fn point(point: Point) {
    chassis::crash::point("DATA_STREAMS_CRASH_AT", point.name());
}
