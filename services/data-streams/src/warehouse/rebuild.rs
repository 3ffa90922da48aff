//! Exchanges the live tables with those that a rebuild has filled, its shadows.

use std::{collections::HashMap, time::Duration};

use schemas::Millis;
use tokio::time::Instant;

use super::{
    bookkeeping, claims,
    error::WarehouseError,
    names::{REBUILD_SUFFIX, TableName},
    rebuilds,
    session::Session,
    tables::{self, WideTable},
};
use crate::{
    crash,
    ingest::{RebuildLease, StoreErrorKind, TableLoss},
};

/// How long the exchange is retried while ClickHouse does not answer.
const RETRY_LIMIT: Duration = Duration::from_mins(5);

/// Time limit of the comparison of a table with its shadow.
const COMPARE_LIMIT: Duration = Duration::from_mins(10);

/// So many objects may be lost without a question, if they are not all.
const FEW: u64 = 1_000;

/// Time between two attempts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Drops the shadows of an earlier rebuild.
pub(super) async fn drop_shadows(session: &Session) -> Result<(), WarehouseError> {
    let dropped = bookkeeping::for_destinations(session, |destination| async move {
        for wide in tables::wide_tables(session, &destination).await? {
            if wide.is_shadow() {
                drop_table(session, &TableName::storage(&destination, &wide.name)).await?;
            }
        }
        Ok(())
    });
    dropped.await?;
    Ok(())
}

/// Records that exchanges have begun, or that the rebuild is complete.
pub(super) async fn mark_unfinished(
    session: &Session,
    is_open: bool,
) -> Result<(), WarehouseError> {
    let exchanges = TableName::bookkeeping("exchanges");
    let insert = format!("INSERT INTO {exchanges} (is_open) VALUES ({is_open})");
    session
        .execute("record the state of a rebuild", &insert)
        .await
}

/// Whether a rebuild began to exchange tables and did not complete.
pub(super) async fn is_unfinished(session: &Session) -> Result<bool, WarehouseError> {
    let exchanges = TableName::bookkeeping("exchanges");
    let select = format!("SELECT is_open FROM {exchanges} ORDER BY at DESC LIMIT 1");
    let newest = session.client().query(&select).fetch_optional::<bool>();
    let newest = session.within("read the state of a rebuild", newest);
    Ok(newest.await?.unwrap_or(false))
}

