//! Merges the properties that a portal lists into all that were ever seen. Pure.

use std::collections::{HashMap, HashSet};

use schemas::{Definitions, Millis, Property, PropertySelection};

/// The changed definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// All properties ever seen, under a new version.
    pub(super) definitions: Definitions,
    /// Whether a property is new, came back or is no longer selected, so that records read
    /// before may lack its values, or have values that they are not to have.
    pub(super) grew: bool,
}

/// What the portal lists, by what is to be read of it.
#[derive(Debug, Default)]
pub(super) struct ListedProperties {
    selected: Vec<Property>,
    /// Names of the others.
    unselected: HashSet<String>,
}

/// Selects what is to be read of the properties that a portal lists; `None` for all.
pub(super) fn select(
    listed: Vec<Property>,
    selection: Option<&PropertySelection>,
) -> ListedProperties {
    let is_selected = |it: &Property| selection.is_none_or(|selection| selection.reads(&it.name));
    let (selected, others): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_selected);
    ListedProperties {
        selected,
        unselected: others.into_iter().map(|it| it.name).collect(),
    }
}

/// Merges the listed properties into `known`; `None` if nothing changes. Properties
/// keep their order, and one that is no longer listed or selected is marked as gone. The new
/// version is above that of `known` and above `floor`.
pub(super) fn merge(
    known: &Definitions,
    listed: ListedProperties,
    at: Millis,
    floor: i64,
) -> Option<Change> {
    let ListedProperties {
        selected: listed,
        unselected,
    } = listed;
    let mut by_name: HashMap<String, Property> = listed
        .iter()
        .map(|property| (property.name.clone(), property.clone()))
        .collect();
    let mut grew = false;
    let mut changed = false;
    let mut properties = Vec::with_capacity(known.properties.len().max(listed.len()));
    for property in &known.properties {
        let now = match by_name.remove(&property.name) {
            // What was volatile stays so, or records without a change would get
            // another content hash each time.
            Some(mut now) => {
                now.volatile |= property.volatile || (property.is_volatile() && !now.is_volatile());
                now
            }
            None => Property {
                gone: true,
                ..property.clone()
            },
        };
        // A property that comes back may have had values all the time.
        grew |= property.gone && !now.gone;
        grew |= !property.gone && unselected.contains(&property.name);
        changed |= now != *property;
        properties.push(now);
    }
    for property in listed {
        if let Some(new) = by_name.remove(&property.name) {
            grew = true;
            properties.push(new);
        }
    }
    if !(changed || grew || known.version == 0) {
        return None;
    }
    let definitions = Definitions {
        portal_id: known.portal_id,
        object_type: known.object_type.clone(),
        version: known.version.max(floor) + 1,
        fetched_at: at,
        properties,
    };
    Some(Change { definitions, grew })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, kind: &str) -> Property {
        Property {
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Property::default()
        }
    }

    fn merge(known: &Definitions, listed: Vec<Property>, at: Millis, floor: i64) -> Option<Change> {
        super::merge(known, select(listed, None), at, floor)
    }

    #[test]
    fn a_property_that_is_no_longer_selected_is_gone_and_counts_as_growth_once() {
        let known = known(vec![property("a", "string"), property("b", "string")]);
        let without_b = PropertySelection {
            stream: "contacts".to_owned(),
            is_exclusion: true,
            names: vec!["b".to_owned()],
        };
        let listed = || {
            let all = ["a", "b", "hs_object_id"].map(|name| property(name, "string"));
            select(all.to_vec(), Some(&without_b))
        };
        let change = super::merge(&known, listed(), 9, 0).unwrap();
        assert!(change.grew);
        let gone: Vec<_> = change
            .definitions
            .properties
            .iter()
            .map(|it| it.gone)
            .collect();
        assert_eq!(gone, [false, true, false]);
        assert_eq!(super::merge(&change.definitions, listed(), 10, 0), None);
    }

    fn known(properties: Vec<Property>) -> Definitions {
        Definitions {
            portal_id: 1,
            object_type: "contacts".to_owned(),
            version: 3,
            fetched_at: 0,
            properties,
        }
    }

    #[test]
    fn the_same_list_in_another_order_changes_nothing() {
        let known = known(vec![property("a", "string"), property("b", "number")]);
        assert_eq!(
            merge(
                &known,
                vec![property("b", "number"), property("a", "string")],
                9,
                0
            ),
            None
        );
    }

    #[test]
    fn a_new_property_is_added_at_the_end_and_counts_as_growth() {
        let known = known(vec![property("b", "string")]);
        let change = merge(
            &known,
            vec![property("a", "string"), property("b", "string")],
            9,
            7,
        )
        .unwrap();
        assert!(change.grew);
        assert_eq!(change.definitions.version, 8);
        let names: Vec<_> = change
            .definitions
            .properties
            .iter()
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(names, ["b", "a"]);
    }

    #[test]
    fn a_property_that_is_not_listed_is_kept_as_gone_and_can_come_back() {
        let first = known(vec![property("a", "string")]);
        let gone = merge(&first, vec![], 9, 0).unwrap();
        assert!(!gone.grew);
        assert!(gone.definitions.properties[0].gone);
        assert_eq!(merge(&gone.definitions, vec![], 10, 0), None);
        let back = merge(&gone.definitions, vec![property("a", "string")], 11, 0).unwrap();
        assert!(back.grew);
        assert!(!back.definitions.properties[0].gone);
    }

    #[test]
    fn a_changed_type_does_not_count_as_growth() {
        let known = known(vec![property("a", "string")]);
        assert!(
            !merge(&known, vec![property("a", "number")], 9, 0)
                .unwrap()
                .grew
        );
    }

    #[test]
    fn a_volatile_property_stays_volatile() {
        let read_time = Property {
            field_type: "calculation_read_time".to_owned(),
            ..property("a", "number")
        };
        let first = known(vec![read_time.clone()]);
        assert_eq!(merge(&first, vec![read_time.clone()], 9, 0), None);
        let gone = merge(&first, vec![], 9, 0).unwrap().definitions;
        assert!(gone.properties[0].is_volatile());
        let plain = vec![property("a", "number")];
        let change = merge(&first, plain.clone(), 9, 0).unwrap();
        assert!(!change.grew);
        let second = change.definitions;
        assert!(second.properties[0].volatile);
        assert_eq!(merge(&second, plain, 10, 0), None);
        let third = merge(&second, vec![read_time], 11, 0).unwrap().definitions;
        assert!(third.properties[0].volatile);
    }

    #[test]
    fn a_name_listed_twice_is_kept_once() {
        let change = merge(
            &known(vec![]),
            vec![property("a", "x"), property("a", "x")],
            9,
            0,
        )
        .unwrap();
        assert_eq!(change.definitions.properties.len(), 1);
    }
}
