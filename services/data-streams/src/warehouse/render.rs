//! Renders stored properties, a flat JSON object of texts, as typed JSON.
//!
//! Most values are texts, and most numbers have the same form in both: they are
//! copied.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    finder::ColumnFinder,
    layout::{ColumnType, Layout},
    value::{Parsed, boolean, integer, number},
};

/// Renders the properties of one object type.
#[derive(Debug)]
pub(crate) struct Renderer<'l> {
    layout: &'l Layout,
    finder: ColumnFinder<'l>,
    /// Only these properties; all where it is `None`.
    included: Option<HashSet<&'l str>>,
}

impl<'l> Renderer<'l> {
    pub(crate) fn new(layout: &'l Layout, included: Option<&'l [String]>) -> Self {
        Self {
            layout,
            finder: ColumnFinder::new(layout),
            included: included.map(|names| names.iter().map(String::as_str).collect()),
        }
    }

    fn includes(&self, name: &str) -> bool {
        self.included.as_ref().is_none_or(|it| it.contains(name))
    }

    /// The object with typed values. Fails if what is stored is not a JSON object,
    /// as an answer without properties would be wrong.
    pub(crate) fn render(&mut self, stored: &str) -> Result<String, serde_json::Error> {
        let mut out = String::with_capacity(stored.len());
        match self.copy(stored, &mut out) {
            Some(()) => Ok(out),
            None => self.parse(stored),
        }
    }

    /// Copies unchanged members in runs; `None` for JSON that needs a real parser.
    fn copy(&mut self, stored: &str, out: &mut String) -> Option<()> {
        self.finder.start_row();
        // What is not copied yet. Starts as if a member had ended at the brace.
        let mut run = 0..0;
        let mut at = stored.strip_prefix('{').map(|_| 1)?;
        while stored.get(at..)? != "}" {
            let Member { key, value } = Member::at(stored, at)?;
            at = value.end;
            // An escaped name needs the parser.
            let name = key.plain(stored)?;
            if !self.includes(name) {
                continue;
            }
            if run.end + 1 != key.start {
                out.push_str(stored.get(run)?);
                out.push(if out.is_empty() { '{' } else { ',' });
                run = key.start..key.start;
            }
            run.end = value.end;
            let kind = self.kind(name).filter(|kind| !kind.is_text_in_json());
            if let (Some(kind), Some(text)) = (kind, value.plain(stored)) {
                out.push_str(stored.get(run.start..value.start)?);
                write(kind, text, value.quoted(stored)?, out);
                run = at..at;
            }
        }
        out.push_str(stored.get(run)?);
        if out.is_empty() {
            out.push('{');
        }
        out.push('}');
        Some(())
    }

    fn kind(&mut self, name: &str) -> Option<ColumnType> {
        let index = self.finder.find(name.as_bytes())?;
        Some(self.layout.columns.get(index)?.kind)
    }

    /// Renders with a JSON parser.
    fn parse(&self, stored: &str) -> Result<String, serde_json::Error> {
        let stored: Map<String, Value> = serde_json::from_str(stored)?;
        let mut properties = Map::new();
        for (name, value) in stored {
            if !self.includes(&name) {
                continue;
            }
            let kind = self.layout.current(&name).map(|(_, column)| column.kind);
            let value = match (kind, &value) {
                (Some(kind), Value::String(text)) => json(kind, text).unwrap_or(value),
                _ => value,
            };
            properties.insert(name, value);
        }
        Ok(Value::Object(properties).to_string())
    }
}

/// A member of an object.
struct Member {
    key: JsonString,
    value: JsonString,
}

impl Member {
    /// The member that begins at this offset, or after a comma at this offset.
    fn at(object: &str, at: usize) -> Option<Self> {
        let bytes = object.as_bytes();
        let key = JsonString::at(bytes, at + usize::from(bytes.get(at) == Some(&b',')))?;
        if bytes.get(key.end) != Some(&b':') {
            return None;
        }
        let value = JsonString::at(bytes, key.end + 1)?;
        Some(Self { key, value })
    }
}

/// The offsets of a JSON string, quotation marks included.
struct JsonString {
    start: usize,
    end: usize,
    is_escaped: bool,
}

impl JsonString {
    fn at(bytes: &[u8], start: usize) -> Option<Self> {
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let mut is_escaped = false;
        let mut from = start + 1;
        loop {
            let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
            if bytes.get(at) == Some(&b'"') {
                let end = at + 1;
                return Some(Self {
                    start,
                    end,
                    is_escaped,
                });
            }
            is_escaped = true;
            from = at + 2;
        }
    }

    /// The text between the quotation marks; `None` where it has an escape.
    fn plain<'a>(&self, text: &'a str) -> Option<&'a str> {
        let inner = text.get(self.start + 1..self.end - 1)?;
        (!self.is_escaped).then_some(inner)
    }

    fn quoted<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.get(self.start..self.end)
    }
}

