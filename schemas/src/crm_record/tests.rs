//! The record compared with the Avro library, byte for byte.

use std::collections::HashMap;

use apache_avro::{Schema, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::{codec::HEADER_BYTES, unframe};

/// The record as the Avro library encodes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CrmRecord")]
struct Reference {
    portal_id: i64,
    object_type: String,
    object_id: i64,
    created_at: i64,
    updated_at: i64,
    archived: bool,
    deleted: bool,
    properties: HashMap<String, Option<String>>,
    connection: String,
    run_id: String,
    reason: String,
    fetched_at: i64,
    fetch_sequence: i64,
    merged_into: Option<i64>,
    definitions_version: i64,
    content_hash: i64,
}

/// The schema before there was a content hash.
const FORMER: &str = include_str!("../../avro/released/records.1.avsc");

/// The record of the former version, which decodes a newer schema by field name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CrmRecord")]
struct Former {
    portal_id: i64,
    object_type: String,
    object_id: i64,
    created_at: i64,
    updated_at: i64,
    archived: bool,
    deleted: bool,
    properties: HashMap<String, Option<String>>,
    connection: String,
    run_id: String,
    reason: String,
    fetched_at: i64,
    fetch_sequence: i64,
    merged_into: Option<i64>,
    definitions_version: i64,
}

impl From<&Reference> for Former {
    fn from(reference: &Reference) -> Self {
        let fields = serde_json::to_value(reference).unwrap();
        serde_json::from_value(fields).unwrap()
    }
}

/// What the former version wrote, by the Avro library.
fn former_datum(reference: &Reference) -> Vec<u8> {
    let schema = Schema::parse_str(FORMER).unwrap();
    let mut datum = Vec::new();
    GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_ser(&mut datum, &Former::from(reference))
        .unwrap();
    datum
}

prop_compose! {
    fn references()(
        (portal_id, object_id, created_at, updated_at) in any::<(i64, i64, i64, i64)>(),
        (archived, deleted) in any::<(bool, bool)>(),
        properties in prop::collection::hash_map(".{1,12}", ".{1,200}", 0..60),
        (object_type, connection, run_id, reason) in (".{0,12}", ".{0,12}", ".{0,40}", ".{0,12}"),
        (fetched_at, fetch_sequence, merged_into, definitions_version, content_hash)
            in any::<(i64, i64, Option<i64>, i64, i64)>(),
    ) -> Reference {
        let properties = properties.into_iter().map(|(name, value)| (name, Some(value))).collect();
        Reference {
            portal_id, object_type, object_id, created_at, updated_at, archived, deleted,
            properties, connection, run_id, reason, fetched_at, fetch_sequence, merged_into,
            definitions_version, content_hash,
        }
    }
}

fn properties_of(reference: &Reference) -> PropertyMap {
    let set = reference.properties.iter();
    set.filter_map(|(name, value)| Some((name, value.as_ref()?)))
        .collect()
}

fn record<'a>(
    reference: &'a Reference,
    properties: &'a PropertyMap,
) -> CrmRecord<'a, &'a PropertyMap> {
    let identity = CrmRecord::new(
        reference.portal_id,
        &reference.object_type,
        reference.object_id,
        properties,
    );
    CrmRecord {
        created_at: reference.created_at,
        updated_at: reference.updated_at,
        archived: reference.archived,
        deleted: reference.deleted,
        connection: &reference.connection,
        run_id: &reference.run_id,
        reason: &reference.reason,
        fetched_at: reference.fetched_at,
        fetch_sequence: reference.fetch_sequence,
        merged_into: reference.merged_into,
        definitions_version: reference.definitions_version,
        content_hash: reference.content_hash,
        ..identity
    }
}

fn same(decoded: &CrmRecord<'_, Properties<'_>>, reference: &Reference) -> bool {
    let properties = properties_of(reference);
    let expected = record(reference, &properties);
    let read: HashMap<_, _> = decoded
        .properties
        .iter()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    read == reference.properties
        && decoded.key() == expected.key()
        && decoded.version() == expected.version()
        && (decoded.created_at, decoded.updated_at) == (expected.created_at, expected.updated_at)
        && (decoded.archived, decoded.deleted) == (expected.archived, expected.deleted)
        && (decoded.connection, decoded.run_id, decoded.reason)
            == (expected.connection, expected.run_id, expected.reason)
        && decoded.fetched_at == expected.fetched_at
        && decoded.fetch_sequence == expected.fetch_sequence
        && decoded.merged_into == expected.merged_into
        && decoded.definitions_version == expected.definitions_version
        && decoded.content_hash == expected.content_hash
}

