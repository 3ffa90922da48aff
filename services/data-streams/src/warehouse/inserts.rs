//! Inserts rows into the tables of a target. Encodes one piece while the piece
//! before is sent, so that memory holds only a piece of encoded rows.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{join, try_join};
use twox_hash::XxHash3_128;

use super::{
    block::{self, NativeBlock},
    error::WarehouseError,
    layout::Layout,
    names::{TableName, quoted},
    session::{Insertion, Session},
    tables,
};
use crate::{
    crash,
    ingest::{Inserted, Inserts, RefusedRow, Rows, StoreError, Stored, TableSet, Target},
};

/// Bytes of rows encoded at a time. The blocks of both tables together are about
/// twice as large.
const PIECE_BYTES: usize = 2 * 1024 * 1024;

/// Estimated bytes of a row without a value in a column that other rows of the
/// block have values for: 2 to 9.
const EMPTY_CELL_BYTES: usize = 4;

/// Version of the encoding, part of the deduplication token. Raise it when the
/// same rows are encoded differently: otherwise ClickHouse drops those of a
/// rebuild as duplicates of what an earlier program inserted.
const ENCODING: u32 = 2;

/// Inserts into the wide table of a target and into its `changes`, with the
/// columns that they had when it was made.
pub(super) struct TargetTables<'s> {
    session: &'s Session,
    set: TableSet,
    layout: Arc<Layout>,
    wide: TableInsert,
    changes: TableInsert,
    /// Hash of the wide table's columns, part of its deduplication token.
    columns_hash: u128,
}

/// An insert statement.
struct TableInsert {
    /// For logs and metrics.
    name: String,
    /// Ends with a line break; the rows follow.
    statement: Bytes,
}

impl TableInsert {
    fn new(table: &TableName, columns: &[String]) -> Self {
        let columns: Vec<_> = columns.iter().map(|it| quoted(it)).collect();
        let columns = columns.join(", ");
        Self {
            name: table.to_string(),
            statement: format!("INSERT INTO {table} ({columns}) FORMAT Native\n").into(),
        }
    }

    fn open(&self, session: &Session, token: Option<&str>) -> OpenInsert {
        OpenInsert {
            insertion: session.insertion(&self.statement, token),
            inserted: Inserted {
                table: self.name.clone(),
                rows: 0,
                bytes: 0,
                took: Duration::ZERO,
            },
        }
    }
}

/// An insert to which blocks are still sent.
struct OpenInsert {
    insertion: Insertion,
    inserted: Inserted,
}

impl OpenInsert {
    async fn send(&mut self, block: NativeBlock, rows: usize) -> Result<(), WarehouseError> {
        self.inserted.rows += rows;
        for part in block.parts {
            self.inserted.bytes += part.len();
            self.insertion.send(part).await?;
        }
        Ok(())
    }

    async fn end(self) -> Result<Inserted, WarehouseError> {
        let took = self.insertion.end().await?;
        crash::point(crash::Point::AfterInsert);
        Ok(Inserted {
            took,
            ..self.inserted
        })
    }
}

impl<'s> TargetTables<'s> {
    pub(super) fn new(session: &'s Session, target: &Target, layout: Arc<Layout>) -> Self {
        let mut hash = XxHash3_128::new();
        for column in &layout.columns {
            for part in [&column.name, column.kind.sql()] {
                hash.write(&part.len().to_le_bytes());
                hash.write(part.as_bytes());
            }
        }
        Self {
            session,
            set: target.tables,
            wide: TableInsert::new(&tables::wide_table(target), &block::wide_columns(&layout)),
            changes: TableInsert::new(&tables::changes_table(target), &block::changes_columns()),
            columns_hash: hash.finish_128(),
            layout,
        }
    }

    /// Sends all rows, and leaves both inserts open.
    async fn send(
        &self,
        rows: Rows<'_>,
        wide: &mut OpenInsert,
        changes: &mut OpenInsert,
    ) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        let mut before = 0;
        let empty = self.layout.columns.len() * EMPTY_CELL_BYTES;
        for piece in rows.pieces(PIECE_BYTES, empty) {
            let blocks = block::encode(&self.layout, &piece.read()?);
            let refused = blocks.refused.into_iter();
            let refused = refused.map(|(index, reason)| RefusedRow {
                index: before + index,
                error: reason.to_owned(),
            });
            stored.refused.extend(refused);
            stored.kept_as_text += blocks.kept_as_text;
            before += piece.len();
            if blocks.rows > 0 {
                try_join(
                    changes.send(blocks.changes, blocks.rows),
                    wide.send(blocks.wide, blocks.rows),
                )
                .await?;
            }
        }
        Ok(stored)
    }
}

#[async_trait]
impl Inserts for TargetTables<'_> {
    async fn insert(&self, rows: Rows<'_>) -> Result<Stored, StoreError> {
        // The columns of the wide table do not change the rows of `changes`.
        let token = format!("{}-{ENCODING}", rows.token());
        // ClickHouse may have inserted the rows of a rebuild into `changes` before, and
        // lost them since; doubled ones replace each other.
        let for_changes = Some(token.as_str()).filter(|_| self.set == TableSet::Live);
        let mut changes = self.changes.open(self.session, for_changes);
        let token = format!("{token}-{:032x}", self.columns_hash);
        let mut wide = self.wide.open(self.session, Some(&token));
        let mut stored = self.send(rows, &mut wide, &mut changes).await?;
        if wide.inserted.rows > 0 {
            // Waits for both answers even if one fails: an abandoned insert may
            // still succeed while the same rows are sent again.
            let (wide, changes) = join(wide.end(), changes.end()).await;
            stored.tables = vec![changes?, wide?];
        }
        Ok(stored)
    }
}
