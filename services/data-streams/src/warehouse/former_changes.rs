//! Moves `changes` of the former layout, which was ordered by position in the log,
//! into the present one, while rows are loaded and read.
//!
//! The rows are copied to `changes__next`; then `changes` is renamed to
//! `changes__former` and `changes__next` to `changes`; then what was inserted
//! meanwhile is copied from `changes__former`, which is dropped. Each step copies
//! only what is missing and can be repeated, and a rename succeeds once: so the
//! move continues after a crash, and several processes may make it at once.

use std::time::Duration;

use super::{
    error::WarehouseError,
    names::{CHANGES, CHANGES_FORMER, CHANGES_NEXT, TableName, literal, quoted},
    own_columns::{self, Table},
    session::{STATEMENT_LIMIT, Session},
    tables,
};

/// Key of the former layout, as ClickHouse prints it.
const FORMER_KEY: &str = "object_type, object_id, topic, partition, offset";

/// Versions copied by one statement, about; an object's versions stay together.
const RANGE_ROWS: u32 = 100_000;

/// Bytes that ClickHouse collects before it writes a part: some of its memory.
const PART_BYTES: u32 = 64 * 1024 * 1024;

/// Time limit of one statement that copies.
const COPY_LIMIT: Duration = Duration::from_mins(10);

/// An insert that began before `changes` was renamed ends within this time.
const INSERTS_END: Duration = STATEMENT_LIMIT.saturating_mul(2);

/// The tables of a destination that the move has to do with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Found {
    /// The layout of `changes`.
    changes: ChangesLayout,
    /// Whether there is `changes__next`.
    next: bool,
    /// Whether there is `changes__former`.
    former: bool,
}

/// The layout of a table `changes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ChangesLayout {
    /// There is no table.
    #[default]
    None,
    Former,
    Present,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Copy what `changes__next` lacks, then rename both.
    Replace,
    /// Rename `changes__next` to `changes`: a process ended between the renames.
    Rename,
    /// Copy from this table what `changes` lacks, then drop it.
    Drain(&'static str),
    Done,
}

impl Found {
    fn step(self) -> Step {
        match self {
            // Somebody created `changes` between the renames: one of the former
            // version its own, one of this version an empty one.
            Self {
                changes: ChangesLayout::Former,
                former: true,
                ..
            } => Step::Drain(CHANGES_FORMER),
            Self {
                changes: ChangesLayout::Former,
                ..
            } => Step::Replace,
            Self {
                changes: ChangesLayout::None,
                next: true,
                ..
            } => Step::Rename,
            Self { next: true, .. } => Step::Drain(CHANGES_NEXT),
            Self { former: true, .. } => Step::Drain(CHANGES_FORMER),
            _ => Step::Done,
        }
    }
}

/// Moves `changes` of one destination, if it has the former layout.
pub(super) async fn replace(session: &Session, destination: &str) -> Result<(), WarehouseError> {
    loop {
        match find(session, destination).await?.step() {
            Step::Done => return Ok(()),
            Step::Replace => {
                tracing::info!(destination, "copying `changes` into its new order");
                let next = TableName::storage(destination, CHANGES_NEXT);
                tables::create(session, Table::Changes, &next).await?;
                copy(session, destination, CHANGES, CHANGES_NEXT).await?;
                rename(session, destination, &[CHANGES, CHANGES_NEXT]).await?;
            }
            Step::Rename => rename(session, destination, &[CHANGES_NEXT]).await?,
            Step::Drain(from) => {
                let changes = TableName::storage(destination, CHANGES);
                tables::create(session, Table::Changes, &changes).await?;
                copy(session, destination, from, CHANGES).await?;
                tokio::time::sleep(INSERTS_END).await;
                copy(session, destination, from, CHANGES).await?;
                let from = TableName::storage(destination, from);
                let statement = format!("DROP TABLE IF EXISTS {from} SYNC");
                session.execute("drop a table", &statement).await?;
                tracing::info!(destination, "`changes` has its new order");
            }
        }
    }
}

async fn find(session: &Session, destination: &str) -> Result<Found, WarehouseError> {
    let tables = session
        .client()
        .query(
            "SELECT name, sorting_key FROM system.tables WHERE database = ? AND name IN ? \
             AND engine LIKE '%ReplacingMergeTree'",
        )
        .bind(TableName::storage(destination, CHANGES).database)
        .bind([CHANGES, CHANGES_NEXT, CHANGES_FORMER])
        .fetch_all::<(String, String)>();
    let mut found = Found::default();
    for (name, key) in session
        .within("find the tables of versions", tables)
        .await?
    {
        match name.as_str() {
            CHANGES_NEXT => found.next = true,
            CHANGES_FORMER => found.former = true,
            _ if key == FORMER_KEY => found.changes = ChangesLayout::Former,
            _ => found.changes = ChangesLayout::Present,
        }
    }
    Ok(found)
}