proptest! {
    #[test]
    fn the_avro_library_decodes_what_we_encode(reference in references()) {
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let properties = properties_of(&reference);
        let message = record(&reference, &properties).encode(7);
        let framed = unframe(&message).unwrap();
        prop_assert_eq!(framed.schema_id, 7);
        let mut datum = framed.datum;
        let read: Reference = GenericDatumReader::builder(&schema)
            .build().unwrap().read_deser(&mut datum).unwrap();
        prop_assert_eq!(read, reference);
        prop_assert!(datum.is_empty());
    }

    #[test]
    fn we_decode_what_the_avro_library_encodes(reference in references()) {
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let mut datum = Vec::new();
        GenericDatumWriter::builder(&schema).build().unwrap()
            .write_ser(&mut datum, &reference).unwrap();
        prop_assert!(same(&CrmRecord::decode(&datum).unwrap(), &reference));
    }

    #[test]
    fn a_newer_schema_is_decoded_by_field_name(reference in references()) {
        let newer = SCHEMA.replacen(
            r#"{"name": "portal_id""#,
            r#"{"name": "added_later", "type": "string", "default": ""}, {"name": "portal_id""#,
            1,
        );
        let properties = properties_of(&reference);
        let message = record(&reference, &properties).encode(7);
        // "added_later" comes first and is the empty string.
        let datum = [&[0], &message[HEADER_BYTES..]].concat();
        let translated = Decoder::new(&newer).unwrap().translate(&datum).unwrap().unwrap();
        prop_assert!(same(&CrmRecord::decode(&translated).unwrap(), &reference));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(record) = CrmRecord::decode(&bytes) {
            prop_assert!(record.properties.iter().count() <= bytes.len());
        }
    }

    #[test]
    fn a_cut_message_is_refused(reference in references(), cut in any::<prop::sample::Index>()) {
        let properties = properties_of(&reference);
        let message = record(&reference, &properties).encode(7);
        let datum = &message[HEADER_BYTES..];
        let cut = &datum[..cut.index(datum.len())];
        // Cut right before the last field, it is a message of the former schema.
        prop_assume!(cut.len() != former_datum(&reference).len());
        prop_assert!(CrmRecord::decode(cut).is_err());
    }

    #[test]
    fn the_former_schema_is_decoded_without_translation_and_has_no_hash(
        reference in references(),
    ) {
        let datum = former_datum(&reference);
        let decoder = Decoder::new(FORMER).unwrap();
        prop_assert!(decoder.is_direct());
        prop_assert_eq!(decoder.translate(&datum).unwrap(), None);
        let former = Reference { content_hash: 0, ..reference };
        prop_assert!(same(&CrmRecord::decode(&datum).unwrap(), &former));
        prop_assert!(same(&CrmRecord::decode_again(&datum).unwrap(), &former));
    }

    #[test]
    fn the_former_version_decodes_what_we_encode(reference in references()) {
        let properties = properties_of(&reference);
        let message = record(&reference, &properties).encode(7);
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let mut datum = &message[HEADER_BYTES..];
        let read: Former = crate::codec::reader(&schema).unwrap().read_deser(&mut datum).unwrap();
        prop_assert!(datum.is_empty());
        prop_assert_eq!(read, Former::from(&reference));
    }

    #[test]
    fn the_newer_version_is_the_later_change_then_the_later_read(
        (a, b) in any::<((u32, u32), (u32, u32))>(),
    ) {
        let of = |(updated, sequence): (u32, u32)| version(updated.into(), sequence.into());
        prop_assert_eq!(a.cmp(&b), of(a).cmp(&of(b)));
    }
}

#[test]
fn released_schemas_need_no_translation() {
    assert!(Decoder::new(SCHEMA).unwrap().is_direct());
    for released in RELEASED {
        assert!(Decoder::new(released).unwrap().is_direct());
    }
}

#[test]
fn a_message_is_these_bytes() {
    let properties = PropertyMap::from_iter([("email", "a@b.io")]);
    let record = CrmRecord {
        created_at: 1,
        updated_at: 2,
        archived: true,
        connection: "default",
        run_id: "r",
        reason: "full",
        fetched_at: 3,
        fetch_sequence: 4,
        merged_into: Some(8),
        definitions_version: 5,
        content_hash: -2,
        ..CrmRecord::new(1, "contacts", 7, &properties)
    };
    let former: &[u8] = b"\0\0\0\0\x09\x02\x10contacts\x0e\x02\x04\x01\0\
        \x02\x0aemail\x02\x0ca@b.io\0\x0edefault\x02r\x08full\x06\x08\x02\x10\x0a";
    assert_eq!(record.encode(9), [former, b"\x03"].concat());
}
