//! Whose data a destination has. It belongs to the account whose records were stored
//! first, under whichever connection, until its data are purged. Tables and views that
//! are not of this program are never touched.

use super::{
    Warehouse,
    error::WarehouseError,
    names::{CHANGES, TableName, check_destination, literal, quoted, raw_database},
    session::Session,
    tables,
};
use crate::ingest::Target;

/// A connection that has stored into a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    connection: String,
    /// HubSpot's id of the account; 0 where a former version claimed it and has stored
    /// no record.
    portal_id: i64,
}

/// Makes a connection one that stores into its destination, unless that is another
/// account's.
///
/// # Errors
///
/// [`WarehouseError::Taken`] when the destination has another account's data,
/// [`WarehouseError::Foreign`] when it has tables that are not of this program.
pub(super) async fn claim(session: &Session, target: &Target) -> Result<(), WarehouseError> {
    let destination = &target.destination;
    let claims = check(session, destination, Some(target.portal_id)).await?;
    let own = Claim {
        connection: target.connection.clone(),
        portal_id: target.portal_id,
    };
    if claims.contains(&own) {
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

/// The claims of a destination, unless it is not this account's. Without an account, any
/// will do.
async fn check(
    session: &Session,
    destination: &str,
    portal_id: Option<i64>,
) -> Result<Vec<Claim>, WarehouseError> {
    let claims = claims(session, destination).await?;
    match (claims.first(), portal_id) {
        (Some(first), Some(portal_id)) if ![0, portal_id].contains(&first.portal_id) => {
            Err(WarehouseError::Taken {
                database: destination.to_owned(),
                owner: first.portal_id,
                connection: first.connection.clone(),
                portal_id,
            })
        }
        (Some(_), _) => Ok(claims),
        (None, _) => {
            refuse_foreign(session, destination, &[]).await?;
            Ok(claims)
        }
    }
}

/// The claims of a destination; the first one says whose it is.
async fn claims(session: &Session, destination: &str) -> Result<Vec<Claim>, WarehouseError> {
    const ACTION: &str = "read the owner of a destination";
    let select = format!(
        "SELECT connection, portal_id FROM {} WHERE destination = ? ORDER BY portal_id = 0, \
         claimed_at, connection",
        TableName::bookkeeping("destinations")
    );
    let rows = session.client().query(&select).bind(destination);
    let rows = rows.fetch_all::<(String, i64)>();
    let rows = session.within(ACTION, rows).await?.into_iter();
    let mut claims: Vec<_> = rows
        .map(|(connection, portal_id)| Claim {
            connection,
            portal_id,
        })
        .collect();
    let changes = TableName::storage(destination, CHANGES);
    if let Some(former) = claims.first_mut().filter(|it| it.portal_id == 0)
        && tables::exists(session, &changes).await?
    {
        let stored = format!("SELECT toInt64(portal_id) FROM {changes} LIMIT 1");
        let stored = session.client().query_raw(&stored).fetch_optional::<i64>();
        former.portal_id = session.within(ACTION, stored).await?.unwrap_or(0);
    }
    Ok(claims)
}

/// Refuses tables and views that are not of this program; of all names where none is
/// given.
pub(super) async fn refuse_foreign(
    session: &Session,
    destination: &str,
    names: &[&TableName],
) -> Result<(), WarehouseError> {
    refuse(foreign(session, destination, names).await?.first())
}

/// Refuses a table that is not of this program.
pub(super) fn refuse(foreign: Option<&TableName>) -> Result<(), WarehouseError> {
    match foreign {
        None => Ok(()),
        Some(table) => Err(WarehouseError::Foreign {
            table: table.to_string(),
        }),
    }
}

/// The tables and views that are not of this program; of all names where none is given.
pub(super) async fn foreign(
    session: &Session,
    destination: &str,
    names: &[&TableName],
) -> Result<Vec<TableName>, WarehouseError> {
    let of_names = if names.is_empty() {
        String::new()
    } else {
        // By name alone, or ClickHouse would render the views of all others as well.
        let literals: Vec<_> = names.iter().map(|it| literal(&it.table)).collect();
        format!("name IN ({}) AND ", literals.join(", "))
    };
    let select = format!(
        "SELECT database, name FROM system.tables WHERE database IN ({}, {}) AND {of_names}NOT ({}) \
         ORDER BY database, name",
        literal(destination),
        literal(&raw_database(destination)),
        is_ours(destination),
    );
    let found = session.client().query_raw(&select);
    let found = found.fetch_all::<(String, String)>();
    let found = session.within("look for other tables", found).await?;
    let mut found: Vec<_> = found
        .iter()
        .map(|(database, name)| TableName::new(database, name))
        .collect();
    found.retain(|it| names.is_empty() || names.contains(&it));
    Ok(found)
}

/// A condition on `system.tables` that holds for what this program makes in a
/// destination: views of its storage, and tables with one of its keys. A table that keeps
/// nothing has nothing to lose; one in place of `changes` drops the history.
fn is_ours(destination: &str) -> String {
    let raw = raw_database(destination);
    format!(
        "(database = {} AND engine = 'View' AND position(replaceAll(as_select, '`', ''), {}) > 0) \
         OR (database = {} AND (engine = 'Null' OR engine LIKE '%ReplacingMergeTree' AND \
         (sorting_key = '_object_id' OR startsWith(sorting_key, 'object_type, object_id, '))))",
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

    /// Whether this connection has stored into a destination.
    pub(crate) async fn is_owned(
        &self,
        destination: &str,
        connection: &str,
    ) -> Result<bool, WarehouseError> {
        check_destination(destination)?;
        let claims = claims(&self.session, destination).await?;
        Ok(claims.iter().any(|it| it.connection == connection))
    }

    /// Drops all that is stored in a destination of this connection.
    pub(crate) async fn purge(
        &self,
        destination: &str,
        connection: &str,
    ) -> Result<(), WarehouseError> {
        check_destination(destination)?;
        let session = &self.session;
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
