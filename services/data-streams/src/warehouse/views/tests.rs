//! The statements that create views.

use schemas::{Definitions, Property};

use super::*;
use crate::warehouse::layout::{ColumnChange, ColumnNote};

fn layout(columns: &[(&str, &str, &str)]) -> Layout {
    let rows: Vec<_> = columns
        .iter()
        .map(|(name, kind, property)| {
            let note = ColumnNote {
                property: (*property).to_owned(),
                ..ColumnNote::default()
            };
            (*name, *kind, note.json())
        })
        .collect();
    Layout::read(
        rows.iter()
            .map(|(name, kind, note)| (*name, *kind, note.as_str())),
        0,
    )
}

#[test]
fn the_default_view_hides_deleted_and_archived_objects_and_the_other_does_not() {
    let [all, current] = statements("hubspot", "contacts", &Layout::default());
    assert!(all.contains("`hubspot`.`contacts_all`"));
    assert!(!all.contains("WHERE"));
    assert!(current.ends_with("FINAL WHERE NOT t._deleted AND NOT t._archived"));
}

#[test]
fn a_changed_type_is_one_column_with_its_old_values_cast() {
    let layout = layout(&[
        ("a", "Nullable(String)", "a"),
        ("a__2", "Nullable(Float64)", "a"),
    ]);
    let [all, _] = statements("hubspot", "contacts", &layout);
    assert!(all.contains("`a` Nullable(Float64)"), "{all}");
    assert!(all.contains("coalesce(t.`a__2`, accurateCastOrNull(t.`a`, 'Nullable(Float64)'))"));
    assert!(!all.contains("AS `a__2`"));
    assert!(all.contains("JSONMergePatch"));
}

#[test]
fn special_characters_in_names_and_comments_are_escaped() {
    let definitions = Definitions {
        portal_id: 1,
        object_type: "contacts".to_owned(),
        version: 1,
        fetched_at: 1,
        properties: vec![Property {
            name: "we`ird\\".to_owned(),
            kind: "number".to_owned(),
            label: "it's".to_owned(),
            ..Property::default()
        }],
    };
    let plan = Layout::default().plan(&definitions);
    let [ColumnChange::Add(column)] = plan.as_slice() else {
        panic!("one column")
    };
    let note = column.note.json();
    let layout = Layout::read(
        [(column.name.as_str(), column.kind.sql(), note.as_str())],
        1,
    );
    let [all, _] = statements("hubspot", "contacts", &layout);
    assert!(
        all.contains("`we\\`ird\\\\` Nullable(Float64) COMMENT 'it\\'s'"),
        "{all}"
    );
}
