//! Stores batches: prepares tables, inserts rows, writes what cannot be stored to
//! the dead letters, then commits offsets.

pub(crate) mod dead_letter;
pub(crate) mod delivery;
pub(crate) mod inserter;
pub(crate) mod loader;
pub(crate) mod notes;
pub(crate) mod positions;
pub(crate) mod preparer;
pub(crate) mod rows;
pub(crate) mod waiting;
