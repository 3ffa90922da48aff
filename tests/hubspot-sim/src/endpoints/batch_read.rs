//! The batch read endpoint, which reads current values.

use std::{borrow::Cow, collections::BTreeSet};

use serde::Deserialize;
use serde_json::json;

use super::{ApiCall, Page};
use crate::{answer::Answer, portal::Data, selection, state::singular, timestamps};

#[derive(Debug, Deserialize)]
struct BatchReadBody<'a> {
    #[serde(borrow)]
    inputs: Vec<BatchReadInput<'a>>,
    #[serde(borrow, default)]
    properties: Option<Vec<Cow<'a, str>>>,
}

#[derive(Debug, Deserialize)]
struct BatchReadInput<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

pub(super) fn read(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let body: BatchReadBody<'_> = serde_json::from_slice(call.body)
        .map_err(|error| Answer::invalid(&format!("Invalid input JSON: {error}")))?;
    if body.inputs.len() > 100 {
        return Err(Answer::invalid("inputs must contain at most 100 items"));
    }
    let started = timestamps::iso(call.portal.now_ms());
    let withheld = call.withheld();
    let mut data = call.portal.data();
    let Data { state, .. } = &mut *data;
    let name = &call.route.object_type;
    let table = state
        .table_mut(name)
        .ok_or_else(|| Answer::no_such_type(name))?;
    let names = body.properties.iter().flatten().map(Cow::as_ref);
    let selection = selection::of_names(table, names, body.properties.is_some(), &withheld)?;
    let view = call.view();
    let shown = |id: &u64| view.is_none_or(|view| view.holds(*id));
    let mut wanted = BTreeSet::new();
    let mut missing = Vec::new();
    for input in &body.inputs {
        // A merged id reads as the object that replaced it.
        match input.id.parse().map(|id| table.current_id(id)) {
            Ok(id)
                if table.rows(call.archived()).contains_key(&id)
                    && shown(&id)
                    && !call.misses(id) =>
            {
                wanted.insert(id);
            }
            _ => missing.push(input.id.as_ref()),
        }
    }
    let kind = singular(&table.name).to_uppercase();
    let mut page = Page::new(table, selection);
    // HubSpot does not promise or keep the order of the inputs.
    for id in wanted.iter().rev() {
        page.records
            .extend(table.rows(call.archived()).get(id).cloned());
    }
    drop(data);
    call.check(&page.records)?;
    let mut out = Vec::with_capacity(page.size_hint());
    out.extend_from_slice(b"{\"status\":\"COMPLETE\",\"results\":[");
    page.write(&mut out);
    out.push(b']');
    if !missing.is_empty() {
        let message = format!(
            "Could not get some {kind} objects, they may be deleted or not exist. \
             Check that ids are valid."
        );
        let errors = json!([{"status": "error", "category": "OBJECT_NOT_FOUND",
                             "message": message, "context": {"ids": missing}}]);
        out.extend_from_slice(format!(",\"numErrors\":1,\"errors\":{errors}").as_bytes());
    }
    let completed = timestamps::iso(call.portal.now_ms());
    out.extend_from_slice(
        format!(",\"startedAt\":\"{started}\",\"completedAt\":\"{completed}\"}}").as_bytes(),
    );
    let status = if missing.is_empty() { 200 } else { 207 };
    Ok(Answer {
        status,
        ..Answer::rendered(out)
    })
}
