//! The endpoint for the number of records of each object type.

use serde_json::{Value, json};

use super::ApiCall;
use crate::{answer::Answer, state::singular, table::Table};

/// Records of a type that the account may have.
const LIMIT: usize = 15_000_000;

/// Records that all custom types together may have.
const CUSTOM_LIMIT: usize = 500_000;

/// The live objects of each type; those in the recycle bin do not count.
pub(super) fn usage(call: &ApiCall<'_>) -> Answer {
    let data = call.portal.data();
    let (custom, defined): (Vec<&Table>, Vec<&Table>) = data
        .state
        .tables
        .iter()
        .partition(|table| table.type_id.starts_with("2-"));
    let used: usize = custom.iter().map(|table| table.live.len()).sum();
    Answer::json(
        200,
        &json!({
            "hubspotDefinedObjectTypes":
                defined.into_iter().map(|table| {
                    let mut shown = record_count(table);
                    if let Some(fields) = shown.as_object_mut() {
                        fields.insert("limit".into(), json!(LIMIT));
                        fields.insert("percentage".into(), percentage(table.live.len(), LIMIT));
                    }
                    shown
                }).collect::<Vec<_>>(),
            "customObjectTypes": {
                "byObjectType": custom.into_iter().map(record_count).collect::<Vec<_>>(),
                "overallLimit": CUSTOM_LIMIT, "overallUsage": used,
                "overallPercentage": percentage(used, CUSTOM_LIMIT),
            },
        }),
    )
}

fn record_count(table: &Table) -> Value {
    let label = table.name.trim_start_matches("p_");
    json!({"objectTypeId": table.type_id, "singularLabel": singular(label),
           "pluralLabel": label, "usage": table.live.len()})
}

fn percentage(used: usize, limit: usize) -> Value {
    let hundredths = used.saturating_mul(10_000) / limit;
    json!(f64::from(u32::try_from(hundredths).unwrap_or(u32::MAX)) / 100.0)
}
