//! Rows into the tables of a target: encoded a piece at a time, while what came
//! before is on its way, so that no more than a piece is in memory encoded.
//!
//! It must not know when rows are given up or tried again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{join, try_join};
use twox_hash::XxHash3_128;

use super::{
    block::{self, NativeBlock},
    error::WarehouseError,
    layout::Layout,
    names::{qualified, quoted},
    session::{Insertion, Session},
};
use crate::crash;
use crate::ingest::{Inserted, Inserts, Rows, StoreError, Stored};

/// Bytes of rows that are encoded at a time; both tables' blocks together are
/// about twice as large.
const PIECE_BYTES: usize = 2 * 1024 * 1024;

/// What a column takes for a row without a value, where another of the block has
/// one: 2 to 9 bytes.
const EMPTY_CELL_BYTES: usize = 4;

/// Raised when the same rows are encoded otherwise, so that those of a rebuild
/// are not taken for what the program before has stored.
const ENCODING: u32 = 1;

/// Inserts into the wide table of a target and into its `changes`.
pub(super) struct TargetTables<'s> {
    session: &'s Session,
    layout: Arc<Layout>,
    wide: TableInsert,
    /// It only grows, so that a rebuild adds to it as well.
    changes: TableInsert,
    /// Tells one layout of the wide table from another.
    columns: u128,
}

struct TableInsert {
    name: String,
    /// With the end of its line, behind which the rows begin.
    statement: Bytes,
}

impl TableInsert {
    fn new(raw: &str, name: &str, columns: &[String]) -> Self {
        let name = qualified(raw, name);
        let columns: Vec<_> = columns.iter().map(|it| quoted(it)).collect();
        let columns = columns.join(", ");
        Self {
            statement: format!("INSERT INTO {name} ({columns}) FORMAT Native\n").into(),
            name,
        }
    }

    fn open(&self, session: &Session, token: &str) -> OpenInsert {
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

/// A table that rows are on their way to.
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
    pub(super) fn new(
        session: &'s Session,
        raw: &str,
        names: (&str, &str),
        layout: Arc<Layout>,
    ) -> Self {
        let columns = block::wide_columns(&layout);
        let mut hash = XxHash3_128::new();
        for column in &layout.columns {
            for part in [&column.name, column.kind.sql()] {
                hash.write(&part.len().to_le_bytes());
                hash.write(part.as_bytes());
            }
        }
        Self {
            session,
            wide: TableInsert::new(raw, names.0, &columns),
            changes: TableInsert::new(raw, names.1, &block::changes_columns()),
            columns: hash.finish_128(),
            layout,
        }
    }

    /// Sends all rows; the statements have no end yet.
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
            let refused = refused.map(|(place, why)| (before + place, why.to_owned()));
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
        // Rows of `changes` are the same whatever columns the wide table has.
        let token = format!("{}-{ENCODING}", rows.token());
        let mut changes = self.changes.open(self.session, &token);
        let token = format!("{token}-{:032x}", self.columns);
        let mut wide = self.wide.open(self.session, &token);
        let mut stored = self.send(rows, &mut wide, &mut changes).await?;
        if wide.inserted.rows > 0 {
            // Both are waited for: what is given up may be stored all the same,
            // while it is sent again.
            let (wide, changes) = join(wide.end(), changes.end()).await;
            stored.tables = vec![changes?, wide?];
        }
        Ok(stored)
    }
}
