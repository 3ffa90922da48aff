//! Brings the bookkeeping database to the version that this program needs,
//! each step once.
//!
//! It must not know the tables of destinations, which follow the definitions.

use super::{
    error::WarehouseError,
    names::{META, literal, quoted},
    session::Session,
};
use crate::crash;

/// In the order in which they are applied. An applied one never changes.
const MIGRATIONS: [(u32, &str); 2] = [
    (
        1,
        include_str!("../../../../schemas/clickhouse/0001_bookkeeping.sql"),
    ),
    (
        2,
        include_str!("../../../../schemas/clickhouse/0002_exchanges.sql"),
    ),
];

/// Applies what is missing. Two processes may do it at once: each statement
/// can be repeated.
pub(crate) async fn apply(session: &Session) -> Result<(), WarehouseError> {
    let meta = quoted(META);
    for statement in [
        format!("CREATE DATABASE IF NOT EXISTS {meta}"),
        format!(
            "CREATE TABLE IF NOT EXISTS {meta}.migrations (version UInt32, digest String, \
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
            "SELECT version, digest FROM {meta}.migrations FINAL ORDER BY version"
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
            "INSERT INTO {meta}.migrations (version, digest) VALUES ({version}, {})",
            literal(&digest)
        );
        session.execute("note a migration", &insert).await?;
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
    fn versions_grow_by_one() {
        for (place, (version, text)) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(*version).unwrap(), place + 1);
            assert!(statements(text).count() > 0);
        }
    }
}
