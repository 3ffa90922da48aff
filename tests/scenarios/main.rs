//! The scenarios: the whole system over real servers, one module a subject.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod api;
mod changes;
mod control;
mod crashes;
mod credentials;
mod drift;
mod failures;
mod first_sync;
mod full_disk;
mod half_made;
mod hostile_hubspot;
mod instances;
mod load;
mod loader_crashes;
mod memory;
mod merges;
mod network;
mod ownership;
mod poison;
mod portals;
mod readers;
mod refused_starts;
mod registries;
mod restarts;
mod sdks;
mod security;
mod server_faults;
mod sql;
mod users;
