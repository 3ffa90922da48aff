//! Whose data a destination has. It belongs to the account whose records were stored
//! first, under whichever connection, until its data are purged. Tables and views that
//! are not of this program are never touched.

use super::{
    Warehouse,
    error::WarehouseError,
    names::{CHANGES, TableName, check_destination, literal, quoted, raw_database},
    session::Session,
};
use crate::ingest::Target;

/// Who has stored into a destination first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    connection: String,
    portal_id: i64,
}

/// Makes an account the owner of its destination, unless another one is.
///
/// # Errors
///
/// [`WarehouseError::Taken`] when the destination has another account's data,
/// [`WarehouseError::Foreign`] when it has tables that are not of this program.
pub(super) async fn claim(session: &Session, target: &Target) -> Result<(), WarehouseError> {
    let destination = &target.destination;
    if check(session, destination, Some(target.portal_id)).await? {
        return Ok(());
    }
    let insert = format!(
        "INSERT INTO {} (destination, connection, portal_id) VALUES ({}, {}, {})",
        TableName::bookkeeping("destinations"),
        literal(destination),
        literal(&target.connection),
        target.portal_id
    );
    session.execute("claim a destination", &insert).await?;
    // Another process may have claimed it at the same time.
    check(session, destination, Some(target.portal_id)).await?;
    Ok(())
}

/// Whether a destination is claimed already. Without a portal, any owner will do.
async fn check(
    session: &Session,
    destination: &str,
    portal_id: Option<i64>,
) -> Result<bool, WarehouseError> {
    let owner = owner(session, destination).await?;
    if let (Some(owner), Some(portal_id)) = (&owner, portal_id)
        && owner.portal_id != 0
        && owner.portal_id != portal_id
    {
        return Err(WarehouseError::Taken {
            database: destination.to_owned(),
            owner: owner.portal_id,
            connection: owner.connection.clone(),
            portal_id,
        });
    }
    if owner.is_none() {
        refuse_foreign(session, destination, &[]).await?;
    }
    Ok(owner.is_some_and(|it| it.portal_id != 0))
}

/// The owner of a destination. Its account is 0 where a former version claimed it and
/// has stored no record.
async fn owner(session: &Session, destination: &str) -> Result<Option<Owner>, WarehouseError> {
    const ACTION: &str = "read the owner of a destination";
    let select = format!(
        "SELECT connection, portal_id FROM {} WHERE destination = ? ORDER BY portal_id = 0, \
         claimed_at, connection LIMIT 1",
        TableName::bookkeeping("destinations")
    );
    let owner = session.client().query(&select).bind(destination);
    let owner = session
        .within(ACTION, owner.fetch_optional::<(String, i64)>())
        .await?;
    let Some((connection, mut portal_id)) = owner else {
        return Ok(None);
    };
    let changes = TableName::storage(destination, CHANGES);
    if portal_id == 0 && is_there(session, &changes).await? {
        let stored = format!("SELECT toInt64(portal_id) FROM {changes} LIMIT 1");
        let stored = session.client().query_raw(&stored).fetch_optional::<i64>();
        portal_id = session.within(ACTION, stored).await?.unwrap_or(0);
    }
    Ok(Some(Owner {
        connection,
        portal_id,
    }))
}

async fn is_there(session: &Session, table: &TableName) -> Result<bool, WarehouseError> {
    Ok(super::rebuild::table_id(session, table).await?.is_some())
}

