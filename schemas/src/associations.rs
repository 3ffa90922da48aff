//! Streams of associations, such as `contacts>companies`: what each object of one type is
//! associated with of another one. Such a stream has a record for each object of the first
//! type, with one property, [`ASSOCIATIONS`].

use serde::{Deserialize, Serialize};

/// The one property of these records: a JSON array of [`Association`]s, as [`to_json`] writes
/// it. Unset where there is none.
pub const ASSOCIATIONS: &str = "associations";

/// Stands between the two types in the name of a stream.
pub const SEPARATOR: char = '>';

/// The two object types of a stream of associations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssociatedTypes<'a> {
    /// The type whose objects have a record each.
    pub from: &'a str,
    /// The type of the objects that those name.
    pub to: &'a str,
}

/// One association of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// HubSpot's id of the other object, as a string.
    pub id: String,
    /// `HUBSPOT_DEFINED`, `USER_DEFINED`, `INTEGRATOR_DEFINED`, or another of HubSpot's.
    pub category: String,
    /// HubSpot's id of the kind of association; only unique within its category.
    pub type_id: i64,
    /// The label; `None` for the association without one.
    pub label: Option<String>,
}

/// The stream of what objects of one type are associated with of another one.
pub fn stream(from: &str, to: &str) -> String {
    format!("{from}{SEPARATOR}{to}")
}

impl<'a> AssociatedTypes<'a> {
    /// The types of a stream; `None` if it is one of objects.
    pub fn of(stream: &'a str) -> Option<Self> {
        let (from, to) = stream.split_once(SEPARATOR)?;
        Some(Self { from, to })
    }
}

/// The value of [`ASSOCIATIONS`]: ordered by id, category and type, each association once,
/// so that the same set is the same text. Empty for none.
pub fn to_json(mut associations: Vec<Association>) -> String {
    if associations.is_empty() {
        return String::new();
    }
    // Ids are numbers without leading zeros, so a longer one is larger.
    let order = |it: &Association| (it.id.len(), it.id.clone(), it.category.clone(), it.type_id);
    associations.sort_by_cached_key(order);
    associations.dedup();
    // Strings and numbers can always be written as JSON.
    serde_json::to_string(&associations).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn association(id: u64, type_id: i64) -> Association {
        Association {
            id: id.to_string(),
            category: "HUBSPOT_DEFINED".to_owned(),
            type_id,
            label: None,
        }
    }

    #[test]
    fn a_stream_of_associations_names_two_types() {
        let types = AssociatedTypes::of("contacts>p_cars").unwrap();
        assert_eq!((types.from, types.to), ("contacts", "p_cars"));
        assert_eq!(AssociatedTypes::of("contacts"), None);
    }

    #[test]
    fn associations_are_ordered_by_number() {
        let json = to_json(vec![
            association(10, 1),
            association(9, 2),
            association(9, 1),
        ]);
        let expected = r#"[{"id":"9","category":"HUBSPOT_DEFINED","type_id":1,"label":null},{"id":"9","category":"HUBSPOT_DEFINED","type_id":2,"label":null},{"id":"10","category":"HUBSPOT_DEFINED","type_id":1,"label":null}]"#;
        assert_eq!(json, expected);
        assert_eq!(to_json(Vec::new()), "");
    }

    proptest! {
        #[test]
        fn the_same_set_is_the_same_text(
            set in proptest::collection::vec((0_u64..30, 0_i64..3), 0..20).prop_shuffle(),
        ) {
            let of = |set: &[(u64, i64)]| {
                to_json(set.iter().map(|(id, type_id)| association(*id, *type_id)).collect())
            };
            let mut sorted = set.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(of(&set), of(&sorted));
        }
    }
}
