//! From rows to the store: tables made ready, rows inserted, the rest in the
//! dead letters, then the commit.

pub(crate) mod dead_letter;
pub(crate) mod inserter;
pub(crate) mod loader;
pub(crate) mod preparer;
pub(crate) mod rows;
