//! Messages compared with the schemas that a registry may have for them.

use std::{fs, path::Path};

use serde::Serialize;

use super::*;
use crate::{
    Checkpoint, Command, CrmRecord, Definitions, PropertyMap, Status, checkpoint, command,
    crm_record, definitions, status,
};

struct Case {
    topic: String,
    key: String,
    value: Vec<u8>,
    own: &'static str,
}

fn encoded<T: Serialize>(schema: &str, message: &T) -> Vec<u8> {
    codec::encode(&codec::Schema::parse_str(schema).unwrap(), 3, message).unwrap()
}

fn example<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn record() -> (String, Vec<u8>) {
    let properties = PropertyMap::from_iter([("email", "a@example.com")]);
    let record = CrmRecord::new(1, "contacts", 7, &properties);
    (record.key(), record.encode(3))
}

/// A message of each topic.
fn cases(topics: &Topics) -> Vec<Case> {
    let command: Command = example(include_str!("../../examples/command.json"));
    let checkpoint: Checkpoint = example(include_str!("../../examples/checkpoint.json"));
    let status: Status = example(include_str!("../../examples/status.json"));
    let claim = Status {
        connection: "default".to_owned(),
        ..Status::default()
    };
    let definitions: Definitions = example(include_str!("../../examples/definitions.json"));
    let of_definitions = definitions_key(definitions.portal_id, &definitions.object_type);
    let (of_record, record) = record();
    let case = |topic: &str, key: String, value: Vec<u8>, own| Case {
        topic: topic.to_owned(),
        key,
        value,
        own,
    };
    vec![
        case(
            &topics.commands,
            command.connection.clone(),
            encoded(command::SCHEMA, &command),
            command::SCHEMA,
        ),
        case(
            &topics.checkpoints,
            stream_key(&checkpoint.connection, &checkpoint.stream),
            encoded(checkpoint::SCHEMA, &checkpoint),
            checkpoint::SCHEMA,
        ),
        case(
            &topics.status,
            stream_key(&status.connection, "contacts"),
            encoded(status::SCHEMA, &status),
            status::SCHEMA,
        ),
        case(
            &topics.status,
            "portal:7/default".to_owned(),
            encoded(status::SCHEMA, &claim),
            status::SCHEMA,
        ),
        case(
            &topics.definitions,
            of_definitions,
            encoded(definitions::SCHEMA, &definitions),
            definitions::SCHEMA,
        ),
        case(&topics.records, of_record, record, crm_record::SCHEMA),
    ]
}

fn with_a_field(schema: &str) -> String {
    schema.replacen(
        r#""fields": ["#,
        r#""fields": [{"name": "added_later", "type": "string", "default": ""},"#,
        1,
    )
}

#[test]
fn only_the_own_schema_fits() {
    let topics = Topics::with_prefix("x.");
    for case in cases(&topics) {
        let against = |schema: &str| {
            exchanged(
                &topics,
                &case.topic,
                case.key.as_bytes(),
                &case.value,
                schema,
            )
        };
        assert_eq!(against(case.own), None, "{}", case.topic);
        for (topic, schema) in topics.schemas() {
            if topic != case.topic {
                let other = against(schema).unwrap_or_else(|| panic!("{} as {topic}", case.topic));
                assert_eq!((other.topic.as_str(), other.id), (case.topic.as_str(), 3));
                assert_eq!(Some(other.actual), record_name(schema));
            }
        }
        for schema in ["\"string\"", "{}", "not json", r#"{"type": "int"}"#] {
            assert!(against(schema).is_some(), "{} as {schema}", case.topic);
        }
    }
}

#[test]
fn another_version_of_the_same_record_is_another_schema() {
    let topics = Topics::with_prefix("x.");
    for case in cases(&topics) {
        let found = exchanged(
            &topics,
            &case.topic,
            case.key.as_bytes(),
            &case.value,
            &with_a_field(case.own),
        );
        let actual = found.expect("a datum of another layout").actual;
        assert!(actual.starts_with("another version of "), "{actual}");
    }
}

