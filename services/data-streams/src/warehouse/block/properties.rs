//! Parses the properties of a block's rows into their columns.

use std::collections::HashSet;

use super::write_bytes;
use crate::{
    ingest::{KeptAsText, Row},
    warehouse::{
        finder::ColumnFinder,
        layout::{ColumnType, Layout},
        value::{self, Parsed},
    },
};

/// The cells of one nullable column. NULLs are filled in when the next value
/// arrives: most properties of most records are not set.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) used: bool,
    pub(super) nulls: Vec<u8>,
    pub(super) values: Vec<u8>,
}

impl Cells {
    /// Bytes of a NULL among the values; for a text, its length of zero.
    fn width(kind: ColumnType) -> usize {
        match kind {
            ColumnType::Text | ColumnType::Boolean => 1,
            ColumnType::Number | ColumnType::Identifier | ColumnType::Time => 8,
            ColumnType::Date => 4,
        }
    }

    pub(super) fn pad(&mut self, rows: usize, width: usize) {
        let missing = rows.saturating_sub(self.nulls.len());
        if missing > 0 {
            self.nulls.resize(self.nulls.len() + missing, 1);
            self.values.resize(self.values.len() + missing * width, 0);
        }
    }

    /// Whether this row has a value.
    fn has(&self, row: usize) -> bool {
        self.nulls.len() > row
    }

    fn start(&mut self, row: usize, width: usize) {
        self.pad(row, width);
        self.nulls.push(0);
        self.used = true;
    }

    pub(super) fn push(&mut self, row: usize, width: usize, value: &[u8]) {
        self.start(row, width);
        self.values.extend_from_slice(value);
    }
}

/// The properties of all rows.
pub(super) struct PropertyColumns {
    pub(super) cells: Vec<Cells>,
    /// The column `_extra`.
    pub(super) extra: Extra,
    /// All properties as JSON, for `changes`: encoded strings.
    pub(super) json: Vec<u8>,
    pub(super) kept: KeptAsText,
}

/// Rows after which the size of the columns is estimated.
const SAMPLE_ROWS: usize = 256;

impl PropertyColumns {
    pub(super) fn encode(layout: &Layout, rows: &[&Row<'_>]) -> Self {
        let mut out = Self {
            cells: layout.columns.iter().map(|_| Cells::default()).collect(),
            extra: Extra::default(),
            json: Vec::new(),
            kept: KeptAsText::default(),
        };
        let mut finder = ColumnFinder::new(layout);
        let mut json = JsonObject::default();
        let mut extra = JsonObject::default();
        let mut unknown = HashSet::new();
        for (row_index, row) in rows.iter().enumerate() {
            if row_index == SAMPLE_ROWS {
                out.reserve(rows.len());
            }
            json.clear();
            extra.clear();
            unknown.clear();
            finder.start_row();
            for (name, value) in row.record.properties.bytes() {
                let Some(value) = value.filter(|value| !value.is_empty()) else {
                    continue;
                };
                let index = finder.find(name);
                let Some((column, cells)) = index.and_then(|index| {
                    Some((layout.columns.get(index)?, out.cells.get_mut(index)?))
                }) else {
                    // ClickHouse refuses JSON with the same path twice.
                    if unknown.insert(name) {
                        json.push(name, value);
                        extra.push(name, value);
                    }
                    continue;
                };
                if cells.has(row_index) {
                    continue; // The record has the name twice: the first counts.
                }
                json.push_known(&column.json_key, value);
                if !out.kept.store(cells, column.kind, row_index, value) {
                    extra.push(name, value);
                }
            }
            write_bytes(&mut out.json, json.close());
            out.extra.push(row_index, &mut extra);
        }
        for (column, cells) in layout.columns.iter().zip(&mut out.cells) {
            if cells.used {
                cells.pad(rows.len(), Cells::width(column.kind));
            }
        }
        out.extra.pad(rows.len());
        out
    }

    /// Reserves space for all rows, estimated from the first ones. Otherwise the
    /// buffers would grow by doubling, which copies them and takes up to twice
    /// their size.
    fn reserve(&mut self, rows: usize) {
        let more = |used: usize| {
            let all = used.saturating_mul(rows) / SAMPLE_ROWS;
            (all + all / 16).saturating_sub(used)
        };
        self.json.reserve_exact(more(self.json.len()));
        for cells in self.cells.iter_mut().filter(|cells| cells.used) {
            cells.nulls.reserve_exact(rows - cells.nulls.len());
            cells.values.reserve_exact(more(cells.values.len()));
        }
    }
}

/// The column `_extra`: encoded JSON objects, nearly all of them empty.
#[derive(Default)]
pub(super) struct Extra {
    texts: Vec<u8>,
    rows: usize,
}

impl Extra {
    fn push(&mut self, row: usize, extra: &mut JsonObject) {
        if !extra.is_empty() {
            self.fill(row);
            write_bytes(&mut self.texts, extra.close());
            self.rows += 1;
        }
    }

