//! One version of one HubSpot object, the message of the records topic.
//!
//! Encoded and decoded by hand, as there are millions of them. The tests compare
//! it with the Avro library, byte for byte.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::{
    Millis, PropertyMap,
    codec::{DecodeError, Reader, write_bytes, write_frame, write_long},
    property_map::Properties,
};

/// The Avro schema.
pub const SCHEMA: &str = include_str!("../avro/crm_record.avsc");

/// All schemas that a message may have been written with.
pub const RELEASED: &[&str] = &[
    include_str!("../avro/released/records.1.avsc"),
    include_str!("../avro/released/records.2.avsc"),
];

/// A record. Its properties are a [`PropertyMap`] when it is encoded and
/// [`Properties`] when it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrmRecord<'a, P> {
    /// HubSpot's id of the account.
    pub portal_id: i64,
    /// `contacts`, `companies` and so on.
    pub object_type: &'a str,
    /// HubSpot's id of the object.
    pub object_id: i64,
    /// HubSpot's `createdAt`; 0 for a deleted object if it is not known.
    pub created_at: Millis,
    /// HubSpot's `updatedAt`.
    pub updated_at: Millis,
    /// In the recycle bin.
    pub archived: bool,
    /// Deleted permanently, merged into another, or no longer listed. It has no
    /// properties then.
    pub deleted: bool,
    /// All properties that are set.
    pub properties: P,
    /// The connection that fetched it.
    pub connection: &'a str,
    /// The run that fetched it.
    pub run_id: &'a str,
    /// Why the run was started.
    pub reason: &'a str,
    /// HubSpot's time when the request was sent.
    pub fetched_at: Millis,
    /// Orders the reads of one object.
    pub fetch_sequence: i64,
    /// The object that it was merged into.
    pub merged_into: Option<i64>,
    /// The definitions that describe its properties.
    pub definitions_version: i64,
    /// The 64 bits of [`crate::ContentHasher`]'s hash; 0 if it is not known.
    pub content_hash: i64,
}

/// Key of a record: `{portal_id}/{object_type}/{object_id}`.
pub fn record_key(portal_id: i64, object_type: &str, object_id: i64) -> String {
    let mut key = String::new();
    write_record_key(portal_id, object_type, object_id, &mut key);
    key
}

fn write_record_key(portal_id: i64, object_type: &str, object_id: i64, out: &mut String) {
    // Writing to a string cannot fail.
    write!(out, "{portal_id}/{object_type}/{object_id}").unwrap_or_default();
}

/// The version of a record. Of two versions of an object, the newer has the
/// later last-modified time, then the larger fetch sequence.
pub fn version(updated_at: Millis, fetch_sequence: i64) -> u128 {
    let high = u128::from(updated_at.max(0).unsigned_abs());
    (high << 64) | u128::from(fetch_sequence.max(0).unsigned_abs())
}

impl<'a, P> CrmRecord<'a, P> {
    /// A record that is not deleted. The other fields are 0 or empty.
    pub fn new(portal_id: i64, object_type: &'a str, object_id: i64, properties: P) -> Self {
        Self {
            portal_id,
            object_type,
            object_id,
            created_at: 0,
            updated_at: 0,
            archived: false,
            deleted: false,
            properties,
            connection: "",
            run_id: "",
            reason: "",
            fetched_at: 0,
            fetch_sequence: 0,
            merged_into: None,
            definitions_version: 0,
            content_hash: 0,
        }
    }

    /// Its version by [`version`].
    pub fn version(&self) -> u128 {
        version(self.updated_at, self.fetch_sequence)
    }

    /// Its key by [`record_key`].
    pub fn key(&self) -> String {
        record_key(self.portal_id, self.object_type, self.object_id)
    }

    /// Appends its key.
    pub fn write_key(&self, out: &mut String) {
        write_record_key(self.portal_id, self.object_type, self.object_id, out);
    }
}

impl CrmRecord<'_, &PropertyMap> {
    /// Encodes the message, header included, in the current schema.
    pub fn encode(&self, schema_id: u32) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(schema_id, &mut out);
        out
    }

    /// Appends the message, header included.
    pub fn encode_to(&self, schema_id: u32, out: &mut Vec<u8>) {
        out.reserve(self.properties.encoded_len() + 208);
        write_frame(schema_id, out);
        write_long(out, self.portal_id);
        write_bytes(out, self.object_type.as_bytes());
        write_long(out, self.object_id);
        write_long(out, self.created_at);
        write_long(out, self.updated_at);
        out.push(u8::from(self.archived));
        out.push(u8::from(self.deleted));
        self.properties.write_to(out);
        write_bytes(out, self.connection.as_bytes());
        write_bytes(out, self.run_id.as_bytes());
        write_bytes(out, self.reason.as_bytes());
        write_long(out, self.fetched_at);
        write_long(out, self.fetch_sequence);
        match self.merged_into {
            None => out.push(0),
            Some(id) => {
                write_long(out, 1);
                write_long(out, id);
            }
        }
        write_long(out, self.definitions_version);
        write_long(out, self.content_hash);
    }
}

