//! The batch read of associations, with paging for each object.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiCall;
use crate::{answer::Answer, state::singular, timestamps};

/// Associated ids of an object per page.
const PAGE: usize = 500;

#[derive(Debug, Deserialize)]
struct AssociationsBody {
    inputs: Vec<AssociationsInput>,
}

#[derive(Debug, Deserialize)]
struct AssociationsInput {
    id: String,
    #[serde(default)]
    after: Option<String>,
}

impl AssociationsInput {
    /// 0 for what is not an id.
    fn object_id(&self) -> u64 {
        self.id.parse().unwrap_or(0)
    }
}

pub(super) fn read(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let body: AssociationsBody = serde_json::from_slice(call.body)
        .map_err(|error| Answer::invalid(&format!("Invalid input JSON: {error}")))?;
    if body.inputs.len() > 1_000 {
        return Err(Answer::invalid("inputs must contain at most 1000 items"));
    }
    call.check_asked(&body.inputs, AssociationsInput::object_id)?;
    let now = timestamps::iso(call.portal.now_ms());
    let data = call.portal.data();
    let table = |name: &str| {
        data.state
            .table(name)
            .ok_or_else(|| Answer::no_such_type(name))
    };
    let (from, to) = (table(&call.route.object_type)?, table(&call.route.detail)?);
    let (one, other) = (singular(&from.name), singular(&to.name));
    let (mut results, mut errors): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for input in &body.inputs {
        let id = input.object_id();
        let linked = data.state.associated(from, id, to);
        let offset: usize = input
            .after
            .as_ref()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        if linked.is_empty() {
            errors.push(json!({"status": "error", "category": "OBJECT_NOT_FOUND",
                "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                "message": format!("No {other} is associated with {one} {}.", input.id),
                "context": {"fromObjectId": [input.id], "fromObjectType": [one],
                            "toObjectType": [other]}}));
            continue;
        }
        let page: Vec<Value> = linked
            .iter()
            .skip(offset)
            .take(PAGE)
            .map(|other| {
                let (one, other) = ((from.name.as_str(), id), (to.name.as_str(), *other));
                let types = data.state.association_types(one, other);
                // A number here; ids are strings everywhere else.
                json!({"toObjectId": other.1, "associationTypes": types})
            })
            .collect();
        let mut result = json!({"from": {"id": input.id}, "to": page});
        if offset + PAGE < linked.len()
            && let Some(fields) = result.as_object_mut()
        {
            let after = (offset + PAGE).to_string();
            fields.insert("paging".into(), json!({"next": {"after": after}}));
        }
        results.push(result);
    }
    let mut answer = json!({"status": "COMPLETE", "results": results,
                            "startedAt": now, "completedAt": now});
    let status = if errors.is_empty() { 200 } else { 207 };
    if !errors.is_empty()
        && let Some(fields) = answer.as_object_mut()
    {
        fields.insert("numErrors".into(), json!(errors.len()));
        fields.insert("errors".into(), json!(errors));
    }
    Ok(Answer::json(status, &answer))
}
