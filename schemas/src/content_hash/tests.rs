//! What the hash depends on, and what it does not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Property, unframe};

fn hasher(properties: Vec<Property>) -> ContentHasher {
    ContentHasher::new(&Definitions {
        portal_id: 1,
        object_type: "contacts".to_owned(),
        version: 1,
        fetched_at: 0,
        properties,
    })
}

fn read_time(name: &str) -> Property {
    Property {
        name: name.to_owned(),
        field_type: "calculation_read_time".to_owned(),
        ..Property::default()
    }
}

fn volatile(name: &str) -> Property {
    Property {
        name: name.to_owned(),
        volatile: true,
        ..Property::default()
    }
}

/// Hash of a live object without volatile properties.
fn hash<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
    ContentHasher::default().of_object(false, &PropertyMap::from_iter(properties))
}

/// The rule, written as simply as it goes.
fn by_the_rule(flags: u8, properties: &BTreeMap<String, String>) -> u64 {
    let mut content = vec![flags];
    for text in properties.iter().flat_map(|(name, value)| [name, value]) {
        content.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        content.extend(text.as_bytes());
    }
    XxHash3_64::oneshot(&content)
}

proptest! {
    #[test]
    fn the_order_of_properties_does_not_matter(
        (sorted, shuffled) in prop::collection::btree_map(".{1,9}", ".{1,300}", 0..60)
            .prop_flat_map(|map| {
                let entries: Vec<_> = map.clone().into_iter().collect();
                (Just(map), Just(entries).prop_shuffle())
            }),
        archived in any::<bool>(),
    ) {
        let properties = PropertyMap::from_iter(shuffled);
        let actual = ContentHasher::default().of_object(archived, &properties);
        prop_assert_eq!(actual, by_the_rule(u8::from(archived), &sorted));
    }

    #[test]
    fn volatile_properties_are_left_out_wherever_they_stand(
        entries in prop::collection::btree_map("[a-d]{1,3}", "[a-z]{1,5}", 0..30),
        names in prop::collection::btree_set("[a-d]{1,3}", 0..30),
    ) {
        let definitions = names.iter().enumerate().map(|(number, name)| {
            if number % 2 == 0 { read_time(name) } else { volatile(name) }
        });
        let mut hasher = hasher(definitions.rev().collect());
        let properties = PropertyMap::from_iter(&entries);
        let mut left = entries;
        left.retain(|name, _| !names.contains(name));
        prop_assert_eq!(hasher.of_object(false, &properties), by_the_rule(0, &left));
    }

    #[test]
    fn whoever_decodes_a_record_computes_what_its_writer_did(
        entries in prop::collection::vec(("[a-d]{1,3}", ".{0,9}"), 0..30),
        (archived, deleted) in any::<(bool, bool)>(),
    ) {
        let properties = PropertyMap::from_iter(entries);
        let properties = if deleted { PropertyMap::default() } else { properties };
        let mut hasher = hasher(vec![read_time("a"), volatile("bb")]);
        let written = if deleted {
            deletion_hash(archived)
        } else {
            hasher.of_object(archived, &properties)
        };
        let record = CrmRecord {
            archived,
            deleted,
            content_hash: written.cast_signed(),
            ..CrmRecord::new(1, "contacts", 7, &properties)
        };
        let message = record.encode(9);
        let decoded = CrmRecord::decode(unframe(&message).unwrap().datum).unwrap();
        prop_assert_eq!(hasher.of_record(&decoded), written);
        prop_assert_eq!(decoded.content_hash.cast_unsigned(), written);
    }
}

#[test]
fn the_hash_is_the_one_in_the_readme() {
    let properties = PropertyMap::from_iter([
        ("lastname", "Lovelace"),
        ("firstname", "Ada"),
        ("city", ""),
        ("hs_time_in_stage", "86400000"),
    ]);
    let mut hasher = hasher(vec![read_time("hs_time_in_stage")]);
    let readme = include_str!("../../README.md");
    for hash in [
        hasher.of_object(false, &properties),
        hasher.of_object(true, &properties),
        deletion_hash(false),
        deletion_hash(true),
    ] {
        let row = format!("| `{hash:016x}` | `{}` |", hash.cast_signed());
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn another_content_has_another_hash() {
    let ada = hash([("firstname", "Ada")]);
    assert_ne!(ada, hash([("firstname", "Eda")]));
    assert_ne!(ada, hash([("lastname", "Ada")]));
    assert_ne!(ada, hash([]));
    assert_ne!(
        hash([("a", "b"), ("c", "d")]),
        hash([("a", "b\u{1}\0\0\0c\u{1}\0\0\0d")])
    );
    let archived =
        ContentHasher::default().of_object(true, &PropertyMap::from_iter([("firstname", "Ada")]));
    assert_ne!(ada, archived);
    assert_ne!(hash([]), deletion_hash(false));
    assert_ne!(deletion_hash(true), deletion_hash(false));
}

#[test]
fn an_unset_property_is_an_absent_one() {
    assert_eq!(hash([("city", ""), ("name", "x")]), hash([("name", "x")]));
    // A null or an empty text of another writer.
    let datum = |properties: &[u8]| {
        [
            b"\x02\x10contacts\x0e\0\0\0\0".as_slice(),
            properties,
            b"\0\0\0\0\0\0\0\0",
        ]
        .concat()
    };
    let without = datum(b"\0");
    let of_datum = |datum: &[u8]| {
        let record = CrmRecord::decode(datum).unwrap();
        ContentHasher::default().of_record(&record)
    };
    assert_eq!(of_datum(&datum(b"\x02\x08city\0\0")), of_datum(&without));
    assert_eq!(
        of_datum(&datum(b"\x02\x08city\x02\0\0")),
        of_datum(&without)
    );
}

#[test]
fn the_last_value_under_a_name_counts() {
    assert_eq!(
        hash([("b", "1"), ("a", "old"), ("a", "new")]),
        hash([("a", "new"), ("b", "1")])
    );
    assert_eq!(hash([("a", "old"), ("a", "new")]), hash([("a", "new")]));
}

#[test]
fn no_content_has_the_hash_that_means_not_known() {
    assert_eq!(known(UNKNOWN), 1);
    assert_eq!(known(7), 7);
}
