//! What the worker has written of each object, for the worker itself. Written in the
//! transaction of the records that it speaks of.
//!
//! A message has the entries of a range of ids, a *pack*, or of one object. Of several
//! entries of one object the one with the larger fetch sequence counts, wherever it
//! stands; that an object is missing in a pack says nothing.

use serde::{Deserialize, Serialize};

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/index.avsc");

/// All schemas that a message may have been written with.
pub const RELEASED: &[&str] = &[include_str!("../avro/released/index.1.avsc")];

/// Entries of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntries {
    /// Name of the connection.
    pub connection: String,
    /// Object type.
    pub stream: String,
    /// How the entries are packed.
    pub layout: i32,
    /// The entries, packed.
    #[serde(with = "apache_avro::serde::bytes")]
    pub entries: Vec<u8>,
}

/// What a message of the index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKey {
    /// Entries from this id on, up to the next pack.
    Pack(i64),
    /// The entry of the object with this id.
    Object(i64),
}

/// Key of a message: `{connection}/{stream}/pack/{first id}` or
/// `{connection}/{stream}/object/{id}`.
pub fn index_key(connection: &str, stream: &str, key: IndexKey) -> String {
    match key {
        IndexKey::Pack(first_id) => format!("{connection}/{stream}/pack/{first_id}"),
        IndexKey::Object(id) => format!("{connection}/{stream}/object/{id}"),
    }
}

/// Connection, stream and content of a key; `None` if it is not one.
pub fn parse_index_key(key: &str) -> Option<(&str, &str, IndexKey)> {
    let mut parts = key.split('/');
    let (connection, stream) = (parts.next()?, parts.next()?);
    let (kind, id) = (parts.next()?, parts.next()?.parse().ok()?);
    let key = match kind {
        "pack" => IndexKey::Pack(id),
        "object" => IndexKey::Object(id),
        _ => return None,
    };
    parts.next().is_none().then_some((connection, stream, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_parsed_to_what_it_was_made_of() {
        for key in [IndexKey::Pack(i64::MIN), IndexKey::Object(7)] {
            let text = index_key("acme", "contacts", key);
            assert_eq!(parse_index_key(&text), Some(("acme", "contacts", key)));
        }
        for wrong in [
            "acme/contacts",
            "acme/contacts/pack/x",
            "acme/contacts/pack/1/2",
        ] {
            assert_eq!(parse_index_key(wrong), None);
        }
    }
}
