//! The properties of a block's rows, parsed into their columns.
//!
//! It must not know the columns that are not properties.

use std::collections::HashSet;

use super::{write_bytes, write_string};
use crate::{
    ingest::Row,
    warehouse::{
        layout::{ColumnType, Layout},
        value::{self, Parsed},
    },
};

/// Values that did not fit the type of their column, or whose text the column
/// alone does not give back; label `kind`: `text` or `form`.
pub(crate) const VALUES_KEPT_AS_TEXT: &str = "data_streams_values_kept_as_text_total";

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

    pub(super) fn take(&mut self, row: usize, width: usize, value: &[u8]) {
        self.open(row, width);
        self.values.extend_from_slice(value);
    }
}

/// The properties of all rows.
pub(super) struct PropertyColumns {
    pub(super) cells: Vec<Cells>,
    /// `_extra` as encoded strings.
    pub(super) extra: Vec<u8>,
    pub(super) has_extra: bool,
    /// All properties as encoded strings, for `changes`.
    pub(super) json: Vec<u8>,
}

impl PropertyColumns {
    pub(super) fn encode(layout: &Layout, rows: &[&Row<'_>]) -> Self {
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
        let mut unknown = HashSet::new();
        for (at, row) in rows.iter().enumerate() {
            json.clear();
            extra.clear();
            unknown.clear();
            finder.start_row();
            for (name, value) in row.record.properties.iter() {
                let Some(value) = value.filter(|value| !value.is_empty()) else {
                    continue;
                };
                let place = finder.place(name);
                let Some((kind, cells)) = place.and_then(|place| {
                    Some((layout.columns.get(place)?.kind, out.cells.get_mut(place)?))
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
