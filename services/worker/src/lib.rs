//! HubSpot to Kafka: applies the commands topic, fetches the streams that it names,
//! and writes pages and checkpoints in one transaction.
//!
//! The parts meet only in `run.rs`. It must not know who reads the topics.
//!
//! In reading order: [`config`] holds the arguments, [`ownership`] says which
//! partitions are ours, [`desired`] holds the desired state, [`supervisor`]
//! establishes it, [`schedule`] says which run of a stream is due, [`sync`]
//! makes it, [`index`] is what was written before, [`hubspot`] is where its pages come from, [`commit`] where they
//! go, [`messages`] and [`status`] what is written beside them, [`crash`] names
//! the points where fault tests end the process.

mod commit;
mod config;
mod crash;
mod desired;
mod hubspot;
mod index;
mod messages;
mod ownership;
mod schedule;
mod status;
mod supervisor;
mod sync;

mod run;

use std::time::Duration;

/// For the benchmark of the parser.
pub use hubspot::parse_list_page;
/// For the benchmark of the index.
pub use index::first_pass;
pub use run::main;

/// Blocks the calling thread. Not for threads of the runtime.
#[expect(clippy::disallowed_methods, reason = "these threads exist to block")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
