//! Named places at which a fault test makes the process die at once.
//!
//! Nothing happens there without the feature `fault-injection`. It must not know
//! what is done at those places.

/// Places at which the process can be told to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A batch is decoded and sorted, nothing of it is stored.
    BeforeInsert,
    /// One table has its rows of a batch, another may not.
    AfterInsert,
    /// A batch is stored and its dead letters are acknowledged, no offset is
    /// committed.
    BeforeCommit,
    /// Offsets are committed, nobody knows it yet.
    AfterCommit,
    /// Columns were added, the views do not show them yet.
    InAlter,
    /// Some statements of a migration are done, it is not noted yet.
    InMigration,
    /// A rebuild has exchanged one table, and not the next.
    InExchange,
}

impl Point {
    /// Its name in `DATA_STREAMS_CRASH_AT`.
    pub fn name(self) -> &'static str {
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

/// Dies here if `DATA_STREAMS_CRASH_AT` names this place (`NAME`, or `NAME:N` for the nth
/// time that it is passed).
#[inline]
pub fn point(point: Point) {
    chassis::crash::point("DATA_STREAMS_CRASH_AT", point.name());
}
