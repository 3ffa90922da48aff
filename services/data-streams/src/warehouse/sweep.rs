//! Deletions that only a full pass can show.
//!
//! It must not know when a pass has been loaded.

use schemas::FullPass;

use super::{error::WarehouseError, session::Session};

/// Marks what the pass did not see; returns how many rows. A row's new version
/// has its last-modified time and the pass's sequence, so a later read of the
/// same object is newer, and marking twice finds nothing to mark.
pub(crate) async fn mark_deleted(
    session: &Session,
    table: &str,
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
    // No token: a second attempt selects other rows, which must not be taken
    // for the first one's.
    let statement = format!(
        "INSERT INTO {table} (_object_id, _portal_id, _created_at, _updated_at, _synced_at, \
         _archived, _deleted, _run_id, _connection, _version, _fetch_sequence, _topic, \
         _partition, _offset) SELECT t._object_id, t._portal_id, t._created_at, t._updated_at, \
         t._synced_at, t._archived, true, {run}, t._connection, \
         t._version - toUInt128(t._fetch_sequence) + toUInt128({began}), {began}, t._topic, \
         t._partition, t._offset {unseen} SETTINGS insert_deduplicate = 0",
        run = super::names::literal(&pass.run_id),
        began = pass.began_sequence.max(0),
    );
    session
        .execute("mark what a full pass did not see", &statement)
        .await?;
    Ok(count)
}
