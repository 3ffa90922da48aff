//! Stored records, read page by page.
//!
//! Which records are on a page, the wide table says from a few narrow columns;
//! their properties come from `changes` as one string each, which is cheaper
//! than hundreds of columns. It must not know of HTTP.

use std::{collections::HashMap, thread, time::Duration};

use super::{
    error::WarehouseError,
    layout::Layout,
    names::{CHANGES, literal, qualified, raw_database},
    render::Renderer,
    session::Session,
    spacing::Spacing,
};
use crate::records::{ArchivedFilter, RecordPage, RecordQuery, StoredRecord};

/// How often properties are asked for that are not there yet.
const ATTEMPTS: usize = 20;

/// Time between two of these attempts.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Rows that a read of a page takes at once, at least; measured: with 128 or
/// 2,048 a page of 100 takes as long.
const SMALL_BLOCK: usize = 512;

/// The same, at most.
const LARGE_BLOCK: usize = 8_192;

/// Pages that are read at once: more would only take ClickHouse's cores from each
/// other. Two for each core, as if ClickHouse had as many as we have.
pub(crate) fn pages_at_once() -> usize {
    thread::available_parallelism().map_or(4, |cores| cores.get().max(2) * 2)
}

/// Reads a page. As it goes on from an id, which never changes, a record that
/// matches throughout is on exactly one page, whatever changes meanwhile.
pub(crate) async fn page(
    session: &Session,
    place: (&str, &str),
    (layout, spacing): (&Layout, &Spacing),
    filter: &RecordQuery,
) -> Result<RecordPage, WarehouseError> {
    let (destination, object_type) = place;
    let raw = raw_database(destination);
    let mut heads = heads(session, &qualified(&raw, object_type), filter, spacing).await?;
    let more = heads.len() > filter.limit;
    heads.truncate(filter.limit);
    let next = heads.last().map(|head| head.0).filter(|_| more);
    let few = spacing.are_few(&heads, filter);
    let changes = qualified(&raw, CHANGES);
    let texts = texts(session, (&changes, object_type), &heads, few).await?;
    let mut renderer = Renderer::new(layout, filter.properties.as_deref());
    let records = heads
        .into_iter()
        .map(|head| record(head, texts.get(&head.0).map(String::as_str), &mut renderer))
        .collect();
    Ok(RecordPage { records, next })
}

/// A record from what both tables say of it.
pub(crate) fn record(head: Head, text: Option<&str>, renderer: &mut Renderer<'_>) -> StoredRecord {
    let (id, created_at, updated_at, archived, _version) = head;
    StoredRecord {
        id,
        created_at,
        updated_at,
        archived,
        properties: renderer.render(text.unwrap_or("{}")),
    }
}

/// The heads of a page, and one more, which tells whether there is a next page.
///
/// A merging read costs as much as the rows that it begins with, whatever the
/// limit: so it takes them in blocks of about a page, not of the engine's 65,409.
pub(crate) async fn heads(
    session: &Session,
    table: &str,
    filter: &RecordQuery,
    spacing: &Spacing,
) -> Result<Vec<Head>, WarehouseError> {
    let nearly_all = filter.matches_nearly_all();
    let mut found: Vec<Head> = Vec::new();
    let mut after = filter.after;
    loop {
        let wanted = filter.limit + 1 - found.len();
        // Some are deleted or archived.
        let ask = if nearly_all {
            wanted + wanted / 8
        } else {
            wanted
        };
        let statement = format!("{} LIMIT {ask}", heads_statement(table, filter, after));
        let mut query = session.records(&statement);
        if nearly_all {
            let block = ask.clamp(SMALL_BLOCK, LARGE_BLOCK);
            query = query.with_setting("max_block_size", block.to_string());
        }
        let rows = session
            .within("read a page of records", query.fetch_all::<Row>())
            .await?;
        after = rows.last().map(|row| row.0);
        let is_last = rows.len() < ask;
        let matching = rows
            .into_iter()
            .filter(|row| !row.5 && filter.archived.matches(row.3))
            .map(|(id, created_at, updated_at, archived, version, _)| {
                (id, created_at, updated_at, archived, version)
            });
        found.extend(matching.take(wanted));
        if is_last || found.len() > filter.limit {
            break;
        }
    }
    if nearly_all {
        spacing.learn(&found);
    }
    Ok(found)
}