/// A message of the former schema of records or definitions, with that schema.
fn former_cases(topics: &Topics) -> Vec<Case> {
    let [of_records, of_definitions] = [
        include_str!("../../avro/released/records.1.avsc"),
        include_str!("../../avro/released/definitions.1.avsc"),
    ];
    let (key, mut record) = record();
    // Without its last field, the content hash, which is one byte.
    record.pop();
    let mut definitions: Definitions = example(include_str!("../../examples/definitions.json"));
    definitions.properties.truncate(1);
    let mut former = encoded(definitions::SCHEMA, &definitions);
    // Without the last field of the only property: a byte before the list's end.
    former.remove(former.len() - 2);
    let datum = &former[codec::HEADER_BYTES..];
    let read: Definitions = codec::decode(of_definitions, datum).unwrap();
    assert_eq!(read, definitions);
    vec![
        Case {
            topic: topics.records.clone(),
            key,
            value: record,
            own: of_records,
        },
        Case {
            topic: topics.definitions.clone(),
            key: definitions_key(definitions.portal_id, &definitions.object_type),
            value: former,
            own: of_definitions,
        },
    ]
}

#[test]
fn the_id_of_one_released_schema_must_not_mean_the_other() {
    let topics = Topics::with_prefix("x.");
    let against = |case: &Case, schema: &str| {
        let found = exchanged(
            &topics,
            &case.topic,
            case.key.as_bytes(),
            &case.value,
            schema,
        );
        found.map(|it| it.actual)
    };
    for former in former_cases(&topics) {
        let current = cases(&topics);
        let current = current.iter().find(|it| it.topic == former.topic).unwrap();
        for (case, other) in [(&former, current.own), (current, former.own)] {
            assert_eq!(against(case, case.own), None, "{}", case.topic);
            let actual = against(case, other).expect("a contradiction");
            assert!(actual.starts_with("another version of "), "{actual}");
            let is_ours = is_ours(&topics, &case.topic, case.key.as_bytes(), &case.value);
            assert!(is_ours, "{}", case.topic);
        }
    }
}

#[test]
fn a_foreign_message_contradicts_nothing() {
    let topics = Topics::with_prefix("x.");
    let (key, value) = record();
    let against = |topic: &str, key: &str, value: &[u8]| {
        exchanged(&topics, topic, key.as_bytes(), value, command::SCHEMA)
    };
    assert!(against(&topics.records, &key, &value).is_some());
    assert_eq!(against(&topics.records, "1/contacts/8", &value), None);
    assert_eq!(against(&topics.records, &key, &value[..20]), None);
    assert_eq!(against(&topics.records, &key, b"text"), None);
    assert_eq!(against(&topics.dead_letters, &key, &value), None);
    assert_eq!(against("another.topic", &key, &value), None);
}

#[test]
fn a_schema_that_is_newer_than_this_program_fits() {
    let topics = Topics::with_prefix("x.");
    let (key, value) = record();
    // "added_later" comes first and is the empty string.
    let newer = [
        &value[..codec::HEADER_BYTES],
        &[0],
        &value[codec::HEADER_BYTES..],
    ]
    .concat();
    let schema = with_a_field(crm_record::SCHEMA);
    let found = exchanged(&topics, &topics.records, key.as_bytes(), &newer, &schema);
    assert_eq!(found, None);
}

#[test]
fn every_released_schema_is_known() {
    let topics = Topics::with_prefix("");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("avro/released");
    for (topic, current) in topics.schemas() {
        let kind = Kind::of(&topics, topic).unwrap();
        let mut released: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .split('.')
                    .next()
                    == Some(topic)
            })
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        released.sort_unstable();
        let mut known = kind.released().to_vec();
        known.sort_unstable();
        assert_eq!(known, released, "{topic}");
        assert_eq!(record_name(current).as_deref(), Some(kind.record_name()));
    }
}
