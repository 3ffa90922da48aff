//! Records as blocks of `ClickHouse`'s Native format, column by column.
//!
//! Values are parsed here and sent with their real types: `ClickHouse` drops
//! unknown columns and turns unparsable values into NULL, both silently. It
//! must not know how a block is sent.

use schemas::CrmRecord;

use super::{
    layout::{ColumnType, Layout},
    value::{self, Parsed, TIME_RANGE_MS},
};
use crate::ingest::Row;

/// Values that did not fit the type of their column, or whose text the column
/// alone does not give back; label `kind`: `text` or `form`.
pub(crate) const VALUES_KEPT_AS_TEXT: &str = "data_streams_values_kept_as_text_total";

/// A block and the columns that it names.
#[derive(Debug, Default)]
pub(crate) struct Native {
    /// Names in backticks come later; these are as they are.
    pub columns: Vec<String>,
    /// The block.
    pub bytes: Vec<u8>,
}

/// Both blocks of one batch.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// For the wide table.
    pub wide: Native,
    /// For `changes`.
    pub changes: Native,
    /// Rows in each.
    pub rows: usize,
    /// Rows that no column can take, and why.
    pub refused: Vec<(usize, &'static str)>,
}

/// Encodes rows for a table of this layout.
pub(crate) fn encode(layout: &Layout, rows: &[Row<'_>]) -> Blocks {
    let mut refused = Vec::new();
    let mut kept: Vec<&Row<'_>> = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        match refusal(&row.record) {
            Some(reason) => refused.push((place, reason)),
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
    let mut wide = Writer::new(kept.len());
    lineage(&mut wide, &kept, "_");
    wide.fixed("_object_id", "UInt64", &kept, |row| {
        row.record.object_id.to_le_bytes()
    });
    for (column, cells) in layout.columns.iter().zip(&properties.cells) {
        // A column without a value in the whole block takes its default.
        if cells.used {
            wide.column(
                &column.name,
                column.kind.sql(),
                &[&cells.nulls, &cells.values],
            );
        }
    }
    if properties.has_extra {
        wide.column("_extra", "String", &[&properties.extra]);
    }
    let mut changes = Writer::new(kept.len());
    lineage(&mut changes, &kept, "");
    changes.fixed("object_id", "UInt64", &kept, |row| {
        row.record.object_id.to_le_bytes()
    });
    changes.text("object_type", &kept, |row| row.record.object_type);
    changes.text("reason", &kept, |row| row.record.reason);
    changes.column("properties", "String", &[&properties.json]);
    Blocks {
        wide: wide.finish(),
        changes: changes.finish(),
        rows: kept.len(),
        refused,
    }
}

/// Why no column can take a record.
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

/// The columns that both tables have, in `changes` without the underscore.
fn lineage(out: &mut Writer, rows: &[&Row<'_>], prefix: &str) {
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
        for (at, row) in rows.iter().enumerate() {
            if let Some(id) = row.record.merged_into {
                cells.take(at, 8, &id.to_le_bytes());
            }
        }
        cells.pad(rows.len(), 8);
        out.column(
            &name("merged_into"),
            "Nullable(UInt64)",
            &[&cells.nulls, &cells.values],
        );
    }
}

/// A block under construction.
struct Writer {
    rows: usize,
    columns: Vec<String>,
    body: Vec<u8>,
}

impl Writer {
    fn new(rows: usize) -> Self {
        Self {
            rows,
            columns: Vec::new(),
            body: Vec::new(),
        }
    }

    fn head(&mut self, name: &str, kind: &str) {
        write_string(&mut self.body, name);
        write_string(&mut self.body, kind);
        self.columns.push(name.to_owned());
    }

    fn column(&mut self, name: &str, kind: &str, parts: &[&[u8]]) {
        self.head(name, kind);
        for part in parts {
            self.body.extend_from_slice(part);
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
        for row in rows {
            self.body.extend_from_slice(&value(row));
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
            write_string(&mut self.body, value(row));
        }
    }

    fn finish(self) -> Native {
        let mut bytes = Vec::with_capacity(self.body.len() + 20);
        write_varint(&mut bytes, self.columns.len());
        write_varint(&mut bytes, self.rows);
        bytes.extend_from_slice(&self.body);
        Native {
            columns: self.columns,
            bytes,
        }
    }
}

/// The cells of one nullable column, filled up lazily: most properties of most
/// records are not set.
#[derive(Debug, Default)]
struct Cells {
    used: bool,
    nulls: Vec<u8>,
    values: Vec<u8>,
}

impl Cells {
    /// Bytes that a NULL takes in the values: a text's is its zero length.
    fn width(kind: ColumnType) -> usize {
        match kind {
            ColumnType::Text | ColumnType::Boolean => 1,
            ColumnType::Number | ColumnType::Identifier | ColumnType::Time => 8,
            ColumnType::Date => 4,
        }
    }

    fn pad(&mut self, rows: usize, width: usize) {
        let missing = rows.saturating_sub(self.nulls.len());
        self.nulls.resize(self.nulls.len() + missing, 1);
        self.values.resize(self.values.len() + missing * width, 0);
    }

    /// Whether this row already has its value.
    fn has(&self, row: usize) -> bool {
        self.nulls.len() > row
    }

    fn open(&mut self, row: usize, width: usize) {
        self.pad(row, width);
        self.nulls.push(0);
        self.used = true;
    }

    fn take(&mut self, row: usize, width: usize, value: &[u8]) {
        self.open(row, width);
        self.values.extend_from_slice(value);
    }
}

/// The properties of all rows.
struct PropertyColumns {
    cells: Vec<Cells>,
    /// `_extra` as encoded strings.
    extra: Vec<u8>,
    has_extra: bool,
    /// All properties as encoded strings, for `changes`.
    json: Vec<u8>,
}

impl PropertyColumns {
    fn encode(layout: &Layout, rows: &[&Row<'_>]) -> Self {
        let mut out = Self {
            cells: layout.columns.iter().map(|_| Cells::default()).collect(),
            extra: Vec::new(),
            has_extra: false,
            json: Vec::new(),
        };
        let mut finder = Finder::new(layout);
        let mut kept = Kept::default();
        let mut json = Object::default();
        let mut extra = Object::default();
        for (at, row) in rows.iter().enumerate() {
            json.clear();
            extra.clear();
            finder.start_row();
            for (name, value) in row.record.properties.iter() {
                let Some(value) = value.filter(|value| !value.is_empty()) else {
                    continue;
                };
                let place = finder.place(name);
                let Some((kind, cells)) = place.and_then(|place| {
                    Some((layout.columns.get(place)?.kind, out.cells.get_mut(place)?))
                }) else {
                    json.push(name, value);
                    extra.push(name, value);
                    continue;
                };
                if cells.has(at) {
                    continue; // A name twice in one record: the first counts.
                }
                json.push(name, value);
                if !kept.store(cells, kind, at, value) {
                    extra.push(name, value);
                }
            }
            out.has_extra |= !extra.is_empty();
            write_bytes(&mut out.json, json.close());
            write_bytes(&mut out.extra, extra.close());
        }
        for (column, cells) in layout.columns.iter().zip(&mut out.cells) {
            cells.pad(rows.len(), Cells::width(column.kind));
        }
        kept.report();
        out
    }
}

/// Counts the values whose text has to be kept.
#[derive(Default)]
struct Kept {
    text: u64,
    form: u64,
}

impl Kept {
    /// Puts a value into its column; false where its text has to be kept too.
    fn store(&mut self, cells: &mut Cells, kind: ColumnType, row: usize, text: &str) -> bool {
        let width = Cells::width(kind);
        match kind {
            ColumnType::Text => {
                cells.open(row, width);
                write_string(&mut cells.values, text);
                true
            }
            ColumnType::Number => self.settle(value::number(text), |v| {
                cells.take(row, width, &v.to_le_bytes());
            }),
            ColumnType::Identifier => self.settle(value::integer(text), |v| {
                cells.take(row, width, &v.to_le_bytes());
            }),
            ColumnType::Boolean => self.settle(value::boolean(text), |v| {
                cells.take(row, width, &[u8::from(v)]);
            }),
            ColumnType::Date => self.settle(value::date(text), |v| {
                cells.take(row, width, &v.to_le_bytes());
            }),
            ColumnType::Time => self.settle(value::time(text), |v| {
                cells.take(row, width, &v.to_le_bytes());
            }),
        }
    }

    fn settle<T>(&mut self, parsed: Parsed<T>, take: impl FnOnce(T)) -> bool {
        match parsed {
            Parsed::Same(value) => {
                take(value);
                true
            }
            Parsed::Other(value) => {
                take(value);
                self.form += 1;
                false
            }
            Parsed::Text => {
                self.text += 1;
                false
            }
        }
    }

    fn report(&self) {
        metrics::counter!(VALUES_KEPT_AS_TEXT, "kind" => "text").increment(self.text);
        metrics::counter!(VALUES_KEPT_AS_TEXT, "kind" => "form").increment(self.form);
    }
}

/// Finds a property's column. Properties come in the same order in every
/// record, so the one that followed last time is tried first.
struct Finder<'l> {
    layout: &'l Layout,
    /// By place, plus one for the start of a row: the place that followed.
    follows: Vec<usize>,
    last: usize,
}

impl<'l> Finder<'l> {
    fn new(layout: &'l Layout) -> Self {
        let follows = (0..=layout.columns.len()).map(|place| place + 1).collect();
        Self {
            layout,
            follows,
            last: layout.columns.len(),
        }
    }

    fn start_row(&mut self) {
        self.last = self.layout.columns.len();
    }

    fn place(&mut self, name: &str) -> Option<usize> {
        let guess = self.follows.get(self.last).copied().unwrap_or_default();
        let guessed = self
            .layout
            .columns
            .get(guess)
            .is_some_and(|c| c.note.property == name);
        // A guess may be a column of an earlier type, which takes no more.
        let place = if guessed && self.layout.is_current(guess) {
            guess
        } else {
            self.layout.current(name)?.0
        };
        if let Some(follows) = self.follows.get_mut(self.last) {
            *follows = place;
        }
        self.last = place;
        Some(place)
    }
}

/// A flat JSON object of texts.
#[derive(Default)]
struct Object {
    text: Vec<u8>,
}

impl Object {
    fn clear(&mut self) {
        self.text.clear();
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn push(&mut self, name: &str, value: &str) {
        self.text
            .push(if self.text.is_empty() { b'{' } else { b',' });
        write_json(&mut self.text, name);
        self.text.push(b':');
        write_json(&mut self.text, value);
    }

    fn close(&mut self) -> &[u8] {
        if self.text.is_empty() {
            return b"{}";
        }
        self.text.push(b'}');
        &self.text
    }
}

/// A JSON string; the common case without anything to escape is copied.
fn write_json(out: &mut Vec<u8>, text: &str) {
    let plain = text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else if let Ok(escaped) = serde_json::to_vec(text) {
        out.extend_from_slice(&escaped);
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
