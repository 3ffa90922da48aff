//! The search endpoint.

use super::{ApiCall, Page};
use crate::{
    answer::Answer,
    portal::Data,
    query::{self, PageQuirks, Refused},
    record::Record,
    selection,
};

pub(super) fn page(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let quirks = call.portal.quirks();
    if quirks
        .max_search_body
        .is_some_and(|most| call.body.len() > most)
    {
        return Err(Answer::invalid(
            "The request body is too long: at most 3000 characters",
        ));
    }
    let body: query::SearchBody = serde_json::from_slice(call.body)
        .map_err(|error| Answer::invalid(&format!("Invalid input JSON: {error}")))?;
    let now_ms = call.portal.now_ms();
    let withheld = call.withheld();
    let mut data = call.portal.data();
    data.searches = data.searches.wrapping_add(1);
    let short =
        quirks.short_pages_every > 0 && data.searches.is_multiple_of(quirks.short_pages_every);
    let Data { state, .. } = &mut *data;
    let name = &call.route.object_type;
    let table = state
        .table_mut(name)
        .ok_or_else(|| Answer::no_such_type(name))?;
    table.index.catch_up(now_ms);
    let page_quirks = PageQuirks {
        slop_ms: quirks.window_slop_ms,
        short,
        view: call.view(),
    };
    let found = query::run(table, &body, page_quirks).map_err(|refused| match refused {
        Refused::NoSuchProperty(name) => Answer::no_such_property(&name),
        Refused::Invalid(message) => Answer::invalid(&message),
        Refused::EpochZero => Answer::error(500, "INTERNAL_ERROR", "internal error"),
    })?;
    let names = body.properties.iter().map(String::as_str);
    let selection = selection::of_names(table, names, !body.properties.is_empty(), &withheld)?;
    let mut page = Page::new(table, selection);
    for (id, modified_ms) in found.rows {
        // An object archived since it was indexed is shown as live.
        if let Some(record) = table.live.get(&id).or_else(|| table.archived.get(&id)) {
            page.records.push(Record {
                updated_ms: modified_ms,
                archived_ms: None,
                ..record.clone()
            });
        }
    }
    drop(data);
    call.check(&page.records)?;
    let mut out = Vec::with_capacity(page.size_hint());
    out.extend_from_slice(format!("{{\"total\":{},\"results\":[", found.total).as_bytes());
    page.write(&mut out);
    out.push(b']');
    if let Some(next) = found.next {
        out.extend_from_slice(
            format!(",\"paging\":{{\"next\":{{\"after\":\"{next}\",\"link\":\"?after={next}\"}}}}")
                .as_bytes(),
        );
    }
    out.push(b'}');
    Ok(Answer::rendered(out))
}
