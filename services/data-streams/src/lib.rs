//! The REST API over the sync, and the loader from Kafka into ClickHouse.
//!
//! The modules in reading order: [`config`] holds the arguments, [`control`]
//! the desired and the observed state of every connection, [`ingest`] carries
//! records from the log into a store, [`warehouse`] is that store,
//! [`reconciliation`] compares it with what the worker says of the log, [`api`] is
//! the REST API, [`backend`] gives it access to warehouse and loader,
//! [`crash`] names the points where fault tests end the process. [`main()`] leads
//! to where they are wired together, `run.rs`.

mod api;
mod backend;
mod comparison;
mod config;
mod control;
mod crash;
pub mod ingest;
mod message_rules;
mod reconciliation;
mod records;
pub mod warehouse;

mod run;

pub use run::main;
