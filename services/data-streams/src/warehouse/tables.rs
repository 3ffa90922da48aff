//! Creates the databases, tables, columns and views of a destination.

use std::sync::Arc;

use schemas::{AssociatedTypes, Definitions};

use super::{
    association_view, bookkeeping, claims,
    error::WarehouseError,
    history_views,
    layout::{ColumnChange, Layout},
    names::{
        CHANGES, CHANGES_FORMER, CHANGES_NEXT, REBUILD_SUFFIX, TableName, check_destination,
        check_object_type, literal, quoted, raw_database,
    },
    own_columns::{self, Table},
    session::Session,
    views,
};
use crate::{
    crash,
    ingest::{StoreErrorKind, TableSet, Target},
};

const WIDE_SQL: &str = include_str!("../../../../schemas/clickhouse/storage_wide.sql");
const CHANGES_SQL: &str = include_str!("../../../../schemas/clickhouse/storage_changes.sql");

/// Maximum number of `ALTER`s of one table, in case other processes alter it at
/// the same time.
const ALTER_ATTEMPTS: usize = 3;

/// The wide table of a target.
pub(super) fn wide_table(target: &Target) -> TableName {
    let table = match target.tables {
        TableSet::Live => target.object_type.clone(),
        TableSet::Shadow => format!("{}{REBUILD_SUFFIX}", target.object_type),
    };
    TableName::storage(&target.destination, &table)
}

/// The `changes` of a target. It only grows, so a rebuild adds to it as well.
pub(super) fn changes_table(target: &Target) -> TableName {
    TableName::storage(&target.destination, CHANGES)
}

/// Creates what is missing, adds columns, and replaces the views.
pub(super) async fn apply(
    session: &Session,
    target: &Target,
    definitions: Option<&Definitions>,
) -> Result<Arc<Layout>, WarehouseError> {
    check_object_type(&target.object_type)?;
    check_destination(&target.destination)?;
    claims::claim(session, target).await?;
    for name in [&target.destination, &raw_database(&target.destination)] {
        let statement = format!("CREATE DATABASE IF NOT EXISTS {}", quoted(name));
        session.execute("create a database", &statement).await?;
    }
    let changes = changes_table(target);
    let wide = wide_table(target);
    claims::refuse_foreign(session, &target.destination, &[&changes, &wide]).await?;
    create(session, Table::Changes, &changes).await?;
    add_columns(session, Table::Changes, &changes, None).await?;
    create(session, Table::Wide, &wide).await?;
    let layout = add_columns(session, Table::Wide, &wide, definitions).await?;
    if target.tables == TableSet::Live {
        replace_views(session, &target.destination, &target.object_type, &layout).await?;
    }
    Ok(Arc::new(layout))
}

/// Adds to the tables of all destinations the columns that an earlier version did
/// not have, and replaces the views. A destination for which that fails holds up no
/// other: the loader does it again before it stores into it.
pub(super) async fn upgrade(session: &Session) -> Result<(), WarehouseError> {
    let upgraded = bookkeeping::for_destinations(session, |destination| async move {
        let Err(error) = upgrade_destination(session, &destination).await else {
            return Ok(());
        };
        match error.kind() {
            StoreErrorKind::Unavailable | StoreErrorKind::Fatal => Err(error),
            _ => {
                tracing::warn!(destination, %error, "tables were not brought up to date");
                Ok(())
            }
        }
    });
    upgraded.await?;
    Ok(())
}

async fn upgrade_destination(session: &Session, destination: &str) -> Result<(), WarehouseError> {
    let changes = TableName::storage(destination, CHANGES);
    claims::refuse_foreign(session, destination, &[&changes]).await?;
    add_columns(session, Table::Changes, &changes, None).await?;
    for wide in wide_tables(session, destination).await? {
        let table = TableName::storage(destination, &wide.name);
        let layout = add_columns(session, Table::Wide, &table, None).await?;
        if !wide.is_shadow() {
            replace_views(session, destination, &wide.name, &layout).await?;
        }
    }
    Ok(())
}

/// Creates a table unless it exists.
pub(super) async fn create(
    session: &Session,
    kind: Table,
    table: &TableName,
) -> Result<(), WarehouseError> {
    let sql = match kind {
        Table::Wide => WIDE_SQL,
        Table::Changes => CHANGES_SQL,
    };
    let statement = sql
        .replace("{table}", &table.to_string())
        .replace("{columns}", &own_columns::definitions(kind));
    session.execute("create a table", &statement).await
}

/// Replaces the views of an object type by ones with these columns.
pub(super) async fn replace_views(
    session: &Session,
    destination: &str,
    object_type: &str,
    layout: &Layout,
) -> Result<(), WarehouseError> {
    let names = [
        object_type.to_owned(),
        views::all_of(object_type),
        history_views::history_of(object_type),
        history_views::at_of(object_type),
    ];
    let [live, all, history, at] = names.map(|name| TableName::new(destination, &name));
    let foreign = [&live, &all, &history, &at];
    let foreign = claims::foreign(session, destination, &foreign).await?;
    let is_foreign = |it: &&TableName| foreign.contains(it);
    claims::refuse([&live, &all].into_iter().find(is_foreign))?;
    for statement in views::statements(destination, object_type, layout) {
        session.execute("create a view", &statement).await?;
    }
    let statements = history_views::statements(destination, object_type, layout);
    for (view, statement) in [&history, &at].into_iter().zip(statements) {
        // A name that something else has is left to it: no record is stored through these
        // views.
        if is_foreign(&view) {
            tracing::warn!(table = %view, "there is no view of versions: its name is taken");
        } else {
            session.execute("create a view", &statement).await?;
        }
    }
    if AssociatedTypes::of(object_type).is_some() {
        association_view::replace(session, destination).await?;
    }
    Ok(())
}

