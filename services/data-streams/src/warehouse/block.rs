//! Encodes records as blocks of ClickHouse's Native format, column by column.
//!
//! Values are parsed here and sent with their types, because ClickHouse silently
//! drops unknown columns and turns values that it cannot parse into NULL.

mod properties;

use bytes::Bytes;
use schemas::CrmRecord;

use super::{layout::Layout, value::TIME_RANGE_MS};
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
    let own = LINEAGE.iter().map(|it| format!("_{it}"));
    let properties = layout.columns.iter().map(|it| it.name.clone());
    own.chain(["_object_id".to_owned(), "_extra".to_owned()])
        .chain(properties)
        .collect()
}

/// The columns that a block for `changes` can have.
pub(crate) fn changes_columns() -> Vec<String> {
    let names = ["object_id", "object_type", "reason", "properties"];
    let names = LINEAGE.into_iter().chain(names);
    names.map(str::to_owned).collect()
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
    let properties = PropertyColumns::encode(layout, &kept);
    let kept_as_text = properties.kept;
    let mut wide = BlockWriter::new(kept.len());
    write_lineage(&mut wide, &kept, "_");
    wide.fixed("_object_id", "UInt64", &kept, |row| {
        row.record.object_id.to_le_bytes()
    });
    for (column, cells) in layout.columns.iter().zip(properties.cells) {
        if cells.used {
            wide.column(&column.name, column.kind.sql(), [cells.nulls, cells.values]);
        }
    }
    if let Some(texts) = properties.extra.texts() {
        wide.column("_extra", "String", [texts]);
    }
    let mut changes = BlockWriter::new(kept.len());
    write_lineage(&mut changes, &kept, "");
    changes.fixed("object_id", "UInt64", &kept, |row| {
        row.record.object_id.to_le_bytes()
    });
    changes.text("object_type", &kept, |row| row.record.object_type);
    changes.text("reason", &kept, |row| row.record.reason);
    changes.column("properties", "String", [properties.json]);
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

const TIME: &str = "DateTime64(3, 'UTC')";

/// The columns of both tables that are not properties. The wide table's begin
/// with an underscore.
const LINEAGE: [&str; 14] = [
    "portal_id",
    "created_at",
    "updated_at",
    "synced_at",
    "archived",
    "deleted",
    "run_id",
    "connection",
    "version",
    "fetch_sequence",
    "topic",
    "partition",
    "offset",
    "merged_into",
];

/// Writes the columns of [`LINEAGE`]. A row's version is made in
/// [`schemas::version`].
fn write_lineage(out: &mut BlockWriter, rows: &[&Row<'_>], prefix: &str) {
    let name = |name: &str| format!("{prefix}{name}");
    out.fixed(&name("portal_id"), "UInt64", rows, |row| {
        row.record.portal_id.to_le_bytes()
    });
    out.fixed(&name("created_at"), TIME, rows, |row| {
        row.record.created_at.to_le_bytes()
    });
    out.fixed(&name("updated_at"), TIME, rows, |row| {
        row.record.updated_at.to_le_bytes()
    });
    out.fixed(&name("synced_at"), TIME, rows, |row| {
        row.record.fetched_at.to_le_bytes()
    });
    out.fixed(&name("archived"), "Bool", rows, |row| {
        [u8::from(row.record.archived)]
    });
    out.fixed(&name("deleted"), "Bool", rows, |row| {
        [u8::from(row.record.deleted)]
    });
    out.text(&name("run_id"), rows, |row| row.record.run_id);
    out.text(&name("connection"), rows, |row| row.record.connection);
    out.fixed(&name("version"), "UInt128", rows, |row| {
        row.record.version().to_le_bytes()
    });
    out.fixed(&name("fetch_sequence"), "UInt64", rows, |row| {
        row.record.fetch_sequence.to_le_bytes()
    });
    out.text(&name("topic"), rows, |row| row.topic);
    out.fixed(&name("partition"), "Int32", rows, |row| {
        row.partition.to_le_bytes()
    });
    out.fixed(&name("offset"), "Int64", rows, |row| {
        row.offset.to_le_bytes()
    });
    if rows.iter().any(|row| row.record.merged_into.is_some()) {
        let mut cells = Cells::default();
        for (index, row) in rows.iter().enumerate() {
            if let Some(id) = row.record.merged_into {
                cells.push(index, 8, &id.to_le_bytes());
            }
        }
        cells.pad(rows.len(), 8);
        out.column(
            &name("merged_into"),
            "Nullable(UInt64)",
            [cells.nulls, cells.values],
        );
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

    fn fixed<const N: usize>(
        &mut self,
        name: &str,
        kind: &str,
        rows: &[&Row<'_>],
        value: impl Fn(&Row<'_>) -> [u8; N],
    ) {
        self.head(name, kind);
        self.open.reserve(rows.len() * N);
        for row in rows {
            self.open.extend_from_slice(&value(row));
        }
    }

    fn text<'r>(
        &mut self,
        name: &str,
        rows: &[&'r Row<'r>],
        value: impl Fn(&'r Row<'r>) -> &'r str,
    ) {
        self.head(name, "String");
        for row in rows {
            write_string(&mut self.open, value(row));
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
