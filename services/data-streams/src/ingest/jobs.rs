//! What runs beside the loading of the log: full passes, rebuilds, and dead
//! letters stored again.

pub(crate) mod full_passes;
pub mod rebuild;
pub(crate) mod reprocess;