/// Heads after an id, with whether they are deleted. Those that are of no use
/// are left out only where they are many: the filter costs a page of 100 a
/// millisecond. Every table alias is `t`, so that a filter means the stored
/// column.
fn heads_statement(table: &str, filter: &RecordQuery, after: Option<u64>) -> String {
    let mut conditions = Vec::new();
    if !filter.matches_nearly_all() {
        conditions.push("NOT t._deleted".to_owned());
        match filter.archived {
            ArchivedFilter::Exclude => conditions.push("NOT t._archived".to_owned()),
            ArchivedFilter::Only => conditions.push("t._archived".to_owned()),
            ArchivedFilter::Include => {}
        }
    }
    if let Some(after) = after {
        conditions.push(format!("t._object_id > {after}"));
    }
    if let Some(since) = filter.updated_since {
        conditions.push(format!(
            "t._updated_at >= fromUnixTimestamp64Milli({since}, 'UTC')"
        ));
    }
    if let Some(before) = filter.updated_before {
        conditions.push(format!(
            "t._updated_at < fromUnixTimestamp64Milli({before}, 'UTC')"
        ));
    }
    if let Some(ids) = &filter.ids {
        conditions.push(format!("t._object_id IN ({})", list(ids.iter().copied())));
    }
    let conditions = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    format!(
        "SELECT t._object_id, t._created_at, t._updated_at, t._archived, t._version, t._deleted \
         FROM {table} AS t FINAL{conditions} ORDER BY t._object_id"
    )
}

/// Id, created and updated in ms, archived, version.
pub(crate) type Head = (u64, i64, i64, bool, u128);

/// The same, and deleted.
type Row = (u64, i64, i64, bool, u128, bool);

/// The properties of exactly these versions, by object.
///
/// The two tables are filled at the same time, each in an insert of its own,
/// so the one may be a moment behind the other: then it is asked again.
pub(crate) async fn texts(
    session: &Session,
    (table, object_type): (&str, &str),
    heads: &[Head],
    few: bool,
) -> Result<HashMap<u64, String>, WarehouseError> {
    let mut found = HashMap::with_capacity(heads.len());
    let mut missing = heads.to_vec();
    for attempt in 0..ATTEMPTS {
        let Some(statement) = texts_statement((table, object_type), &missing, few || attempt > 0)
        else {
            break;
        };
        if attempt > 0 {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let query = session
            .records(&statement)
            .fetch_all::<(u64, u128, String)>();
        let rows = session.within("read properties", query).await?;
        let versions: HashMap<_, _> = missing.iter().map(|head| (head.0, head.4)).collect();
        found.extend(
            rows.into_iter()
                .filter(|(id, version, _)| versions.get(id) == Some(version))
                .map(|(id, _, text)| (id, text)),
        );
        missing.retain(|head| !found.contains_key(&head.0));
    }
    if !missing.is_empty() {
        tracing::warn!(
            table,
            object_type,
            rows = missing.len(),
            "properties are missing"
        );
    }
    Ok(found)
}

/// The versions with these fetch sequences, which are nearly always the ones
/// wanted; a list of the versions themselves takes longer to parse than to
/// answer. Where they are few of their range, the ids are named too. `None` for
/// no version.
fn texts_statement(
    (table, object_type): (&str, &str),
    heads: &[Head],
    few: bool,
) -> Option<String> {
    let (first, last) = (heads.first()?.0, heads.last()?.0);
    let object_type = literal(object_type);
    // A version ends in its fetch sequence.
    let mut sequences: Vec<u64> = heads
        .iter()
        .filter_map(|head| u64::try_from(head.4 & u128::from(u64::MAX)).ok())
        .collect();
    sequences.sort_unstable();
    sequences.dedup();
    let sequences = list(sequences.into_iter());
    let ids = if few {
        format!(
            " AND object_id IN ({})",
            list(heads.iter().map(|head| head.0))
        )
    } else {
        String::new()
    };
    Some(format!(
        "SELECT object_id, version, properties FROM {table} PREWHERE object_type = {object_type} \
         AND object_id >= {first} AND object_id <= {last}{ids} \
         AND fetch_sequence IN ({sequences})"
    ))
}

/// Numbers for an `IN`. An empty one matches nothing.
fn list(ids: impl Iterator<Item = u64>) -> String {
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    if ids.is_empty() {
        "NULL".to_owned()
    } else {
        ids.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_from_an_id() {
        let filter = RecordQuery {
            limit: 100,
            after: Some(7),
            updated_since: Some(5),
            archived: ArchivedFilter::Include,
            ids: Some(vec![]),
            ..RecordQuery::default()
        };
        let statement = heads_statement("`r`.`contacts`", &filter, filter.after);
        assert!(statement.contains("t._object_id > 7"));
        assert!(
            statement.contains("IN (NULL)"),
            "no ids match nothing: {statement}"
        );
        assert!(
            statement.contains("NOT t._deleted"),
            "few match: {statement}"
        );
        let all = heads_statement("`r`.`contacts`", &RecordQuery::default(), None);
        assert!(!all.contains("WHERE"), "nearly all match: {all}");
    }
}
