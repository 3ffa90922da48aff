//! HubSpot to Kafka: obeys the commands topic, fetches what it asks for, and
//! writes pages and positions in one transaction.
//!
//! The parts meet only here. It must not know who reads the topics.

pub mod commit;
pub mod config;
pub mod crash;
pub mod desired;
pub mod hubspot;
pub mod messages;
pub mod ownership;
pub mod schedule;
pub mod status;
pub mod supervisor;
pub mod sync;

mod run;

use std::time::Duration;

pub use config::Config;
pub use run::run;

/// Blocks a thread of our own; never one of the runtime.
#[expect(clippy::disallowed_methods, reason = "these threads exist to block")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
