//! What the worker has written of each object of a stream: entries in the order of
//! ids, and the messages that keep them in the log.
//!
//! [`entry`] is one object and how entries are packed, [`packs`] are all of a stream,
//! [`first_pass`] is for the benchmark.
//! It must not know HubSpot, HTTP or Kafka.

mod entry;
mod first_pass;
mod packs;

pub(crate) use entry::{Absence, Damaged, Entry, LAYOUT};
pub use first_pass::first_pass;
pub(crate) use packs::{StreamIndex, Write};
