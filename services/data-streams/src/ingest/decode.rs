//! Decodes messages and groups the rows by the tables that they go into.

pub mod decoders;
pub mod router;

pub use decoders::SchemaSource;
