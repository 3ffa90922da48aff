//! The properties of a block's rows, parsed into their columns.
//!
//! It must not know the columns that are not properties.

use std::collections::HashSet;

use super::write_bytes;
use crate::{
    ingest::{KeptAsText, Row},
    warehouse::{
        finder::Finder,
        layout::{ColumnType, Layout},
        value::{self, Parsed},
    },
};

/// The cells of one nullable column, filled up lazily: most properties of most
/// records are not set.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) used: bool,
    pub(super) nulls: Vec<u8>,
    pub(super) values: Vec<u8>,
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

    pub(super) fn pad(&mut self, rows: usize, width: usize) {
        let missing = rows.saturating_sub(self.nulls.len());
        if missing > 0 {
            self.nulls.resize(self.nulls.len() + missing, 1);
            self.values.resize(self.values.len() + missing * width, 0);
        }
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

    pub(super) fn take(&mut self, row: usize, width: usize, value: &[u8]) {
        self.open(row, width);
        self.values.extend_from_slice(value);
    }
}

/// The properties of all rows.
pub(super) struct PropertyColumns {
    pub(super) cells: Vec<Cells>,
    /// `_extra` as encoded strings.
    pub(super) extra: Extra,
    /// All properties as encoded strings, for `changes`.
    pub(super) json: Vec<u8>,
    pub(super) kept: KeptAsText,
}

/// Rows after which the room that the others will take is known well enough.
const SAMPLE_ROWS: usize = 256;

impl PropertyColumns {
    pub(super) fn encode(layout: &Layout, rows: &[&Row<'_>]) -> Self {
        let mut out = Self {
            cells: layout.columns.iter().map(|_| Cells::default()).collect(),
            extra: Extra::default(),
            json: Vec::new(),
            kept: KeptAsText::default(),
        };
        let mut finder = Finder::new(layout);
        let mut json = JsonObject::default();
        let mut extra = JsonObject::default();
        let mut unknown = HashSet::new();
        for (at, row) in rows.iter().enumerate() {
            if at == SAMPLE_ROWS {
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
                let place = finder.place(name);
                let Some((column, cells)) = place.and_then(|place| {
                    Some((layout.columns.get(place)?, out.cells.get_mut(place)?))
                }) else {
                    // ClickHouse refuses a path twice in one value.
                    if unknown.insert(name) {
                        json.push(name, value);
                        extra.push(name, value);
                    }
                    continue;
                };
                if cells.has(at) {
                    continue; // A name twice in one record: the first counts.
                }
                json.push_known(&column.json_key, value);
                if !out.kept.store(cells, column.kind, at, value) {
                    extra.push(name, value);
                }
            }
            write_bytes(&mut out.json, json.close());
            out.extra.take(at, &mut extra);
        }
        for (column, cells) in layout.columns.iter().zip(&mut out.cells) {
            if cells.used {
                cells.pad(rows.len(), Cells::width(column.kind));
            }
        }
        out.extra.pad(rows.len());
        out
    }

    /// Makes room for all rows by what the first have taken, so that no buffer
    /// grows by doubling: that would copy it, and hold twice its size.
    fn reserve(&mut self, rows: usize) {
        let more = |taken: usize| {
            let all = taken.saturating_mul(rows) / SAMPLE_ROWS;
            (all + all / 16).saturating_sub(taken)
        };
        self.json.reserve_exact(more(self.json.len()));
        for cells in self.cells.iter_mut().filter(|cells| cells.used) {
            cells.nulls.reserve_exact(rows - cells.nulls.len());
            cells.values.reserve_exact(more(cells.values.len()));
        }
    }
}

/// The texts of `_extra`. Nearly every row's is empty.
#[derive(Default)]
pub(super) struct Extra {
    texts: Vec<u8>,
    rows: usize,
}

impl Extra {
    fn take(&mut self, row: usize, extra: &mut JsonObject) {
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

    /// As encoded strings; `None` where every row's is empty.
    pub(super) fn texts(self) -> Option<Vec<u8>> {
        (self.rows > 0).then_some(self.texts)
    }
}

impl KeptAsText {
    /// Puts a value into its column; false where its text has to be kept too.
    fn store(&mut self, cells: &mut Cells, kind: ColumnType, row: usize, bytes: &[u8]) -> bool {
        let width = Cells::width(kind);
        if kind == ColumnType::Text {
            cells.open(row, width);
            write_bytes(&mut cells.values, bytes);
            return true;
        }
        // INVARIANT: the bytes are a text, checked when the record was read.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        match kind {
            ColumnType::Text => true,
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
}

/// A flat JSON object of texts.
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

    /// With a name that is JSON already, colon included.
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

/// A JSON string; the common case without anything to escape is copied.
fn write_json(out: &mut Vec<u8>, text: &[u8]) {
    // Without a way out in the middle, it looks at many bytes at a time.
    let special = text.iter().fold(0, |found, b| {
        found | u8::from(*b < 0x20) | u8::from(*b == b'"') | u8::from(*b == b'\\')
    });
    if special != 0 {
        // INVARIANT: a text, checked when the record was read.
        let text = std::str::from_utf8(text).unwrap_or_default();
        if let Ok(escaped) = serde_json::to_vec(text) {
            out.extend_from_slice(&escaped);
        }
    } else {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }
}
