//! The list endpoint and the read of one object, which show current values.

use std::collections::BTreeMap;

use super::{ApiCall, Page, list_page::List};
use crate::{
    answer::Answer,
    config::CursorMode,
    portal::Data,
    record::Record,
    selection::{self, Selection},
    table::Table,
};

pub(super) fn page(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let limit = call.limit(10, 100)?;
    let cursor = call.portal.quirks().cursor;
    let after = call.parameter("after");
    let mut data = call.portal.data();
    let (table, selection) = table_and_selection(&mut data, call)?;
    let rows = table.rows(call.archived());
    let start = start(rows, cursor, after.as_deref())?;
    let view = call.view();
    let list = List { rows, limit, view };
    let shown = list.page(start);
    let wrong = call.wrong(|fault| list.wrong(start, &shown, fault));
    let shown = wrong.unwrap_or(shown);
    let next = shown.next.map(|id| match cursor {
        CursorMode::Id => id.to_string(),
        CursorMode::Opaque => opaque(id),
        CursorMode::Offset => rows.range(..id).count().to_string(),
    });
    let mut page = Page::new(table, selection);
    page.records.extend(shown.records.into_iter().cloned());
    drop(data);
    call.check(&page.records)?;
    let mut out = Vec::with_capacity(page.size_hint());
    out.extend_from_slice(b"{\"results\":[");
    page.write(&mut out);
    out.push(b']');
    // The last page has no `paging`.
    if let Some(after) = next {
        let name = &call.route.object_type;
        let paging = format!(
            ",\"paging\":{{\"next\":{{\"after\":\"{after}\",\"link\":\
             \"https://api.hubapi.com/crm/objects/v3/{name}?after={after}\"}}}}"
        );
        out.extend_from_slice(paging.as_bytes());
    }
    out.push(b'}');
    Ok(Answer::rendered(out))
}

/// The objects that a call is for, and the properties to show.
fn table_and_selection<'a>(
    data: &'a mut Data,
    call: &ApiCall<'_>,
) -> Result<(&'a Table, Selection), Answer> {
    let withheld = call.withheld();
    let Data {
        state, selections, ..
    } = data;
    let name = &call.route.object_type;
    let table = state
        .table(name)
        .ok_or_else(|| Answer::no_such_type(name))?;
    let selection = selection::of_query(selections, table, call.names().as_deref(), &withheld)?;
    Ok((table, selection))
}

/// The id at which a page starts. `after` need not be the id of a record.
fn start(
    rows: &BTreeMap<u64, Record>,
    cursor: CursorMode,
    after: Option<&str>,
) -> Result<u64, Answer> {
    let refused = || Answer::invalid("after is not a valid cursor");
    let Some(after) = after else { return Ok(0) };
    match cursor {
        CursorMode::Id => after.parse().map_err(|_not_a_number| refused()),
        CursorMode::Opaque => decode(after).ok_or_else(refused),
        CursorMode::Offset => {
            let offset: usize = after.parse().map_err(|_not_a_number| refused())?;
            Ok(rows.keys().nth(offset).copied().unwrap_or(u64::MAX))
        }
    }
}

/// An id as an opaque cursor, which does not parse as a number.
fn opaque(id: u64) -> String {
    format!("Mg{:016x}Zw", id.rotate_left(17) ^ 0x5eed_ba5e_0ddc_0ffe)
}

fn decode(cursor: &str) -> Option<u64> {
    let digits = cursor.strip_prefix("Mg")?.strip_suffix("Zw")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    Some((number ^ 0x5eed_ba5e_0ddc_0ffe).rotate_right(17))
}

pub(super) fn one(call: &ApiCall<'_>) -> Result<Answer, Answer> {
    let mut data = call.portal.data();
    let (table, selection) = table_and_selection(&mut data, call)?;
    let id = call
        .route
        .detail
        .parse()
        .map_err(|_not_a_number| Answer::not_found())?;
    // A merged id reads as the object that replaced it.
    let id = table.current_id(id);
    let rows = table.rows(call.archived());
    let shown = call.view().is_none_or(|view| view.holds(id));
    let record = rows.get(&id).filter(|_| shown);
    let record = record.ok_or_else(Answer::not_found)?;
    call.check(std::slice::from_ref(record))?;
    let mut out = Vec::new();
    record.write_selected(&table.definitions, &selection, &mut out);
    Ok(Answer::rendered(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_opaque_cursor_is_not_a_number_and_can_be_decoded(id: u64) {
            let cursor = opaque(id);
            prop_assert!(cursor.parse::<u64>().is_err());
            prop_assert_eq!(decode(&cursor), Some(id));
        }
    }
}
