//! What is stored of a stream as of a fetch sequence, as digests of ranges of ids, made
//! in SQL. How an object's digest is made is said in `schemas/src/verdict.rs`.
//!
//! The wide table, which people query, has the current versions. An object that has
//! changed since the fetch sequence has its version of then in `changes`.

use std::time::Duration;

use schemas::DigestRange;
use serde::Deserialize;

use super::{
    Warehouse,
    error::WarehouseError,
    names::{
        CHANGES, CHANGES_FORMER, CHANGES_NEXT, TableName, check_destination, check_object_type,
        literal,
    },
    tables,
};
use crate::comparison::StoredRanges;

/// Time limit of one statement. It reads seven narrow columns of each object, a million
/// in about a second.
const DIGEST_LIMIT: Duration = Duration::from_mins(10);

/// Objects whose former versions are read by one statement.
const IDS_PER_QUERY: usize = 10_000;

const ACTION: &str = "make the digest of a table";

/// What to make digests of.
#[derive(Debug, Clone)]
pub(crate) struct DigestQuery<'a> {
    /// The database that users query.
    pub(crate) destination: &'a str,
    /// Object type.
    pub(crate) object_type: &'a str,
    /// HubSpot's id of the account: rows of others do not count.
    pub(crate) portal_id: i64,
    /// Later versions do not count.
    pub(crate) fetch_sequence: i64,
    /// Ranges of ids, in their order.
    pub(crate) ranges: &'a [DigestRange],
}

/// What a range has.
#[derive(clickhouse::Row, Deserialize)]
struct RangeRow {
    first_id: u64,
    objects: u64,
    live: u64,
    digest: u64,
    unverified: u64,
    /// Ids of objects that have changed since, so that they are not counted.
    changed: Vec<u64>,
}

impl Warehouse {
    /// What is stored in each range as of the fetch sequence. Everything up to it has
    /// to be loaded; what is loaded meanwhile does not matter.
    pub(crate) async fn digests(
        &self,
        query: &DigestQuery<'_>,
    ) -> Result<StoredRanges, WarehouseError> {
        check_destination(query.destination)?;
        check_object_type(query.object_type)?;
        let mut ranges = StoredRanges::new();
        let wide = TableName::storage(query.destination, query.object_type);
        if !tables::exists(&self.session, &wide).await? {
            return Ok(ranges);
        }
        let changed = self.add(&query.current(&wide), &mut ranges).await?;
        if !changed.is_empty() {
            for copy in [CHANGES_NEXT, CHANGES_FORMER] {
                let copy = TableName::storage(query.destination, copy);
                if tables::exists(&self.session, &copy).await? {
                    return Err(WarehouseError::Moving);
                }
            }
        }
        // Named one by one: a second read of the table would find others.
        for ids in changed.chunks(IDS_PER_QUERY) {
            self.add(&query.former(ids), &mut ranges).await?;
        }
        Ok(ranges)
    }

    /// Adds what a statement selects to the ranges; the ids that it did not count.
    async fn add(
        &self,
        statement: &str,
        ranges: &mut StoredRanges,
    ) -> Result<Vec<u64>, WarehouseError> {
        let rows = self.session.client().query_raw(statement);
        let rows = rows.fetch_all::<RangeRow>();
        let rows = self
            .session
            .fetch_within(ACTION, DIGEST_LIMIT, rows)
            .await?;
        let mut changed = Vec::new();
        for row in rows {
            let range = ranges.entry(row.first_id.cast_signed()).or_default();
            range.objects += row.objects.cast_signed();
            range.live += row.live.cast_signed();
            range.digest = range.digest.wrapping_add(row.digest.cast_signed());
            range.unverified += row.unverified.cast_signed();
            changed.extend(row.changed);
        }
        Ok(changed)
    }
}

impl DigestQuery<'_> {
    /// Selects the ranges of the objects that have not changed since, with the ids of
    /// those that have.
    fn current(&self, wide: &TableName) -> String {
        let first_id = self.first_id("t._object_id");
        let then = format!("t._fetch_sequence <= {}", self.fetch_sequence);
        let sums = sums(
            &format!("{then} AND NOT t._deleted"),
            ["t._object_id", "t._content_hash", "t._archived"],
        );
        format!(
            "SELECT {first_id} AS first_id, {sums}, groupArrayIf(t._object_id, NOT ({then})) AS \
             changed FROM \
             {wide} AS t FINAL WHERE t._portal_id = {} GROUP BY first_id",
            self.portal_id
        )
    }

    /// Selects the ranges of these objects as they were.
    fn former(&self, ids: &[u64]) -> String {
        let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
        let sums = sums("NOT v.3", ["id", "v.1", "v.2"]);
        format!(
            "SELECT {} AS first_id, {sums}, CAST([], 'Array(UInt64)') AS changed FROM (SELECT object_id AS id, \
             argMax((content_hash, archived, deleted), version) AS v FROM {} WHERE object_type = \
             {} AND portal_id = {} AND fetch_sequence <= {} AND object_id IN ({}) GROUP BY \
             object_id) GROUP BY first_id",
            self.first_id("id"),
            TableName::storage(self.destination, CHANGES),
            literal(self.object_type),
            self.portal_id,
            self.fetch_sequence,
            ids.join(","),
        )
    }

    /// The first id of the range of an id.
    fn first_id(&self, id: &str) -> String {
        let ids: Vec<_> = self
            .ranges
            .iter()
            .map(|it| it.first_id.to_string())
            .collect();
        format!("roundDown({id}, [{}])", ids.join(","))
    }
}

/// The sums of a [`RangeRow`] over the rows that count.
fn sums(counts: &str, [id, hash, archived]: [&str; 3]) -> String {
    let digest =
        format!("xxh3(concat(reinterpretAsFixedString({id}), reinterpretAsFixedString({hash})))");
    format!(
        "countIf({counts}) AS objects, countIf({counts} AND NOT {archived}) AS live, \
         sumWithOverflowIf({digest}, {counts}) AS digest, \
         countIf({counts} AND {hash} = 0) AS unverified"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_of_one_account_as_of_a_fetch_sequence() {
        let ranges = [0, 900].map(|first_id| DigestRange {
            first_id,
            ..DigestRange::default()
        });
        let query = DigestQuery {
            destination: "hubspot",
            object_type: "contacts",
            portal_id: 5,
            fetch_sequence: 77,
            ranges: &ranges,
        };
        let current = query.current(&TableName::storage("hubspot", "contacts"));
        let first_id = "SELECT roundDown(t._object_id, [0,900]) AS first_id, ";
        assert!(current.starts_with(first_id), "{current}");
        assert!(
            current.contains("FINAL WHERE t._portal_id = 5"),
            "{current}"
        );
        assert!(current.contains("groupArrayIf(t._object_id, NOT (t._fetch_sequence <= 77))"));
        let former = query.former(&[1, 2]);
        assert!(former.contains("FROM `hubspot_raw`.`changes` WHERE object_type = 'contacts'"));
        assert!(former.contains("fetch_sequence <= 77 AND object_id IN (1,2) GROUP BY object_id"));
    }
}
