//! The scenarios: the whole system over real servers, one module a subject.

mod api;
mod changes;
mod control;
mod failures;
mod first_sync;
mod readers;
mod sdks;