impl<'a> CrmRecord<'a, Properties<'a>> {
    /// Decodes a datum of any schema in [`RELEASED`]. Each appended fields to the
    /// one before it, so the datum of a former one is a shorter one of the current.
    pub fn decode(datum: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(datum, Properties::read)
    }

    /// Decodes a datum that [`Self::decode`] decoded before, without checking the
    /// texts of its properties again.
    pub fn decode_again(datum: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(datum, Properties::read_again)
    }

    fn read(
        datum: &'a [u8],
        properties: impl FnOnce(&mut Reader<'a>) -> Result<Properties<'a>, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(datum);
        let record = Self {
            portal_id: reader.long()?,
            object_type: reader.string()?,
            object_id: reader.long()?,
            created_at: reader.long()?,
            updated_at: reader.long()?,
            archived: reader.boolean()?,
            deleted: reader.boolean()?,
            properties: properties(&mut reader)?,
            connection: reader.string()?,
            run_id: reader.string()?,
            reason: reader.string()?,
            fetched_at: reader.long()?,
            fetch_sequence: reader.long()?,
            merged_into: match reader.long()? {
                0 => None,
                1 => Some(reader.long()?),
                branch => return Err(DecodeError::Union { branch }),
            },
            definitions_version: reader.long()?,
            content_hash: if reader.is_empty() { 0 } else { reader.long()? },
        };
        match reader.rest().len() {
            0 => Ok(record),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }
}

/// Decodes data of any schema of the subject.
#[derive(Debug)]
pub struct Decoder {
    /// `None` if [`CrmRecord::decode`] reads the writer's schema.
    foreign: Option<apache_avro::Schema>,
}

impl Decoder {
    /// A decoder for the schema that the registry has under a message's id.
    pub fn new(writer_schema: &str) -> Result<Self, DecodeError> {
        let invalid = |reason: String| DecodeError::Schema { reason };
        let parse = |schema: &str| {
            apache_avro::Schema::parse_str(schema).map_err(|error| invalid(error.to_string()))
        };
        let writer = parse(writer_schema)?;
        let form = writer.canonical_form();
        for released in RELEASED {
            if parse(released)?.canonical_form() == form {
                return Ok(Self { foreign: None });
            }
        }
        Ok(Self {
            foreign: Some(writer),
        })
    }

    /// Whether [`CrmRecord::decode`] reads data of the writer's schema as they are.
    pub fn is_direct(&self) -> bool {
        self.foreign.is_none()
    }

    /// Translates a datum to the current schema, for [`CrmRecord::decode`];
    /// `None` if that reads it as it is.
    pub fn translate(&self, datum: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
        let Some(schema) = &self.foreign else {
            return Ok(None);
        };
        let mut rest = datum;
        let record: Foreign = crate::codec::reader(schema)
            .and_then(|reader| reader.read_deser(&mut rest))
            .map_err(|error| DecodeError::Datum {
                reason: error.to_string(),
            })?;
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes { count: rest.len() });
        }
        let set = record.properties.iter();
        let properties = set
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
            .collect();
        let message = CrmRecord {
            portal_id: record.portal_id,
            object_type: &record.object_type,
            object_id: record.object_id,
            created_at: record.created_at,
            updated_at: record.updated_at,
            archived: record.archived,
            deleted: record.deleted,
            properties: &properties,
            connection: &record.connection,
            run_id: &record.run_id,
            reason: &record.reason,
            fetched_at: record.fetched_at,
            fetch_sequence: record.fetch_sequence,
            merged_into: record.merged_into,
            definitions_version: record.definitions_version,
            content_hash: record.content_hash,
        }
        .encode(0);
        Ok(Some(
            message
                .get(crate::codec::HEADER_BYTES..)
                .unwrap_or_default()
                .to_vec(),
        ))
    }
}

/// A record of a schema that is not released, a newer one, decoded by field name.
#[derive(Deserialize)]
#[serde(rename = "CrmRecord")]
struct Foreign {
    portal_id: i64,
    object_type: String,
    object_id: i64,
    created_at: Millis,
    updated_at: Millis,
    archived: bool,
    #[serde(default)]
    deleted: bool,
    properties: std::collections::BTreeMap<String, Option<String>>,
    connection: String,
    run_id: String,
    #[serde(default)]
    reason: String,
    fetched_at: Millis,
    #[serde(default)]
    fetch_sequence: i64,
    #[serde(default)]
    merged_into: Option<i64>,
    #[serde(default)]
    definitions_version: i64,
    #[serde(default)]
    content_hash: i64,
}

#[cfg(test)]
mod tests;
