//! Columns are added, change their type, and outlive their property.

use proptest::prelude::*;

use super::*;

fn property(name: &str, kind: &str) -> Property {
    Property {
        name: name.to_owned(),
        kind: kind.to_owned(),
        ..Property::default()
    }
}

fn definitions(fetched_at: i64, properties: Vec<Property>) -> Definitions {
    Definitions {
        portal_id: 1,
        object_type: "contacts".to_owned(),
        version: 1,
        fetched_at,
        properties,
    }
}

/// The layout after the `ALTER`.
fn applied(layout: &Layout, definitions: &Definitions) -> Layout {
    let mut columns = layout.columns.clone();
    for change in layout.plan(definitions) {
        match change {
            ColumnChange::Add(column) => columns.push(column),
            ColumnChange::Comment(column) => {
                columns
                    .iter_mut()
                    .find(|c| c.name == column.name)
                    .unwrap()
                    .note = column.note;
            }
        }
    }
    let rows: Vec<_> = columns
        .iter()
        .map(|c| (c.name.clone(), c.kind.sql(), c.note.json()))
        .collect();
    Layout::read(
        rows.iter()
            .map(|(name, kind, note)| (name.as_str(), *kind, note.as_str())),
        definitions.fetched_at.max(layout.defined_at),
    )
}

#[test]
fn column_types_are_chosen_by_hubspots_types() {
    let owner = Property {
        referenced_object_type: Some("OWNER".to_owned()),
        ..property("owner", "number")
    };
    assert_eq!(ColumnType::of(&owner), ColumnType::Identifier);
    assert_eq!(
        ColumnType::of(&property("hs_object_id", "number")),
        ColumnType::Identifier
    );
    assert_eq!(
        ColumnType::of(&property("amount", "number")),
        ColumnType::Number
    );
    assert_eq!(
        ColumnType::of(&property("stage", "enumeration")),
        ColumnType::Text
    );
    assert_eq!(
        ColumnType::of(&property("x", "a type of next year")),
        ColumnType::Text
    );
}

#[test]
fn a_changed_type_adds_a_second_column_for_new_values() {
    let first = applied(
        &Layout::default(),
        &definitions(1, vec![property("a", "number")]),
    );
    let second = applied(&first, &definitions(2, vec![property("a", "string")]));
    let names: Vec<_> = second.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["a", "a__2"]);
    assert_eq!(second.current("a").unwrap().1.name, "a__2");
    assert_eq!(second.properties().len(), 1);
    assert_eq!(
        second.plan(&definitions(1, vec![property("a", "number")])),
        [],
        "older definitions change nothing"
    );
}

#[test]
fn column_names_are_unique() {
    let all = vec![
        property("a", "number"),
        property("a__2", "number"),
        property("_version", "string"),
        property("property_version", "string"),
        property("A", "string"),
        property("a", "string"),
        property("", "string"),
    ];
    let layout = applied(&Layout::default(), &definitions(1, all));
    let layout = applied(&layout, &definitions(2, vec![property("a", "string")]));
    let names: Vec<_> = layout.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "a",
            "a__2",
            "property_version",
            "property_version__2",
            "A",
            "a__3"
        ],
        "a leading underscore is reserved"
    );
}

#[test]
fn a_property_gone_from_hubspot_keeps_its_column_with_a_comment() {
    let first = applied(
        &Layout::default(),
        &definitions(1, vec![property("a", "number")]),
    );
    let gone = Property {
        gone: true,
        ..property("a", "number")
    };
    let second = applied(&first, &definitions(2, vec![gone]));
    assert_eq!(second.columns.len(), 1);
    assert!(second.columns[0].note.text().contains("no longer"));
}

#[test]
fn columns_are_added_up_to_the_limit() {
    let many = (0..1_000)
        .map(|i| property(&format!("p{i}"), "string"))
        .collect();
    let layout = applied(&Layout::default(), &definitions(1, many));
    assert_eq!(layout.columns.len(), COLUMN_LIMIT);
}

proptest! {
    #[test]
    fn applying_definitions_twice_changes_nothing_more(names in proptest::collection::vec("\\PC{1,8}", 0..20), kinds in proptest::collection::vec(0usize..4, 20)) {
        let kind = ["string", "number", "bool", "date"];
        let properties = names.iter().zip(&kinds).map(|(n, k)| property(n, kind[*k])).collect();
        let definitions = definitions(1, properties);
        let layout = applied(&Layout::default(), &definitions);
        prop_assert_eq!(layout.plan(&definitions), vec![]);
        for name in &names {
            prop_assert!(layout.current(name).is_some());
        }
    }
}
