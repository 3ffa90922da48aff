//! Reads the assigned partitions of the records topic and collects their
//! messages in batches.

pub(crate) mod batch;
mod group;
pub(crate) mod guard;
pub(crate) mod handover;
pub(crate) mod message;
pub(crate) mod metadata;
pub(crate) mod poller;
mod progress;

pub(crate) use group::{GroupCommits, GroupContext};
pub(crate) use progress::Progress;
