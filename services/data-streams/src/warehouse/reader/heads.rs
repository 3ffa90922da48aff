//! Which records match a query: read from the wide table, without properties.

use schemas::Millis;

use super::{RecordReader, spacing::IdRange};
use crate::{
    records::{FlagFilter, RecordQuery},
    warehouse::{error::WarehouseError, names::TableName},
};

/// Minimum number of rows that ClickHouse reads at once for a page. With 128 or
/// 2,048 a page of 100 takes as long.
const MIN_BLOCK: usize = 512;

/// The maximum.
const MAX_BLOCK: usize = 8_192;

/// A record without its properties.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) id: u64,
    pub(super) created_at: Millis,
    pub(super) updated_at: Millis,
    pub(super) archived: bool,
    pub(super) deleted: bool,
    pub(super) version: u128,
}

impl Head {
    /// The low half of the version, as [`schemas::version`] makes it.
    pub(super) fn fetch_sequence(&self) -> u64 {
        let low = self.version & u128::from(u64::MAX);
        u64::try_from(low).unwrap_or(u64::MAX)
    }
}

/// Id, creation, last modification, archived, version, deleted.
type HeadRow = (u64, i64, i64, bool, u128, bool);

/// The ids of these heads, which are in ascending order; `None` without any.
pub(super) fn id_range(heads: &[Head]) -> Option<IdRange> {
    Some(IdRange {
        first: heads.first()?.id,
        last: heads.last()?.id,
        count: u64::try_from(heads.len()).unwrap_or(u64::MAX),
    })
}

impl RecordReader<'_> {
    /// Reads the heads that match, by ascending id: up to one more than the
    /// limit, to show whether a page follows.
    pub(super) async fn heads(&self, query: &RecordQuery) -> Result<Vec<Head>, WarehouseError> {
        let nearly_all = query.matches_nearly_all();
        let mut found: Vec<Head> = Vec::new();
        let mut after = query.after;
        loop {
            let missing = query.limit + 1 - found.len();
            // Some rows are deleted or archived.
            let limit = if nearly_all {
                missing + missing / 8
            } else {
                missing
            };
            let statement = format!("{} LIMIT {limit}", statement(&self.wide, query, after));
            let mut request = self.session.records(&statement);
            if nearly_all {
                let block = limit.clamp(MIN_BLOCK, MAX_BLOCK);
                request = request.with_setting("max_block_size", block.to_string());
            }
            let rows = self
                .session
                .within("read a page of records", request.fetch_all::<HeadRow>())
                .await?;
            after = rows.last().map(|row| row.0);
            let is_last = rows.len() < limit;
            let matching = rows
                .into_iter()
                .filter(|row| query.deleted.matches(row.5) && query.archived.matches(row.3))
                .map(
                    |(id, created_at, updated_at, archived, version, deleted)| Head {
                        id,
                        created_at,
                        updated_at,
                        archived,
                        deleted,
                        version,
                    },
                );
            found.extend(matching.take(missing));
            if is_last || found.len() > query.limit {
                break;
            }
        }
        if let Some(range) = id_range(&found).filter(|_| nearly_all) {
            self.reads.spacing.learn(range);
        }
        Ok(found)
    }
}

/// Selects heads after an id. Deleted and archived rows are left out here only
/// where few rows match: the filter adds a millisecond to a page of 100. The
/// table's alias is `t`, so that a filter means the stored column.
fn statement(wide: &TableName, query: &RecordQuery, after: Option<u64>) -> String {
    let conditions = conditions(query, after, !query.matches_nearly_all());
    format!(
        "SELECT t._object_id, t._created_at, t._updated_at, t._archived, t._version, t._deleted \
         FROM {wide} AS t FINAL{conditions} ORDER BY t._object_id"
    )
}

/// The `WHERE` of what a query matches after an id; `filters_flags` is whether it leaves
/// out deleted and archived objects, too.
pub(super) fn conditions(query: &RecordQuery, after: Option<u64>, filters_flags: bool) -> String {
    let mut conditions = Vec::new();
    if filters_flags {
        for (flag, column) in [
            (query.deleted, "t._deleted"),
            (query.archived, "t._archived"),
        ] {
            match flag {
                FlagFilter::Exclude => conditions.push(format!("NOT {column}")),
                FlagFilter::Only => conditions.push(column.to_owned()),
                FlagFilter::Include => {}
            }
        }
    }
    if let Some(after) = after {
        conditions.push(format!("t._object_id > {after}"));
    }
    if let Some(since) = query.updated_since {
        conditions.push(format!(
            "t._updated_at >= fromUnixTimestamp64Milli({since}, 'UTC')"
        ));
    }
    if let Some(before) = query.updated_before {
        conditions.push(format!(
            "t._updated_at < fromUnixTimestamp64Milli({before}, 'UTC')"
        ));
    }
    if let Some(since) = query.synced_since {
        conditions.push(format!(
            "t._synced_at >= fromUnixTimestamp64Milli({since}, 'UTC')"
        ));
    }
    if let Some(ids) = &query.ids {
        conditions.push(format!("t._object_id IN ({})", list(ids.iter().copied())));
    }
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}

/// Numbers for an `IN`. An empty list matches nothing.
pub(super) fn list(numbers: impl Iterator<Item = u64>) -> String {
    let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
    if numbers.is_empty() {
        "NULL".to_owned()
    } else {
        numbers.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_starts_after_an_id_and_filters_where_few_rows_match() {
        let query = RecordQuery {
            limit: 100,
            after: Some(7),
            updated_since: Some(5),
            archived: FlagFilter::Include,
            ids: Some(vec![]),
            ..RecordQuery::default()
        };
        let table = TableName::storage("hubspot", "contacts");
        let filtered = statement(&table, &query, query.after);
        assert!(filtered.contains("t._object_id > 7"));
        assert!(
            filtered.contains("IN (NULL)"),
            "an empty list of ids matches nothing: {filtered}"
        );
        assert!(
            filtered.contains("NOT t._deleted"),
            "few rows match: {filtered}"
        );
        let deleted = RecordQuery {
            deleted: FlagFilter::Only,
            synced_since: Some(9),
            ..RecordQuery::default()
        };
        let deleted = statement(&table, &deleted, None);
        assert!(deleted.contains(" WHERE t._deleted AND NOT t._archived"));
        assert!(deleted.contains("t._synced_at >= fromUnixTimestamp64Milli(9, 'UTC')"));
        let all = statement(&table, &RecordQuery::default(), None);
        assert!(!all.contains("WHERE"), "nearly all rows match: {all}");
    }
}
