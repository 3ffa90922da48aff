//! The endpoints for account, usage, properties, owners, schemas and pipelines.

use serde_json::{Value, json};

use super::ApiCall;
use crate::{
    answer::Answer,
    sensitivity::Sensitivity,
    timestamps::{self, DAY_MS},
};

pub(super) fn details(call: &ApiCall<'_>) -> Answer {
    let offset = call.portal.utc_offset_ms();
    let (hours, minutes) = (offset.abs() / 3_600_000, offset.abs() / 60_000 % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    Answer::json(
        200,
        &json!({"portalId": call.portal.id(), "accountType": "STANDARD",
                "timeZone": "US/Eastern", "companyCurrency": "USD", "additionalCurrencies": [],
                "utcOffset": format!("{sign}{hours:02}:{minutes:02}"),
                "utcOffsetMilliseconds": offset,
                "uiDomain": "app.hubspot.com", "dataHostingLocation": "na1"}),
    )
}

pub(super) fn usage(call: &ApiCall<'_>) -> Answer {
    let now = call.portal.now_ms();
    let offset = call.portal.utc_offset_ms();
    let midnight = ((now + offset).div_euclid(DAY_MS) + 1) * DAY_MS - offset;
    Answer::json(
        200,
        &json!({"results": [{"name": "private-apps-api-calls-daily",
                "usageLimit": call.portal.limits().daily.unwrap_or(1_000_000),
                "currentUsage": call.portal.used_today(), "collectedAt": timestamps::iso(now),
                "fetchStatus": "SUCCESS", "resetsAt": timestamps::iso(midnight)}]}),
    )
}

pub(super) fn properties(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let name = &call.route.object_type;
    let sensitivity = match call.raw("dataSensitivity") {
        None => Sensitivity::NonSensitive,
        Some(named) => Sensitivity::named(named)
            .ok_or_else(|| Answer::invalid("dataSensitivity is not one of its values"))?,
    };
    let withheld = call.withheld();
    let data = call.portal.data();
    let table = data
        .state
        .table(name)
        .ok_or_else(|| Answer::no_such_type(name))?;
    let shown = if withheld.list(&table.name, sensitivity)? {
        table.definitions.to_json(call.archived(), sensitivity)
    } else {
        Vec::new()
    };
    Ok(Answer::json(200, &json!({"results": shown})))
}

/// Twelve owners and three former ones.
pub(super) fn owners(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let limit = call.limit(100, 500)?;
    let archived = call.archived();
    let start: u64 = call
        .parameter("after")
        .and_then(|it| it.parse().ok())
        .unwrap_or(0);
    let all = if archived {
        70_000_101..70_000_104
    } else {
        70_000_001..70_000_013_u64
    };
    let mut ids = all.filter(|id| *id >= start);
    let results: Vec<Value> = ids
        .by_ref()
        .take(limit)
        .map(|id| {
            let user = id - 60_000_000;
            json!({"id": id.to_string(), "email": format!("owner{id}@example.com"),
                   "type": "PERSON", "firstName": "Owner", "lastName": format!("No {id}"),
                   "userId": if archived { Value::Null } else { json!(user) },
                   "userIdIncludingInactive": user,
                   "createdAt": "2020-01-01T00:00:00.000Z",
                   "updatedAt": "2021-01-01T00:00:00.000Z", "archived": archived})
        })
        .collect();
    let mut answer = json!({"results": results});
    if let Some(next) = ids.next()
        && let Some(fields) = answer.as_object_mut()
    {
        fields.insert(
            "paging".into(),
            json!({"next": {"after": next.to_string()}}),
        );
    }
    Ok(Answer::json(200, &answer))
}

pub(super) fn schemas(call: &ApiCall<'_>) -> Answer {
    let data = call.portal.data();
    let results: Vec<Value> = data
        .state
        .tables
        .iter()
        .filter(|table| table.type_id.starts_with("2-") && !call.archived())
        .map(|table| {
            let label = table.name.trim_start_matches("p_");
            json!({"id": table.type_id.trim_start_matches("2-"), "objectTypeId": table.type_id,
                   "fullyQualifiedName": table.name, "name": label,
                   "labels": {"singular": label, "plural": label},
                   "primaryDisplayProperty": "hs_object_id", "secondaryDisplayProperties": [],
                   "requiredProperties": [], "searchableProperties": [],
                   "properties": table.definitions.to_json(false, Sensitivity::NonSensitive), "associations": [],
                   "archived": false, "createdAt": "2024-01-01T00:00:00.000Z",
                   "updatedAt": "2024-01-01T00:00:00.000Z"})
        })
        .collect();
    Answer::json(200, &json!({"results": results}))
}

pub(super) fn pipelines(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let name = &call.route.object_type;
    let data = call.portal.data();
    let table = data
        .state
        .table(name)
        .ok_or_else(|| Answer::no_such_type(name))?;
    if !matches!(table.name.as_str(), "deals" | "tickets") {
        return Ok(Answer::json(200, &json!({"results": []})));
    }
    let stages: Vec<Value> = [
        "appointmentscheduled",
        "contractsent",
        "closedwon",
        "closedlost",
    ]
    .iter()
    .enumerate()
    .map(|(order, stage)| {
        json!({"id": stage, "label": stage, "displayOrder": order,
                   "metadata": {"isClosed": (order > 1).to_string(), "probability": "0.5"},
                   "createdAt": "1970-01-01T00:00:00.000Z",
                   "updatedAt": "1970-01-01T00:00:00.000Z", "archived": false,
                   "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT"})
    })
    .collect();
    let pipeline = json!({"id": "default", "label": "Default", "displayOrder": 0,
        "stages": stages, "createdAt": "1970-01-01T00:00:00.000Z",
        "updatedAt": "1970-01-01T00:00:00.000Z", "archived": false});
    Ok(Answer::json(200, &json!({"results": [pipeline]})))
}
