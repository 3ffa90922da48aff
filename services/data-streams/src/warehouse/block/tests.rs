//! Blocks read back by a small reader of the Native format.

use proptest::prelude::*;
use schemas::{Property, unframe};

use super::*;
use crate::warehouse::layout::{ColumnNote, ColumnType};

/// A column read back: its name, its type, and each row's value as text.
type Read = (String, String, Vec<Option<String>>);

struct BlockReader<'a>(&'a [u8]);

impl<'a> BlockReader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    fn varint(&mut self) -> usize {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn string(&mut self) -> String {
        let length = self.varint();
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    fn value(&mut self, kind: &str) -> String {
        match kind {
            "String" => self.string(),
            "Bool" => (self.take(1)[0] == 1).to_string(),
            "Int32" | "Date32" => i32::from_le_bytes(self.take(4).try_into().unwrap()).to_string(),
            "UInt64" | "Int64" | "DateTime64(3, 'UTC')" => {
                i64::from_le_bytes(self.take(8).try_into().unwrap()).to_string()
            }
            "Float64" => f64::from_le_bytes(self.take(8).try_into().unwrap()).to_string(),
            "UInt128" => u128::from_le_bytes(self.take(16).try_into().unwrap()).to_string(),
            other => panic!("unknown type {other}"),
        }
    }

    fn block(bytes: &'a [u8]) -> Vec<Read> {
        let mut reader = Self(bytes);
        let (columns, rows) = (reader.varint(), reader.varint());
        let read = (0..columns)
            .map(|_| {
                let (name, kind) = (reader.string(), reader.string());
                let values = match kind
                    .strip_prefix("Nullable(")
                    .and_then(|k| k.strip_suffix(')'))
                {
                    None => (0..rows).map(|_| Some(reader.value(&kind))).collect(),
                    Some(inner) => {
                        let nulls = reader.take(rows).to_vec();
                        nulls
                            .iter()
                            .map(|null| Some(reader.value(inner)).filter(|_| *null == 0))
                            .collect()
                    }
                };
                (name, kind, values)
            })
            .collect();
        assert!(reader.0.is_empty(), "bytes are left after the block");
        read
    }
}

fn cell(block: &[Read], column: &str, row: usize) -> Option<String> {
    block
        .iter()
        .find(|(name, ..)| name == column)
        .and_then(|(.., values)| values[row].clone())
}

fn layout(properties: &[(&str, &str)]) -> Layout {
    let rows: Vec<_> = properties
        .iter()
        .map(|(name, kind)| {
            let property = Property {
                name: (*name).to_owned(),
                kind: (*kind).to_owned(),
                ..Property::default()
            };
            let note = ColumnNote {
                property: (*name).to_owned(),
                ..ColumnNote::default()
            };
            (*name, ColumnType::of(&property).sql(), note.json())
        })
        .collect();
    Layout::read(
        rows.iter()
            .map(|(name, kind, note)| (*name, *kind, note.as_str())),
        0,
    )
}

fn message(id: i64, properties: &[(&str, &str)]) -> Vec<u8> {
    merged(id, None, properties)
}

fn merged(id: i64, merged_into: Option<i64>, properties: &[(&str, &str)]) -> Vec<u8> {
    let properties = properties.iter().copied().collect();
    CrmRecord {
        created_at: 1_000,
        updated_at: 2_000,
        connection: "default",
        run_id: "run",
        reason: "backfill",
        fetched_at: 3_000,
        fetch_sequence: 7,
        merged_into,
        definitions_version: 1,
        ..CrmRecord::new(1, "contacts", id, &properties)
    }
    .encode(1)
}

fn encoded(layout: &Layout, messages: &[Vec<u8>]) -> Blocks {
    let rows: Vec<_> = messages
        .iter()
        .enumerate()
        .map(|(offset, message)| Row {
            record: CrmRecord::decode(unframe(message).unwrap().datum).unwrap(),
            topic: "hubspot.records",
            partition: 2,
            offset: i64::try_from(offset).unwrap(),
        })
        .collect();
    encode(layout, &rows)
}

