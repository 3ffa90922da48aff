//! How many records of each object type an account has.

use serde::Deserialize;

use super::{ParseError, owned};

/// HubSpot's ids of the standard types, whose labels depend on the account's language.
const STANDARD_TYPES: [(&str, &str); 8] = [
    ("contacts", "0-1"),
    ("companies", "0-2"),
    ("deals", "0-3"),
    ("tickets", "0-5"),
    ("products", "0-7"),
    ("line_items", "0-8"),
    ("quotes", "0-14"),
    ("leads", "0-136"),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    #[serde(default, rename = "hubspotDefinedObjectTypes")]
    defined: Vec<Count>,
    #[serde(default)]
    custom_object_types: Custom,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Custom {
    #[serde(default)]
    by_object_type: Vec<Count>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    object_type_id: String,
    #[serde(default)]
    plural_label: String,
    usage: i64,
}

impl Count {
    fn is_of(&self, object_type: &str) -> bool {
        let standard = STANDARD_TYPES.iter().find(|it| it.0 == object_type);
        let id = standard.map_or(object_type, |it| it.1);
        let label = self.plural_label.to_lowercase().replace(' ', "_");
        self.object_type_id == id || label == object_type
    }
}

/// The number of live records of a type; `None` if the answer does not say.
pub(in crate::hubspot) fn record_count(
    body: &[u8],
    object_type: &str,
) -> Result<Option<i64>, ParseError> {
    let counts: Counts = owned(body)?;
    let custom = counts.custom_object_types.by_object_type;
    let all = [counts.defined, custom].into_iter().flatten();
    let count = all.into_iter().find(|it| it.is_of(object_type));
    Ok(count.map(|it| it.usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_by_its_id_or_its_label() {
        let body = br#"{"hubspotDefinedObjectTypes": [
            {"objectTypeId": "0-1", "singularLabel": "Kontakt", "pluralLabel": "Kontakte", "usage": 7, "limit": 9},
            {"objectTypeId": "0-421", "pluralLabel": "Appointments", "usage": 3}],
            "customObjectTypes": {"overallUsage": 5, "byObjectType": [
            {"objectTypeId": "2-123", "pluralLabel": "Red cars", "usage": 5}]}}"#;
        let count = |object_type| record_count(body, object_type).unwrap();
        assert_eq!(count("contacts"), Some(7));
        assert_eq!(count("appointments"), Some(3));
        assert_eq!(count("2-123"), Some(5));
        assert_eq!(count("red_cars"), Some(5));
        assert_eq!(count("deals"), None);
        assert!(record_count(b"{", "contacts").is_err());
        assert_eq!(record_count(b"{}", "contacts").unwrap(), None);
    }
}