/// Replaces every live table with its shadow, each atomically, several destinations at a
/// time. Retries for `RETRY_LIMIT` while ClickHouse does not answer or its answer is
/// lost. Exchanges nothing once the lease is another instance's.
pub(super) async fn exchange_tables(
    session: &Session,
    lease: &RebuildLease,
) -> Result<(), WarehouseError> {
    let began = Instant::now();
    // A table keeps its id when it is renamed; so the ids of the shadows show,
    // after a failure, which tables were exchanged.
    let mut shadow_ids = None;
    loop {
        let Err(error) = try_exchange_tables(session, lease, &mut shadow_ids).await else {
            return Ok(());
        };
        let passes = matches!(
            error.kind(),
            StoreErrorKind::Unavailable | StoreErrorKind::Target
        );
        if !passes || began.elapsed() > RETRY_LIMIT {
            return Err(error);
        }
        tracing::warn!(%error, "tables were not exchanged; retrying");
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// By live table, the id of its shadow.
type ShadowIds = HashMap<TableName, String>;

async fn try_exchange_tables(
    session: &Session,
    lease: &RebuildLease,
    shadow_ids: &mut Option<ShadowIds>,
) -> Result<(), WarehouseError> {
    let shadow_ids: &ShadowIds = match shadow_ids {
        Some(ids) => ids,
        None => shadow_ids.insert(read_shadow_ids(session).await?),
    };
    rebuilds::check(session, lease).await?;
    mark_unfinished(session, true).await?;
    let exchanged = bookkeeping::for_destinations(session, |destination| async move {
        exchange_destination(session, lease, &destination, shadow_ids).await
    });
    exchanged.await?;
    Ok(())
}

/// Replaces the live tables of a destination, one after the other.
async fn exchange_destination(
    session: &Session,
    lease: &RebuildLease,
    destination: &str,
    shadow_ids: &ShadowIds,
) -> Result<(), WarehouseError> {
    let stored = tables::wide_tables(session, destination).await?;
    let (shadows, live): (Vec<_>, Vec<_>) = stored.iter().partition(|it| it.is_shadow());
    for table in &live {
        let name = TableName::storage(destination, &table.name);
        rebuilds::check(session, lease).await?;
        if let Some(id) = shadow_ids.get(&name) {
            exchange(session, destination, table, id).await?;
        } else {
            // The log no longer has any of its records.
            let statement = format!("TRUNCATE TABLE {name}");
            session.execute("empty a table", &statement).await?;
        }
    }
    for shadow in shadows {
        let name = shadow.name.strip_suffix(REBUILD_SUFFIX).unwrap_or_default();
        if !live.iter().any(|it| it.name == name) {
            rename(session, destination, name).await?;
        }
    }
    Ok(())
}

/// The first table that would lose many objects, of those that were fetched before a time.
pub(super) async fn losses(
    session: &Session,
    before: Millis,
) -> Result<Option<TableLoss>, WarehouseError> {
    if is_unfinished(session).await? {
        // Where exchanges have begun, a live table may be a former shadow.
        return Ok(None);
    }
    for destination in bookkeeping::destinations(session).await? {
        let stored = tables::wide_tables(session, &destination).await?;
        for live in stored.iter().filter(|it| !it.is_shadow()) {
            let table = TableName::storage(&destination, &live.name);
            let shadow = shadow_table(&destination, &live.name);
            let has_shadow = stored.iter().any(|it| it.name == shadow.table);
            let statement = loss_statement(&table, has_shadow.then_some(&shadow), before);
            let read = session.client().query_raw(&statement).fetch_one();
            let (held, lost): (u64, u64) = session
                .fetch_within("compare a table with its shadow", COMPARE_LIMIT, read)
                .await?;
            if is_refused(held, lost) {
                let table = table.to_string();
                return Ok(Some(TableLoss { table, held, lost }));
            }
        }
    }
    Ok(None)
}

/// Selects how many live objects a table has, and how many of them its shadow lacks. Both
/// are in the order of ids, so that memory stays flat.
fn loss_statement(table: &TableName, shadow: Option<&TableName>, before: Millis) -> String {
    let held = format!(
        "SELECT _object_id AS id FROM {table} FINAL WHERE NOT _deleted AND _synced_at < \
         fromUnixTimestamp64Milli({before}, 'UTC')"
    );
    match shadow {
        None => format!("SELECT count(), count() FROM ({held})"),
        Some(shadow) => format!(
            "SELECT count(), countIf(s.id = 0) FROM ({held}) AS t LEFT ANY JOIN (SELECT \
             _object_id AS id FROM {shadow} FINAL) AS s ON t.id = s.id SETTINGS join_algorithm = \
             'full_sorting_merge', join_use_nulls = 0"
        ),
    }
}

/// Whether a person has to accept that so many objects are lost, by the rule for deletions
/// that a pass finds.
fn is_refused(held: u64, lost: u64) -> bool {
    lost > FEW.max(held / 100) || (lost > 0 && lost == held)
}

/// Reads the ids of all shadows.
async fn read_shadow_ids(session: &Session) -> Result<ShadowIds, WarehouseError> {
    let read = bookkeeping::for_destinations(session, |destination| async move {
        let stored = tables::wide_tables(session, &destination).await?;
        let ids = stored.into_iter().filter_map(|it| {
            let live = it.name.strip_suffix(REBUILD_SUFFIX)?;
            Some((TableName::storage(&destination, live), it.id))
        });
        Ok(ids.collect::<Vec<_>>())
    });
    Ok(read.await?.into_iter().flatten().collect())
}

/// Exchanges a live table with the shadow that has this id, unless that is done
/// already; then drops the old table and replaces the views.
async fn exchange(
    session: &Session,
    destination: &str,
    table: &WideTable,
    shadow_id: &str,
) -> Result<(), WarehouseError> {
    let object_type = &table.name;
    let live = TableName::storage(destination, object_type);
    let shadow = shadow_table(destination, object_type);
    if table.id != shadow_id {
        let statement = format!("EXCHANGE TABLES {live} AND {shadow}");
        session.execute("exchange tables", &statement).await?;
        crash::point(crash::Point::InExchange);
    }
    drop_table(session, &shadow).await?;
    replace_views(session, destination, object_type).await
}

/// Renames a shadow without a live table. After a completed rename there is no
/// shadow, so a retry does not repeat it.
async fn rename(
    session: &Session,
    destination: &str,
    object_type: &str,
) -> Result<(), WarehouseError> {
    let live = TableName::storage(destination, object_type);
    let shadow = shadow_table(destination, object_type);
    match claims::refuse_foreign(session, destination, &[&live]).await {
        Err(error @ WarehouseError::Foreign { .. }) => {
            tracing::warn!(%error, "a table was not rebuilt");
            return drop_table(session, &shadow).await;
        }
        found => found?,
    }
    let statement = format!("RENAME TABLE {shadow} TO {live}");
    session.execute("rename a table", &statement).await?;
    replace_views(session, destination, object_type).await
}

fn shadow_table(destination: &str, object_type: &str) -> TableName {
    TableName::storage(destination, &format!("{object_type}{REBUILD_SUFFIX}"))
}

async fn replace_views(
    session: &Session,
    destination: &str,
    object_type: &str,
) -> Result<(), WarehouseError> {
    let table = TableName::storage(destination, object_type);
    let layout = tables::layout(session, &table).await?.unwrap_or_default();
    let replaced = tables::replace_views(session, destination, object_type, &layout).await;
    match replaced {
        // The exchange of the other tables does not wait for somebody to rename it.
        Err(error @ WarehouseError::Foreign { .. }) => {
            tracing::warn!(%error, "views were not replaced");
            Ok(())
        }
        replaced => replaced,
    }
}

async fn drop_table(session: &Session, table: &TableName) -> Result<(), WarehouseError> {
    let statement = format!("DROP TABLE IF EXISTS {table} SYNC");
    session.execute("drop a table", &statement).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_above_1000_and_a_hundredth_are_refused_and_so_is_the_loss_of_all() {
        for (held, lost, expected) in [
            (0, 0, false),
            (900, 899, false),
            (900, 900, true),
            (50_000, 1_000, false),
            (50_000, 1_001, true),
            (1_000_000, 10_000, false),
            (1_000_000, 10_001, true),
        ] {
            assert_eq!(is_refused(held, lost), expected, "{lost} of {held}");
        }
    }
}
