//! Encodes records as blocks of ClickHouse's Native format, column by column.
//!
//! Values are parsed here and sent with their types, because ClickHouse silently
//! drops unknown columns and turns values that it cannot parse into NULL.

mod properties;

use bytes::Bytes;
use schemas::CrmRecord;

use super::{
    layout::Layout,
    own_columns::{self, OwnColumn, Table, Value},
    value::TIME_RANGE_MS,
};
use crate::ingest::{KeptAsText, Row};
use properties::{Cells, PropertyColumns};

/// A block. A column without any value is left out; ClickHouse fills in the
/// column's default.
#[derive(Debug, Default)]
pub(crate) struct NativeBlock {
    /// The bytes, in pieces. Joining them would copy the whole block.
    pub parts: Vec<Bytes>,
}

/// Encodes blocks outside of a warehouse, for benchmarks.
#[doc(hidden)]
#[derive(Debug)]
pub struct Encoder(Layout);

impl Encoder {
    /// An encoder for a table with these property columns: name and type.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let columns: Vec<_> = columns
            .into_iter()
            .map(|(name, kind)| (name, kind, format!("{{\"property\":\"{name}\"}}")))
            .collect();
        let columns = columns.iter().map(|it| (it.0, it.1, it.2.as_str()));
        Self(Layout::read(columns, 0))
    }

    /// Encodes rows; returns the bytes of both blocks.
    pub fn encoded_len(&self, rows: &[Row<'_>]) -> usize {
        let blocks = encode(&self.0, rows);
        let parts = blocks.wide.parts.iter().chain(&blocks.changes.parts);
        parts.map(Bytes::len).sum()
    }
}

/// The two blocks of one piece of a batch.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// For the wide table.
    pub wide: NativeBlock,
    /// For `changes`.
    pub changes: NativeBlock,
    /// Rows in each block.
    pub rows: usize,
    /// Indexes of the rows that no column can hold, and why.
    pub refused: Vec<(usize, &'static str)>,
    /// Values of which the text is stored too.
    pub kept_as_text: KeptAsText,
}

/// The columns that a block for a wide table of this layout can have.
pub(crate) fn wide_columns(layout: &Layout) -> Vec<String> {
    let properties = layout.columns.iter().map(|it| it.name.clone());
    own_names(Table::Wide).chain(properties).collect()
}

/// The columns that a block for `changes` can have.
pub(crate) fn changes_columns() -> Vec<String> {
    own_names(Table::Changes).collect()
}

fn own_names(table: Table) -> impl Iterator<Item = String> {
    own_columns::of(table).map(move |column| column.name(table))
}

/// Encodes rows for a table of this layout.
pub(crate) fn encode(layout: &Layout, rows: &[Row<'_>]) -> Blocks {
    let mut refused = Vec::new();
    let mut kept: Vec<&Row<'_>> = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        match refusal(&row.record) {
            Some(reason) => refused.push((index, reason)),
            None => kept.push(row),
        }
    }
    if kept.is_empty() {
        return Blocks {
            refused,
            ..Blocks::default()
        };
    }
    let PropertyColumns {
        cells,
        extra,
        json,
        kept: kept_as_text,
    } = PropertyColumns::encode(layout, &kept);
    let mut wide = BlockWriter::new(kept.len());
    wide.own_columns(Table::Wide, &kept, extra.texts());
    for (column, cells) in layout.columns.iter().zip(cells) {
        if cells.used {
            wide.column(&column.name, column.kind.sql(), [cells.nulls, cells.values]);
        }
    }
    let mut changes = BlockWriter::new(kept.len());
    changes.own_columns(Table::Changes, &kept, Some(json));
    Blocks {
        wide: wide.finish(),
        changes: changes.finish(),
        rows: kept.len(),
        refused,
        kept_as_text,
    }
}

