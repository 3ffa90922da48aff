//! The exchange of live tables with those that a rebuild has filled.
//!
//! It must not know how they were filled.

use super::{
    error::Error,
    names::{REBUILD_SUFFIX, qualified, raw_database},
    session::Session,
    tables, views,
};

/// Drops the shadows of an earlier rebuild.
pub(crate) async fn begin(session: &Session) -> Result<(), Error> {
    for destination in tables::destinations(session).await? {
        for table in tables::wide_tables(session, &destination).await? {
            if table.ends_with(REBUILD_SUFFIX) {
                drop_table(session, &destination, &table).await?;
            }
        }
    }
    Ok(())
}

/// Puts every shadow in the place of its live table. Each exchange is atomic;
/// stopped half-way, the rest is exchanged by the next call.
pub(crate) async fn finish(session: &Session) -> Result<(), Error> {
    for destination in tables::destinations(session).await? {
        let raw = raw_database(&destination);
        let names = tables::wide_tables(session, &destination).await?;
        for live in names.iter().filter(|name| !name.ends_with(REBUILD_SUFFIX)) {
            let shadow = format!("{live}{REBUILD_SUFFIX}");
            if !names.contains(&shadow) {
                let statement = format!("TRUNCATE TABLE {}", qualified(&raw, live));
                session.execute("empty a table", &statement).await?;
                continue;
            }
            let statement = format!(
                "EXCHANGE TABLES {} AND {}",
                qualified(&raw, live),
                qualified(&raw, &shadow)
            );
            session.execute("exchange tables", &statement).await?;
            drop_table(session, &destination, &shadow).await?;
            make_views(session, &destination, live).await?;
        }
        for shadow in names.iter().filter(|name| name.ends_with(REBUILD_SUFFIX)) {
            let Some(live) = shadow.strip_suffix(REBUILD_SUFFIX) else {
                continue;
            };
            if !names.iter().any(|name| name == live) {
                let statement = format!(
                    "RENAME TABLE {} TO {}",
                    qualified(&raw, shadow),
                    qualified(&raw, live)
                );
                session.execute("rename a table", &statement).await?;
                make_views(session, &destination, live).await?;
            }
        }
    }
    Ok(())
}

async fn make_views(session: &Session, destination: &str, table: &str) -> Result<(), Error> {
    let raw = raw_database(destination);
    let layout = tables::layout(session, &raw, table)
        .await?
        .unwrap_or_default();
    for statement in views::statements(destination, table, &layout) {
        session.execute("make a view", &statement).await?;
    }
    Ok(())
}

async fn drop_table(session: &Session, destination: &str, table: &str) -> Result<(), Error> {
    let statement = format!(
        "DROP TABLE IF EXISTS {} SYNC",
        qualified(&raw_database(destination), table)
    );
    session.execute("drop a table", &statement).await
}