/// Refuses tables and views that are not of this program; of all names where none is
/// given.
pub(super) async fn refuse_foreign(
    session: &Session,
    destination: &str,
    names: &[&TableName],
) -> Result<(), WarehouseError> {
    let pair = |it: &&TableName| format!("({}, {})", literal(&it.database), literal(&it.table));
    let pairs: Vec<_> = names.iter().map(pair).collect();
    let of_names = if pairs.is_empty() {
        String::new()
    } else {
        format!(" AND (database, name) IN ({})", pairs.join(", "))
    };
    let select = format!(
        "SELECT database, name FROM system.tables WHERE database IN ({}, {}) AND NOT ({}){of_names} \
         ORDER BY database, name LIMIT 1",
        literal(destination),
        literal(&raw_database(destination)),
        is_ours(destination),
    );
    let foreign = session.client().query_raw(&select);
    let foreign = foreign.fetch_optional::<(String, String)>();
    match session.within("look for other tables", foreign).await? {
        None => Ok(()),
        Some((database, name)) => Err(WarehouseError::Foreign {
            table: TableName::new(&database, &name).to_string(),
        }),
    }
}

/// A condition on `system.tables` that holds for what this program makes in a
/// destination: views of its storage, and tables with one of its keys.
fn is_ours(destination: &str) -> String {
    let raw = raw_database(destination);
    format!(
        "(database = {} AND engine = 'View' AND position(replaceAll(as_select, '`', ''), {}) > 0) \
         OR (database = {} AND engine LIKE '%ReplacingMergeTree' AND (sorting_key = '_object_id' \
         OR startsWith(sorting_key, 'object_type, object_id, ')))",
        literal(destination),
        literal(&format!("FROM {raw}.")),
        literal(&raw),
    )
}

impl Warehouse {
    /// Refuses a destination that has the data of another account than this one, or
    /// tables that are not of this program.
    ///
    /// # Errors
    ///
    /// [`WarehouseError::Taken`], [`WarehouseError::Foreign`], or a failure of ClickHouse.
    pub(crate) async fn check_destination(
        &self,
        destination: &str,
        portal_id: Option<i64>,
    ) -> Result<(), WarehouseError> {
        check_destination(destination)?;
        check(&self.session, destination, portal_id).await?;
        Ok(())
    }

    /// Drops all that is stored in a destination for this connection, or for this
    /// account. Nothing, where it belongs to another one.
    pub(crate) async fn purge(
        &self,
        destination: &str,
        connection: &str,
        portal_id: Option<i64>,
    ) -> Result<(), WarehouseError> {
        check_destination(destination)?;
        let session = &self.session;
        let owner = owner(session, destination).await?;
        let is_its = |it: &Owner| it.connection == connection || Some(it.portal_id) == portal_id;
        if !owner.as_ref().is_some_and(is_its) {
            return Ok(());
        }
        let raw = raw_database(destination);
        let ours = format!(
            "SELECT database, name FROM system.tables WHERE database IN ({}, {}) AND ({}) ORDER \
             BY database, name",
            literal(destination),
            literal(&raw),
            is_ours(destination)
        );
        let ours = session.client().query_raw(&ours);
        let ours = ours.fetch_all::<(String, String)>();
        for (database, name) in session.within("list tables", ours).await? {
            let table = TableName::new(&database, &name);
            let statement = format!("DROP TABLE IF EXISTS {table} SYNC");
            session.execute("drop a table", &statement).await?;
        }
        for database in [destination, &raw] {
            let left = session
                .client()
                .query("SELECT count() FROM system.tables WHERE database = ?");
            let left = left.bind(database).fetch_one::<u64>();
            if session.within("list tables", left).await? == 0 {
                let statement = format!("DROP DATABASE IF EXISTS {} SYNC", quoted(database));
                session.execute("drop a database", &statement).await?;
            }
        }
        // Last, so that a repetition continues where a failure interrupted it.
        for (table, column, value) in [
            ("comparisons", "connection", connection),
            ("destinations", "destination", destination),
        ] {
            let table = TableName::bookkeeping(table);
            let statement = format!("DELETE FROM {table} WHERE {column} = {}", literal(value));
            session.execute("forget a destination", &statement).await?;
        }
        self.cache.forget(|table| table.database == raw);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_known_by_the_storage_that_it_reads() {
        let condition = is_ours("hubspot-eu");
        assert!(condition.contains("'FROM hubspot-eu_raw.'"), "{condition}");
    }
}
