//! The names of the properties to request, encoded once per version of the
//! definitions.

use std::{collections::HashMap, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use schemas::Definitions;
use tokio::sync::RwLock;

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The names of all properties that HubSpot still has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// As the value of a query parameter.
    pub(super) query: String,
    /// As a JSON array.
    pub(super) json: String,
}

/// The latest selection of each object type.
#[derive(Debug, Default)]
pub(super) struct Selections {
    cached: RwLock<HashMap<String, (i64, Arc<Selection>)>>,
}

impl Selections {
    /// The selection of all properties in `definitions`.
    pub(super) async fn of(&self, object_type: &str, definitions: &Definitions) -> Arc<Selection> {
        if let Some((version, selection)) = self.cached.read().await.get(object_type)
            && *version == definitions.version
        {
            return Arc::clone(selection);
        }
        let selection = Arc::new(Selection::new(definitions));
        let entry = (definitions.version, Arc::clone(&selection));
        self.cached
            .write()
            .await
            .insert(object_type.to_owned(), entry);
        selection
    }
}

impl Selection {
    /// No property.
    pub(super) fn none() -> Self {
        Self {
            query: String::new(),
            json: "[]".to_owned(),
        }
    }

    fn new(definitions: &Definitions) -> Self {
        let present = definitions
            .properties
            .iter()
            .filter(|property| !property.gone);
        let names: Vec<&str> = present.map(|property| property.name.as_str()).collect();
        let encoded: Vec<_> = names.iter().map(|name| encode(name).to_string()).collect();
        let query = encoded.join(",");
        let json = serde_json::to_string(&names).unwrap_or_else(|_impossible| "[]".to_owned());
        Self { query, json }
    }
}

/// Percent-encodes the value of a query parameter.
pub(super) fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}

/// The property with the time of the last modification. Contacts have another
/// name for it than all other types.
pub(super) fn last_modified(object_type: &str) -> &'static str {
    match object_type {
        "contacts" | "contact" | "0-1" => "lastmodifieddate",
        _ => "hs_lastmodifieddate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubspot::tests::definitions;

    #[tokio::test]
    async fn gone_properties_are_not_requested_and_special_characters_are_encoded() {
        let mut definitions = definitions(&["email", "b&c", "old"]);
        definitions.properties[2].gone = true;
        let selections = Selections::default();
        let selection = selections.of("contacts", &definitions).await;
        assert_eq!(selection.query, "email,b%26c");
        assert_eq!(selection.json, r#"["email","b&c"]"#);
    }

    #[tokio::test]
    async fn a_new_version_of_the_definitions_makes_a_new_selection() {
        let selections = Selections::default();
        let first = selections.of("contacts", &definitions(&["a"])).await;
        let same = selections.of("contacts", &definitions(&["a"])).await;
        assert!(Arc::ptr_eq(&first, &same));
        let newer = Definitions {
            version: 2,
            ..definitions(&["a", "b"])
        };
        assert_eq!(selections.of("contacts", &newer).await.query, "a,b");
    }
}