/// Alters a table until it has our own columns and those of the definitions. Does
/// nothing where there is no such table.
async fn add_columns(
    session: &Session,
    kind: Table,
    table: &TableName,
    definitions: Option<&Definitions>,
) -> Result<Layout, WarehouseError> {
    let mut attempts = 0;
    loop {
        let Some(stored) = stored_columns(session, table).await? else {
            return Ok(Layout::default());
        };
        let layout = stored.layout();
        let mut parts = own_columns::missing(kind, stored.names());
        parts.extend(definitions.into_iter().flat_map(|it| alter(&layout, it)));
        if parts.is_empty() || attempts == ALTER_ATTEMPTS {
            return Ok(layout);
        }
        attempts += 1;
        let statement = format!("ALTER TABLE {table} {}", parts.join(", "));
        session.execute("add columns", &statement).await?;
        crash::point(crash::Point::InAlter);
        tracing::info!(%table, changes = parts.len(), "table altered");
    }
}

/// The parts of one `ALTER` for all changes that these definitions need. The
/// table's comment holds the time of the definitions.
fn alter(layout: &Layout, definitions: &Definitions) -> Vec<String> {
    let changes = layout.plan(definitions);
    if changes.is_empty() && definitions.fetched_at <= layout.defined_at {
        return Vec::new();
    }
    let columns = changes.iter().map(|change| match change {
        ColumnChange::Add(column) => format!(
            "ADD COLUMN IF NOT EXISTS {} {} COMMENT {}",
            quoted(&column.name),
            column.kind.sql(),
            literal(&column.note.json())
        ),
        ColumnChange::Comment(column) => format!(
            "COMMENT COLUMN IF EXISTS {} {}",
            quoted(&column.name),
            literal(&column.note.json())
        ),
    });
    let defined_at = literal(&definitions.fetched_at.to_string());
    columns
        .chain([format!("MODIFY COMMENT {defined_at}")])
        .collect()
}

/// The columns of a table, as ClickHouse has them.
struct StoredColumns {
    /// Comment of the table.
    comment: String,
    /// Name, type and comment of each column.
    columns: Vec<(String, String, String)>,
}

impl StoredColumns {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, ..)| name.as_str())
    }

    fn layout(&self) -> Layout {
        let columns = self
            .columns
            .iter()
            .map(|(name, kind, comment)| (name.as_str(), kind.as_str(), comment.as_str()));
        Layout::read(columns, self.comment.parse().unwrap_or(0))
    }
}

/// Reads the property columns of a table; `None` where there is no such table.
pub(super) async fn layout(
    session: &Session,
    table: &TableName,
) -> Result<Option<Layout>, WarehouseError> {
    let stored = stored_columns(session, table).await?;
    Ok(stored.map(|stored| stored.layout()))
}

async fn stored_columns(
    session: &Session,
    table: &TableName,
) -> Result<Option<StoredColumns>, WarehouseError> {
    const ACTION: &str = "read the columns of a table";
    let comment = session
        .client()
        .query("SELECT comment FROM system.tables WHERE database = ? AND name = ?")
        .bind(&table.database)
        .bind(&table.table)
        .fetch_optional::<String>();
    let Some(comment) = session.within(ACTION, comment).await? else {
        return Ok(None);
    };
    let columns = session
        .client()
        .query(
            "SELECT name, type, comment FROM system.columns WHERE database = ? AND table = ? \
             ORDER BY position",
        )
        .bind(&table.database)
        .bind(&table.table)
        .fetch_all::<(String, String, String)>();
    let columns = session.within(ACTION, columns).await?;
    Ok(Some(StoredColumns { comment, columns }))
}

/// Whether there is such a table.
pub(super) async fn exists(session: &Session, table: &TableName) -> Result<bool, WarehouseError> {
    let found = session
        .client()
        .query("SELECT count() > 0 FROM system.tables WHERE database = ? AND name = ?")
        .bind(&table.database)
        .bind(&table.table)
        .fetch_one::<bool>();
    session.within("look for a table", found).await
}

/// A wide table.
#[derive(clickhouse::Row, serde::Deserialize)]
pub(super) struct WideTable {
    /// The object type, with [`REBUILD_SUFFIX`] in the table of a rebuild.
    pub(super) name: String,
    /// ClickHouse's id, which a table keeps when it is renamed.
    pub(super) id: String,
}

impl WideTable {
    /// Whether a rebuild fills it.
    pub(super) fn is_shadow(&self) -> bool {
        self.name.ends_with(REBUILD_SUFFIX)
    }
}

/// The wide tables of a destination, those of a rebuild included.
pub(super) async fn wide_tables(
    session: &Session,
    destination: &str,
) -> Result<Vec<WideTable>, WarehouseError> {
    let query = session
        .client()
        .query(
            "SELECT name, toString(uuid) AS id FROM system.tables WHERE database = ? AND name NOT IN ? \
             AND engine LIKE '%ReplacingMergeTree' AND sorting_key = '_object_id' ORDER BY name",
        )
        .bind(raw_database(destination))
        .bind([CHANGES, CHANGES_NEXT, CHANGES_FORMER])
        .fetch_all::<WideTable>();
    session.within("list tables", query).await
}
