//! The scenarios: the whole system over real servers, one module a subject.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod changes;
mod control;
mod failures;
mod first_sync;
mod readers;