/// Renames tables in this order: `changes` to `changes__former`, `changes__next` to
/// `changes`. Where another process was faster, the next step shows it.
async fn rename(
    session: &Session,
    destination: &str,
    tables: &[&str],
) -> Result<(), WarehouseError> {
    let renames: Vec<_> = tables
        .iter()
        .map(|from| {
            let to = if *from == CHANGES {
                CHANGES_FORMER
            } else {
                CHANGES
            };
            format!(
                "{} TO {}",
                TableName::storage(destination, from),
                TableName::storage(destination, to)
            )
        })
        .collect();
    let statement = format!("RENAME TABLE {}", renames.join(", "));
    session.execute("rename a table", &statement).await
}

/// Copies the versions that `to` lacks, in ranges of ids.
async fn copy(
    session: &Session,
    destination: &str,
    from: &str,
    to: &str,
) -> Result<(), WarehouseError> {
    let from = TableName::storage(destination, from);
    let to = TableName::storage(destination, to);
    let types = session
        .client()
        .query_raw(&format!("SELECT DISTINCT object_type FROM {from}"))
        .fetch_all::<String>();
    for object_type in session.within("list object types", types).await? {
        let of_type = format!("object_type = {}", literal(&object_type));
        let mut ids = format!("{of_type} AND object_id >= 0");
        loop {
            let last = format!(
                "SELECT max(object_id), count() FROM (SELECT object_id FROM {from} WHERE {ids} \
                 ORDER BY object_type, object_id LIMIT {RANGE_ROWS})"
            );
            let last = session.client().query_raw(&last).fetch_one::<(u64, u64)>();
            let (last, rows) = session.within("find a range of ids", last).await?;
            if rows == 0 {
                break;
            }
            let range = format!("{ids} AND object_id <= {last}");
            let statement = copy_statement(&from, &to, &range);
            session
                .execute_within("copy versions", &statement, COPY_LIMIT)
                .await?;
            ids = format!("{of_type} AND object_id > {last}");
        }
    }
    Ok(())
}

fn copy_statement(from: &TableName, to: &TableName, range: &str) -> String {
    let columns: Vec<_> = own_columns::of(Table::Changes)
        .map(|column| quoted(&column.name(Table::Changes)))
        .collect();
    let columns = columns.join(", ");
    // Without deduplication: a second attempt may select other rows.
    format!(
        "INSERT INTO {to} ({columns}) SELECT {columns} FROM {from} WHERE {range} AND \
         (object_id, fetch_sequence) NOT IN (SELECT object_id, fetch_sequence FROM {to} WHERE \
         {range}) SETTINGS insert_deduplicate = 0, min_insert_block_size_rows = 0, \
         min_insert_block_size_bytes = {PART_BYTES}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a step that succeeds leaves.
    fn after(step: Step, found: Found) -> Found {
        match step {
            Step::Replace => Found {
                changes: ChangesLayout::Present,
                next: false,
                former: true,
            },
            Step::Rename => Found {
                changes: ChangesLayout::Present,
                next: false,
                ..found
            },
            Step::Drain(CHANGES_NEXT) => Found {
                next: false,
                ..found
            },
            Step::Drain(_) => Found {
                former: false,
                ..found
            },
            Step::Done => found,
        }
    }

    #[test]
    fn from_whatever_a_crash_left_the_move_ends_with_one_table_of_the_present_layout() {
        let layouts = [
            ChangesLayout::None,
            ChangesLayout::Former,
            ChangesLayout::Present,
        ];
        for (changes, bits) in layouts
            .into_iter()
            .flat_map(|it| (0..4).map(move |n| (it, n)))
        {
            let mut found = Found {
                changes,
                next: bits & 1 != 0,
                former: bits & 2 != 0,
            };
            let began = found;
            for _ in 0..5 {
                found = after(found.step(), found);
            }
            assert_eq!(found.step(), Step::Done, "{began:?}");
            assert_ne!(found.changes, ChangesLayout::Former, "{began:?}");
            assert!(!found.next && !found.former, "{began:?}");
        }
    }

    #[test]
    fn a_copy_takes_only_versions_that_are_missing() {
        let [from, to] = ["a", "b"].map(|it| TableName::new("d", it));
        let statement = copy_statement(&from, &to, "object_id > 1");
        assert!(statement.starts_with("INSERT INTO `d`.`b` (`object_id`, "));
        assert!(statement.contains(
            "FROM `d`.`a` WHERE object_id > 1 AND (object_id, fetch_sequence) NOT IN \
             (SELECT object_id, fetch_sequence FROM `d`.`b` WHERE object_id > 1)"
        ));
    }
}
