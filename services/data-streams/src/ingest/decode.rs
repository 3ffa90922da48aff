//! From messages to rows: what each message is, and which tables it is for.

pub mod decoders;
pub mod router;

pub use decoders::SchemaSource;