#[test]
fn values_are_typed_and_texts_that_would_be_lost_go_to_extra() {
    let layout = layout(&[
        ("amount", "number"),
        ("ok", "bool"),
        ("day", "date"),
        ("name", "string"),
    ]);
    let messages = [
        message(
            5,
            &[
                ("amount", "1.5"),
                ("ok", "true"),
                ("day", "1970-01-03"),
                ("name", "é\n\""),
            ],
        ),
        message(
            6,
            &[
                ("name", "x"),
                ("amount", "1;2"),
                ("new", "a\"b"),
                ("ok", "Yes"),
            ],
        ),
        message(7, &[]),
    ];
    let blocks = encoded(&layout, &messages);
    let wide = BlockReader::block(&blocks.wide.parts.concat());
    assert_eq!(cell(&wide, "amount", 0).as_deref(), Some("1.5"));
    assert_eq!(cell(&wide, "day", 0).as_deref(), Some("2"));
    assert_eq!(cell(&wide, "name", 0).as_deref(), Some("é\n\""));
    assert_eq!(cell(&wide, "amount", 1), None);
    assert_eq!(cell(&wide, "ok", 1).as_deref(), Some("true"));
    assert_eq!(cell(&wide, "_extra", 0).as_deref(), Some("{}"));
    assert_eq!(
        cell(&wide, "_extra", 1).as_deref(),
        Some(r#"{"amount":"1;2","new":"a\"b","ok":"Yes"}"#)
    );
    assert_eq!(cell(&wide, "name", 2), None);
    assert_eq!(
        cell(&wide, "_version", 0),
        Some(schemas::version(2_000, 7).to_string())
    );
    let changes = BlockReader::block(&blocks.changes.parts.concat());
    assert_eq!(
        cell(&changes, "properties", 1).as_deref(),
        Some(r#"{"name":"x","amount":"1;2","new":"a\"b","ok":"Yes"}"#)
    );
    assert_eq!(cell(&changes, "offset", 2).as_deref(), Some("2"));
}

#[test]
fn a_block_has_exactly_the_columns_of_its_insert_statement() {
    let layout = layout(&[("a", "string"), ("b", "number")]);
    let messages = [merged(1, Some(2), &[("a", "x"), ("b", "1"), ("c", "y")])];
    let blocks = encoded(&layout, &messages);
    let names = |block: NativeBlock| -> std::collections::BTreeSet<String> {
        let read = BlockReader::block(&block.parts.concat());
        read.into_iter().map(|(name, ..)| name).collect()
    };
    assert_eq!(
        names(blocks.wide),
        wide_columns(&layout).into_iter().collect()
    );
    assert_eq!(
        names(blocks.changes),
        changes_columns().into_iter().collect()
    );
}

#[test]
fn a_row_that_no_column_can_hold_is_refused_and_the_others_are_encoded() {
    let messages = [message(1, &[]), message(-1, &[]), message(2, &[])];
    let blocks = encoded(&Layout::default(), &messages);
    assert_eq!(blocks.refused, [(1, "object_id is negative")]);
    assert_eq!(blocks.rows, 2);
    let wide = BlockReader::block(&blocks.wide.parts.concat());
    assert_eq!(cell(&wide, "_object_id", 1).as_deref(), Some("2"));
}

#[test]
fn a_property_listed_twice_in_a_record_counts_once() {
    let layout = layout(&[("a", "string")]);
    let messages = [
        message(1, &[("a", "x"), ("a", "y"), ("b", "v"), ("b", "w")]),
        message(2, &[("a", "z")]),
    ];
    let wide = BlockReader::block(&encoded(&layout, &messages).wide.parts.concat());
    assert_eq!(cell(&wide, "a", 0).as_deref(), Some("x"));
    assert_eq!(cell(&wide, "a", 1).as_deref(), Some("z"));
    assert_eq!(cell(&wide, "_extra", 0).as_deref(), Some(r#"{"b":"v"}"#));
}

proptest! {
    #[test]
    fn every_value_is_in_its_column_or_its_text_is_in_extra(
        rows in proptest::collection::vec(proptest::collection::btree_map("[a-f]", "[0-9a-z.\\-]{1,12}|true|[0-9]{1,5}", 0..6), 1..20)
    ) {
        let layout = layout(&[("a", "string"), ("b", "number"), ("c", "bool"), ("d", "datetime"), ("e", "date")]);
        let messages: Vec<_> = rows.iter().enumerate().map(|(id, row)| {
            let row: Vec<_> = row.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            message(i64::try_from(id).unwrap(), &row)
        }).collect();
        let blocks = encoded(&layout, &messages);
        let wide = BlockReader::block(&blocks.wide.parts.concat());
        let changes = BlockReader::block(&blocks.changes.parts.concat());
        for (at, row) in rows.iter().enumerate() {
            let extra: std::collections::BTreeMap<String, String> =
                serde_json::from_str(&cell(&wide, "_extra", at).unwrap_or_else(|| "{}".to_owned())).unwrap();
            for (name, value) in row {
                let kept = extra.get(name) == Some(value);
                prop_assert!(kept || cell(&wide, name, at).as_ref() == Some(value), "{name}={value}");
            }
            for name in ["a", "b", "c", "d", "e"] {
                prop_assert!(row.contains_key(name) || cell(&wide, name, at).is_none());
            }
            let all: std::collections::BTreeMap<String, String> =
                serde_json::from_str(&cell(&changes, "properties", at).unwrap()).unwrap();
            prop_assert_eq!(&all, row);
        }
    }
}