/// Writes a value as typed JSON. `quoted` is the text as a JSON string.
fn write(kind: ColumnType, text: &str, quoted: &str, out: &mut String) {
    let is_plain = match kind {
        // Its JSON is the text itself.
        ColumnType::Number => matches!(number(text), Parsed::Same(_)),
        ColumnType::Identifier => matches!(integer(text), Parsed::Same(_)),
        ColumnType::Boolean => matches!(boolean(text), Parsed::Same(_)),
        ColumnType::Text | ColumnType::Date | ColumnType::Time => false,
    };
    if is_plain {
        out.push_str(text);
    } else {
        match json(kind, text) {
            Some(value) => out.push_str(&value.to_string()),
            None => out.push_str(quoted),
        }
    }
}

/// The value as typed JSON; `None` where JSON has no such type or would lose
/// digits.
fn json(kind: ColumnType, text: &str) -> Option<serde_json::Value> {
    match kind {
        ColumnType::Number => match number(text) {
            Parsed::Same(value) | Parsed::Other(value) => {
                match integer(text) {
                    // So that 5 is `5` and not `5.0`.
                    Parsed::Same(whole) => Some(whole.into()),
                    _ => serde_json::Number::from_f64(value).map(Into::into),
                }
            }
            Parsed::Text => match integer(text) {
                Parsed::Same(whole) => Some(whole.into()),
                Parsed::Other(_) | Parsed::Text => None,
            },
        },
        ColumnType::Boolean => match boolean(text) {
            Parsed::Same(value) | Parsed::Other(value) => Some(value.into()),
            Parsed::Text => None,
        },
        ColumnType::Identifier => match integer(text) {
            Parsed::Same(whole) | Parsed::Other(whole) => Some(whole.into()),
            Parsed::Text => None,
        },
        ColumnType::Text | ColumnType::Date | ColumnType::Time => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::warehouse::layout::ColumnNote;

    fn layout(columns: &[(&str, ColumnType)]) -> Layout {
        let rows: Vec<_> = columns
            .iter()
            .map(|(name, kind)| {
                let note = ColumnNote {
                    property: (*name).to_owned(),
                    ..ColumnNote::default()
                };
                (*name, kind.sql(), note.json())
            })
            .collect();
        let rows = rows.iter().map(|(n, k, note)| (*n, *k, note.as_str()));
        Layout::read(rows, 0)
    }

    #[test]
    fn values_are_rendered_as_json_of_their_type() {
        use serde_json::json;
        let row = |kind: ColumnType, text: &str| json(kind, text);
        assert_eq!(row(ColumnType::Number, "5"), Some(json!(5)));
        assert_eq!(row(ColumnType::Number, "1500.50"), Some(json!(1500.5)));
        assert_eq!(
            row(ColumnType::Number, "9007199254740993"),
            Some(json!(9_007_199_254_740_993_i64))
        );
        assert_eq!(row(ColumnType::Number, "1;2"), None);
        assert_eq!(row(ColumnType::Boolean, "true"), Some(json!(true)));
        assert_eq!(row(ColumnType::Identifier, "12"), Some(json!(12)));
        assert_eq!(row(ColumnType::Identifier, "none"), None);
    }

    #[test]
    fn only_the_requested_properties_are_rendered() {
        let wanted = vec!["a".to_owned(), "missing".to_owned()];
        let layout = Layout::default();
        let mut renderer = Renderer::new(&layout, Some(&wanted));
        let mut render = |stored| renderer.render(stored).unwrap();
        assert_eq!(render(r#"{"a":"1","b":"2"}"#), r#"{"a":"1"}"#);
        assert_eq!(render(r#"{"b":"2"}"#), "{}");
        assert_eq!(render("{}"), "{}");
    }

    #[test]
    fn properties_that_are_not_json_are_an_error_and_not_an_empty_object() {
        let layout = Layout::default();
        let mut renderer = Renderer::new(&layout, None);
        for stored in ["", "{", "[]", r#"{"a":"1""#, r#"{"a":x}"#] {
            assert!(renderer.render(stored).is_err(), "{stored}");
        }
    }

    proptest! {
        #[test]
        fn copying_renders_the_same_as_parsing(
            members in proptest::collection::btree_map("[a-c\"\\\\]{1,3}", ".{0,8}|-?[0-9.eE]{1,9}|true|No", 0..6)
        ) {
            let kinds = [ColumnType::Number, ColumnType::Boolean, ColumnType::Identifier, ColumnType::Text];
            let names: Vec<_> = members.keys().cloned().collect();
            let columns: Vec<_> = names.iter().zip(kinds.into_iter().cycle())
                .map(|(name, kind)| (name.as_str(), kind)).collect();
            let layout = layout(&columns);
            let mut renderer = Renderer::new(&layout, None);
            let stored = serde_json::to_string(&members).unwrap();
            let parsed: Value = serde_json::from_str(&renderer.parse(&stored).unwrap()).unwrap();
            let copied: Value = serde_json::from_str(&renderer.render(&stored).unwrap()).unwrap();
            prop_assert_eq!(copied, parsed);
        }
    }
}
