//! Migrates the bookkeeping database, each step once.

use super::{
    error::WarehouseError,
    names::{META, TableName, literal, quoted},
    session::Session,
};
use crate::crash;

/// In the order of application. The text of an applied migration never changes.
const MIGRATIONS: [(u32, &str); 7] = [
    (
        1,
        include_str!("../../../../schemas/clickhouse/0001_bookkeeping.sql"),
    ),
    (
        2,
        include_str!("../../../../schemas/clickhouse/0002_exchanges.sql"),
    ),
    (
        3,
        include_str!("../../../../schemas/clickhouse/0003_comparisons.sql"),
    ),
    (
        4,
        include_str!("../../../../schemas/clickhouse/0004_loaded.sql"),
    ),
    (
        5,
        include_str!("../../../../schemas/clickhouse/0005_tenants.sql"),
    ),
    (
        6,
        include_str!("../../../../schemas/clickhouse/0006_rebuilds.sql"),
    ),
    (
        7,
        include_str!("../../../../schemas/clickhouse/0007_accepted_losses.sql"),
    ),
];

/// Applies the missing migrations. Two processes may do so at once, as every
/// statement can be repeated.
pub(super) async fn apply(session: &Session) -> Result<(), WarehouseError> {
    let migrations = TableName::bookkeeping("migrations");
    for statement in [
        format!("CREATE DATABASE IF NOT EXISTS {}", quoted(META)),
        format!(
            "CREATE TABLE IF NOT EXISTS {migrations} (version UInt32, digest String, \
             applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) \
             ENGINE = ReplacingMergeTree ORDER BY version SETTINGS fsync_after_insert = 1"
        ),
    ] {
        session
            .execute("prepare the bookkeeping", &statement)
            .await?;
    }
    let applied = session
        .client()
        .query(&format!(
            "SELECT version, digest FROM {migrations} FINAL ORDER BY version"
        ))
        .fetch_all::<(u32, String)>();
    let applied = session
        .within("read the applied migrations", applied)
        .await?;
    for (version, text) in MIGRATIONS {
        let digest = digest(text);
        match applied.iter().find(|(number, _)| *number == version) {
            Some((_, known)) if *known == digest => continue,
            Some(_) => return Err(WarehouseError::Migration { version }),
            None => {}
        }
        for statement in statements(text) {
            session.execute("apply a migration", statement).await?;
            crash::point(crash::Point::InMigration);
        }
        let insert = format!(
            "INSERT INTO {migrations} (version, digest) VALUES ({version}, {})",
            literal(&digest)
        );
        session.execute("record a migration", &insert).await?;
        tracing::info!(version, "warehouse migration applied");
    }
    Ok(())
}

fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(";\n")
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
}

fn digest(text: &str) -> String {
    use std::fmt::Write as _;

    use sha2::{Digest as _, Sha256};
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut out, byte| {
            // Writing into a String cannot fail.
            if write!(out, "{byte:02x}").is_err() {
                out.clear();
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migration_versions_count_up_from_one() {
        for (index, (version, text)) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(*version).unwrap(), index + 1);
            assert!(statements(text).count() > 0);
        }
    }
}