    fn fill(&mut self, rows: usize) {
        while self.rows < rows {
            write_bytes(&mut self.texts, b"{}");
            self.rows += 1;
        }
    }

    fn pad(&mut self, rows: usize) {
        if self.rows > 0 {
            self.fill(rows);
        }
    }

    /// The encoded strings; `None` where every object is empty.
    pub(super) fn texts(self) -> Option<Vec<u8>> {
        (self.rows > 0).then_some(self.texts)
    }
}

impl KeptAsText {
    /// Writes a value into its column; false where its text must be stored too.
    fn store(&mut self, cells: &mut Cells, kind: ColumnType, row: usize, bytes: &[u8]) -> bool {
        let width = Cells::width(kind);
        if kind == ColumnType::Text {
            cells.start(row, width);
            write_bytes(&mut cells.values, bytes);
            return true;
        }
        // INVARIANT: the bytes are UTF-8, checked when the record was decoded.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        match kind {
            ColumnType::Text => true,
            ColumnType::Number => self.count(value::number(text), |v| {
                cells.push(row, width, &v.to_le_bytes());
            }),
            ColumnType::Identifier => self.count(value::integer(text), |v| {
                cells.push(row, width, &v.to_le_bytes());
            }),
            ColumnType::Boolean => self.count(value::boolean(text), |v| {
                cells.push(row, width, &[u8::from(v)]);
            }),
            ColumnType::Date => self.count(value::date(text), |v| {
                cells.push(row, width, &v.to_le_bytes());
            }),
            ColumnType::Time => self.count(value::time(text), |v| {
                cells.push(row, width, &v.to_le_bytes());
            }),
        }
    }

    /// Counts a value that needs its text, and hands a parsed one to `push`.
    fn count<T>(&mut self, parsed: Parsed<T>, push: impl FnOnce(T)) -> bool {
        match parsed {
            Parsed::Same(value) => {
                push(value);
                true
            }
            Parsed::Other(value) => {
                push(value);
                self.form += 1;
                false
            }
            Parsed::Text => {
                self.text += 1;
                false
            }
        }
    }
}

/// A flat JSON object whose values are texts, being written.
#[derive(Default)]
struct JsonObject {
    text: Vec<u8>,
}

impl JsonObject {
    fn clear(&mut self) {
        self.text.clear();
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        self.separate();
        write_json(&mut self.text, name);
        self.text.push(b':');
        write_json(&mut self.text, value);
    }

    /// Like `push`, with a key that is JSON already, colon included.
    fn push_known(&mut self, key: &[u8], value: &[u8]) {
        self.separate();
        self.text.extend_from_slice(key);
        write_json(&mut self.text, value);
    }

    fn separate(&mut self) {
        self.text
            .push(if self.text.is_empty() { b'{' } else { b',' });
    }

    fn close(&mut self) -> &[u8] {
        if self.text.is_empty() {
            return b"{}";
        }
        self.text.push(b'}');
        &self.text
    }
}

/// Writes a JSON string. Copies the text where nothing needs an escape, which is
/// the common case.
fn write_json(out: &mut Vec<u8>, text: &[u8]) {
    // A loop without an early exit lets the compiler check many bytes at a time.
    let special = text.iter().fold(0, |found, b| {
        found | u8::from(*b < 0x20) | u8::from(*b == b'"') | u8::from(*b == b'\\')
    });
    if special != 0 {
        // INVARIANT: UTF-8, checked when the record was decoded.
        let text = std::str::from_utf8(text).unwrap_or_default();
        // A text can always be written as JSON.
        if let Ok(escaped) = serde_json::to_vec(text) {
            out.extend_from_slice(&escaped);
        }
    } else {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }
}
