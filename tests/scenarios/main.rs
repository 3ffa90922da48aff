//! The scenarios: the whole system over real servers, one module a subject.

mod api;
mod changes;
mod control;
mod crashes;
mod credentials;
mod drift;
mod failures;
mod first_sync;
mod hostile_hubspot;
mod ownership;
mod portals;
mod readers;
mod refused_starts;
mod registries;
mod restarts;
mod sdks;
mod users;
