//! Stored properties, a flat JSON object of texts, as JSON of their types.
//!
//! Most values are texts anyway, and most numbers are written the same in both:
//! they are copied. It must not know where the object was read.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    finder::Finder,
    layout::{ColumnType, Layout},
    value::{Parsed, boolean, integer, number},
};

/// Renders the objects of one object type.
#[derive(Debug)]
pub(crate) struct Renderer<'l> {
    layout: &'l Layout,
    finder: Finder<'l>,
    /// Only these properties; all where it is `None`.
    wanted: Option<HashSet<&'l str>>,
}

/// A member of an object: key and value with their quotation marks.
type Member<'a> = (&'a str, &'a str);

impl<'l> Renderer<'l> {
    pub(crate) fn new(layout: &'l Layout, wanted: Option<&'l [String]>) -> Self {
        Self {
            layout,
            finder: Finder::new(layout),
            wanted: wanted.map(|names| names.iter().map(String::as_str).collect()),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.as_ref().is_none_or(|it| it.contains(name))
    }

    /// The object with typed values.
    pub(crate) fn render(&mut self, stored: &str) -> String {
        let mut out = String::with_capacity(stored.len());
        match self.copy(stored, &mut out) {
            Some(()) => out,
            None => self.parse(stored),
        }
    }

    /// `None` where it meets what only a JSON parser reads.
    fn copy(&mut self, stored: &str, out: &mut String) -> Option<()> {
        self.finder.start_row();
        let mut rest = stored.strip_prefix('{')?;
        while rest != "}" {
            let ((key, value), behind) = member(rest)?;
            rest = behind;
            let name = unquoted(key)?;
            if !self.wants(name) {
                continue;
            }
            let kind = self
                .finder
                .place(name.as_bytes())
                .and_then(|place| self.layout.columns.get(place))
                .map(|column| column.kind);
            out.push(if out.is_empty() { '{' } else { ',' });
            out.push_str(key);
            out.push(':');
            match kind.map(|kind| (kind, unquoted(value))) {
                Some((kind, Some(text))) => write(kind, text, value, out),
                _ => out.push_str(value),
            }
        }
        if out.is_empty() {
            out.push('{');
        }
        out.push('}');
        Some(())
    }

    /// The same by a JSON parser.
    fn parse(&self, stored: &str) -> String {
        // INVARIANT: we wrote it as a flat object of texts.
        let stored: Map<String, Value> = serde_json::from_str(stored).unwrap_or_default();
        let mut properties = Map::new();
        for (name, value) in stored {
            if !self.wants(&name) {
                continue;
            }
            let kind = self.layout.current(&name).map(|(_, column)| column.kind);
            let value = match (kind, &value) {
                (Some(kind), Value::String(text)) => json(kind, text).unwrap_or(value),
                _ => value,
            };
            properties.insert(name, value);
        }
        Value::Object(properties).to_string()
    }
}

/// The first member of what follows an object's brace or a member, and what is
/// behind it.
fn member(text: &str) -> Option<(Member<'_>, &str)> {
    let text = text.strip_prefix(',').unwrap_or(text);
    let (key, rest) = string(text)?;
    let (value, rest) = string(rest.strip_prefix(':')?)?;
    Some(((key, value), rest))
}

/// A JSON string at the front, with its quotation marks, and what is behind.
fn string(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut from = 1;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return text.split_at_checked(at + 1);
        }
        from = at + 2;
    }
}

/// What is between the quotation marks; `None` where something is escaped.
fn unquoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    memchr::memchr(b'\\', inner.as_bytes())
        .is_none()
        .then_some(inner)
}

/// Writes a value as JSON of its type; `quoted` is the text as JSON.
fn write(kind: ColumnType, text: &str, quoted: &str, out: &mut String) {
    let is_plain = match kind {
        // A number that prints as its text is that text in JSON, too.
        ColumnType::Number => matches!(number(text), Parsed::Same(_)),
        ColumnType::Identifier => matches!(integer(text), Parsed::Same(_)),
        ColumnType::Boolean => matches!(boolean(text), Parsed::Same(_)),
        ColumnType::Text | ColumnType::Date | ColumnType::Time => {
            out.push_str(quoted);
            return;
        }
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

/// Where JSON has the type and loses nothing; else it stays a text.
fn json(kind: ColumnType, text: &str) -> Option<serde_json::Value> {
    match kind {
        ColumnType::Number => match number(text) {
            Parsed::Same(value) | Parsed::Other(value) => {
                match integer(text) {
                    // `5` and not `5.0`.
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
    use crate::warehouse::layout::Note;

    fn layout(columns: &[(&str, ColumnType)]) -> Layout {
        let rows: Vec<_> = columns
            .iter()
            .map(|(name, kind)| {
                let note = Note {
                    property: (*name).to_owned(),
                    ..Note::default()
                };
                (*name, kind.sql(), note.json())
            })
            .collect();
        let rows = rows.iter().map(|(n, k, note)| (*n, *k, note.as_str()));
        Layout::read(rows, 0)
    }

    #[test]
    fn values_are_json_of_their_type() {
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
    fn only_the_properties_asked_for_are_given() {
        let wanted = vec!["a".to_owned(), "missing".to_owned()];
        let layout = Layout::default();
        let mut renderer = Renderer::new(&layout, Some(&wanted));
        assert_eq!(renderer.render(r#"{"a":"1","b":"2"}"#), r#"{"a":"1"}"#);
        assert_eq!(renderer.render(r#"{"b":"2"}"#), "{}");
        assert_eq!(renderer.render("{}"), "{}");
    }

    proptest! {
        #[test]
        fn copying_gives_what_a_parser_gives(
            members in proptest::collection::btree_map("[a-c\"\\\\]{1,3}", ".{0,8}|-?[0-9.eE]{1,9}|true|No", 0..6)
        ) {
            let kinds = [ColumnType::Number, ColumnType::Boolean, ColumnType::Identifier, ColumnType::Text];
            let names: Vec<_> = members.keys().cloned().collect();
            let columns: Vec<_> = names.iter().zip(kinds.into_iter().cycle())
                .map(|(name, kind)| (name.as_str(), kind)).collect();
            let layout = layout(&columns);
            let mut renderer = Renderer::new(&layout, None);
            let stored = serde_json::to_string(&members).unwrap();
            let parsed: Value = serde_json::from_str(&renderer.parse(&stored)).unwrap();
            let copied: Value = serde_json::from_str(&renderer.render(&stored)).unwrap();
            prop_assert_eq!(copied, parsed);
        }
    }
}