/// Why no column can hold a record; `None` where they can.
fn refusal<P>(record: &CrmRecord<'_, P>) -> Option<&'static str> {
    if record.object_id < 0 {
        Some("object_id is negative")
    } else if record.portal_id < 0 {
        Some("portal_id is negative")
    } else if record.fetch_sequence < 0 {
        Some("fetch_sequence is negative")
    } else if record.merged_into.is_some_and(|id| id < 0) {
        Some("merged_into is negative")
    } else if !TIME_RANGE_MS.contains(&record.created_at) {
        Some("created_at is out of range")
    } else if !TIME_RANGE_MS.contains(&record.updated_at) {
        Some("updated_at is out of range")
    } else if !TIME_RANGE_MS.contains(&record.fetched_at) {
        Some("fetched_at is out of range")
    } else {
        None
    }
}

/// Columns of at least this size become a piece of their own, without a copy.
/// Smaller ones are joined, as each piece is a chunk of the request.
const PIECE_BYTES: usize = 64 * 1024;

/// A block under construction.
struct BlockWriter {
    rows: usize,
    columns: usize,
    /// Complete pieces.
    parts: Vec<Bytes>,
    /// The piece being written.
    open: Vec<u8>,
}

impl BlockWriter {
    fn new(rows: usize) -> Self {
        Self {
            rows,
            columns: 0,
            parts: Vec::new(),
            open: Vec::new(),
        }
    }

    fn head(&mut self, name: &str, kind: &str) {
        write_string(&mut self.open, name);
        write_string(&mut self.open, kind);
        self.columns += 1;
    }

    fn column<const N: usize>(&mut self, name: &str, kind: &str, parts: [Vec<u8>; N]) {
        self.head(name, kind);
        for part in parts {
            if part.len() < PIECE_BYTES {
                self.open.extend_from_slice(&part);
            } else {
                self.close();
                self.parts.push(part.into());
            }
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.parts.push(std::mem::take(&mut self.open).into());
        }
    }

    /// Writes the columns that are not properties. `texts` are the encoded values
    /// of the one column that is made from the properties; `None` where each is
    /// the default.
    fn own_columns(&mut self, table: Table, rows: &[&Row<'_>], texts: Option<Vec<u8>>) {
        let mut texts = texts;
        for column in own_columns::of(table) {
            match &column.value {
                Value::Unsigned(value) | Value::Offset(value) | Value::Time(value) => {
                    self.fixed(column, table, rows, |row| value(row).to_le_bytes());
                }
                Value::Version(value) => {
                    self.fixed(column, table, rows, |row| value(row).to_le_bytes());
                }
                Value::Partition(value) => {
                    self.fixed(column, table, rows, |row| value(row).to_le_bytes());
                }
                Value::Bool(value) => {
                    self.fixed(column, table, rows, |row| [u8::from(value(row))]);
                }
                Value::OptionalUnsigned(value) => self.optional(column, table, rows, *value),
                Value::Name(value) => {
                    self.head(&column.name(table), column.value.sql());
                    for row in rows {
                        write_string(&mut self.open, value(row));
                    }
                }
                Value::Extra | Value::Properties => {
                    if let Some(texts) = texts.take() {
                        self.column(&column.name(table), column.value.sql(), [texts]);
                    }
                }
            }
        }
    }

    fn fixed<const N: usize>(
        &mut self,
        column: &OwnColumn,
        table: Table,
        rows: &[&Row<'_>],
        value: impl Fn(&Row<'_>) -> [u8; N],
    ) {
        self.head(&column.name(table), column.value.sql());
        self.open.reserve(rows.len() * N);
        for row in rows {
            self.open.extend_from_slice(&value(row));
        }
    }

    fn optional(
        &mut self,
        column: &OwnColumn,
        table: Table,
        rows: &[&Row<'_>],
        value: fn(&Row<'_>) -> Option<i64>,
    ) {
        let mut cells = Cells::default();
        for (index, row) in rows.iter().enumerate() {
            if let Some(value) = value(row) {
                cells.push(index, 8, &value.to_le_bytes());
            }
        }
        if cells.used {
            cells.pad(rows.len(), 8);
            let name = column.name(table);
            self.column(&name, column.value.sql(), [cells.nulls, cells.values]);
        }
    }

    fn finish(mut self) -> NativeBlock {
        self.close();
        let mut head = Vec::new();
        write_varint(&mut head, self.columns);
        write_varint(&mut head, self.rows);
        self.parts.insert(0, head.into());
        NativeBlock { parts: self.parts }
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    write_bytes(out, text.as_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f).to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests;
