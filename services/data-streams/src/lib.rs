//! The REST API over the sync, and the loader from Kafka into ClickHouse.
//!
//! The modules in reading order: [`config`] is what the process is told,
//! [`control`] the desired and the observed state of every connection,
//! [`ingest`] the way of a record from the log into a store, [`warehouse`]
//! that store, [`api`] what people script against. They meet in [`run`] only.

pub mod api;
pub mod config;
pub mod control;
pub mod ingest;
pub mod warehouse;
