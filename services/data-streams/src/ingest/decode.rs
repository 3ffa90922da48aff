//! Decodes messages and groups the rows by the tables that they go into.

pub(crate) mod decoders;
pub(crate) mod definitions;
pub(crate) mod router;
