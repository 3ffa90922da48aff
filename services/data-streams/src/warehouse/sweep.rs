//! Marks objects as deleted that a full pass did not see.

use schemas::FullPass;

use super::{
    error::WarehouseError,
    names::{TableName, literal},
    session::Session,
};

/// Marks the rows that the pass did not see; returns how many. A marked row has
/// the row's last-modified time and the pass's fetch sequence, so its version is
/// larger than the row's and smaller than that of any later read. A second
/// call finds nothing to mark.
///
/// The new version replaces the fetch sequence, which is the low half of a
/// version: the same as [`schemas::version`] of the two.
pub(super) async fn mark_deleted(
    session: &Session,
    table: &TableName,
    pass: &FullPass,
) -> Result<u64, WarehouseError> {
    let unseen = format!(
        "FROM {table} AS t FINAL WHERE NOT t._deleted AND t._portal_id = {} \
         AND t._fetch_sequence < {}",
        pass.portal_id.max(0),
        pass.began_sequence.max(0),
    );
    let count = session
        .client()
        .query(&format!("SELECT count() {unseen}"))
        .fetch_one::<u64>();
    let count = session
        .within("count what a full pass did not see", count)
        .await?;
    if count == 0 {
        return Ok(0);
    }
    // Without deduplication: a second attempt selects other rows, which
    // ClickHouse must not mistake for those of the first.
    let statement = format!(
        "INSERT INTO {table} (_object_id, _portal_id, _created_at, _updated_at, _synced_at, \
         _archived, _deleted, _run_id, _connection, _version, _fetch_sequence, _topic, \
         _partition, _offset) SELECT t._object_id, t._portal_id, t._created_at, t._updated_at, \
         t._synced_at, t._archived, true, {run}, t._connection, \
         t._version - toUInt128(t._fetch_sequence) + toUInt128({began}), {began}, t._topic, \
         t._partition, t._offset {unseen} SETTINGS insert_deduplicate = 0",
        run = literal(&pass.run_id),
        began = pass.began_sequence.max(0),
    );
    session
        .execute("mark what a full pass did not see", &statement)
        .await?;
    Ok(count)
}
