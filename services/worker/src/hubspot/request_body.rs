//! The JSON bodies of batch reads and searches.

use schemas::Millis;

use super::selection::{Selection, last_modified};
use crate::sync::Search;

/// Ids per page of a search, the most that HubSpot allows.
const SEARCH_PAGE: usize = 200;
/// In ms since 1970. HubSpot answers a search from 0 with an error, and one from
/// here without.
const EARLIEST_SEARCH: Millis = 1_000;

/// The body of a batch read.
pub(super) fn read_body(ids: &[i64], selection: &Selection) -> String {
    let mut body = String::with_capacity(ids.len() * 24 + selection.json.len() + 32);
    body.push_str(r#"{"inputs":["#);
    for (index, id) in ids.iter().enumerate() {
        body.push_str(if index == 0 {
            r#"{"id":""#
        } else {
            r#",{"id":""#
        });
        body.push_str(&id.to_string());
        body.push_str(r#""}"#);
    }
    body.push_str(r#"],"properties":"#);
    body.push_str(&selection.json);
    body.push('}');
    body
}

/// The body of a batch read of associations: ids, with the cursor of a later page.
pub(super) fn associations_body(asked: &[(i64, String)]) -> String {
    let input = |(id, after): &(i64, String)| {
        let mut input = serde_json::json!({"id": id.to_string()});
        if let Some(input) = input.as_object_mut().filter(|_| !after.is_empty()) {
            input.insert("after".to_owned(), after.as_str().into());
        }
        input
    };
    let inputs: Vec<_> = asked.iter().map(input).collect();
    serde_json::json!({ "inputs": inputs }).to_string()
}

/// The body of a search for an object that has a value of one of a few properties.
pub(super) fn having_body(names: &[&str]) -> String {
    let has = |name: &&str| serde_json::json!({"filters": [{"propertyName": name, "operator": "HAS_PROPERTY"}]});
    let groups: Vec<_> = names.iter().map(has).collect();
    serde_json::json!({"filterGroups": groups, "properties": ["hs_object_id"], "limit": 1})
        .to_string()
}

/// The body of a batch read of some values of one object.
pub(super) fn values_body(id: i64, names: &[&str]) -> String {
    serde_json::json!({"inputs": [{"id": id.to_string()}], "properties": names}).to_string()
}

/// The body of a search. It requests ids only, since properties in the search
/// index can be out of date.
pub(super) fn search_body(object_type: &str, search: Search, after: Option<&str>) -> String {
    let property = last_modified(object_type);
    let filter = |name: &str, operator: &str, value: i64| serde_json::json!({"propertyName": name, "operator": operator, "value": value.to_string()});
    let mut filters = vec![filter(property, "GTE", search.from.max(EARLIEST_SEARCH))];
    filters.extend(search.to.map(|to| filter(property, "LT", to)));
    if search.after_id > 0 {
        filters.push(filter("hs_object_id", "GT", search.after_id));
    }
    let (direction, limit) = if search.highest {
        ("DESCENDING", 1)
    } else {
        ("ASCENDING", SEARCH_PAGE)
    };
    let mut body = serde_json::json!({
        "filterGroups": [{"filters": filters}],
        "sorts": [{"propertyName": "hs_object_id", "direction": direction}],
        "properties": ["hs_object_id"],
        "limit": limit,
    });
    if let (Some(after), Some(body)) = (after, body.as_object_mut()) {
        body.insert("after".to_owned(), after.into());
    }
    body.to_string()
}
