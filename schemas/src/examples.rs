//! The golden examples, one JSON file per message of a small topic: each is the
//! same after encoding and decoding, by us and by the Avro library.

use apache_avro::{Schema, reader::datum::GenericDatumReader};
use serde::{Serialize, de::DeserializeOwned};

use crate::{codec, unframe};

fn round_trips<T>(schema: &str, example: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let message: T = serde_json::from_str(example).unwrap();
    assert_eq!(
        serde_json::to_value(&message).unwrap(),
        serde_json::from_str::<serde_json::Value>(example).unwrap(),
        "the example names every field",
    );
    let parsed = Schema::parse_str(schema).unwrap();
    let bytes = codec::encode(&parsed, 9, &message).unwrap();
    let framed = unframe(&bytes).unwrap();
    assert_eq!(framed.schema_id, 9);
    assert_eq!(codec::decode::<T>(schema, framed.datum).unwrap(), message);
    let mut datum = framed.datum;
    let value = GenericDatumReader::builder(&parsed)
        .build()
        .unwrap()
        .read_value(&mut datum)
        .unwrap();
    assert!(
        value.validate(&parsed),
        "stock readers see a value of the schema"
    );
}

#[test]
fn a_command_round_trips() {
    round_trips::<crate::Command>(
        crate::command::SCHEMA,
        include_str!("../examples/command.json"),
    );
}

#[test]
fn a_checkpoint_round_trips() {
    round_trips::<crate::Checkpoint>(
        crate::checkpoint::SCHEMA,
        include_str!("../examples/checkpoint.json"),
    );
}

#[test]
fn a_status_round_trips() {
    round_trips::<crate::Status>(
        crate::status::SCHEMA,
        include_str!("../examples/status.json"),
    );
}

#[test]
fn definitions_round_trip() {
    round_trips::<crate::Definitions>(
        crate::definitions::SCHEMA,
        include_str!("../examples/definitions.json"),
    );
}
