//! One object of the portal, and its rendering as HubSpot's JSON.
//!
//! It must not know of endpoints, pages or filters.

use bytes::Bytes;

use crate::{
    definitions::{Definitions, Source},
    json::quote,
    select::Selection,
    stamp,
};

/// Rendered objects above this size are not kept: a portal with 1,000
/// properties sends tens of kilobytes of nulls an object.
const KEEP_RENDERED_BELOW: usize = 8 * 1024;

/// The values of an object, packed: two allocations whatever their number.
#[derive(Debug, Default, Clone)]
pub(crate) struct Values {
    /// Place of the property and end of its value in the text, by place.
    entries: Box<[(u16, u32)]>,
    text: Box<str>,
}

impl Values {
    /// Packs values; they must come ordered by place.
    pub(crate) fn pack<'a>(values: impl IntoIterator<Item = (u16, &'a str)>) -> Self {
        let (mut entries, mut text) = (Vec::new(), String::new());
        for (place, value) in values {
            text.push_str(value);
            entries.push((place, u32::try_from(text.len()).unwrap_or(u32::MAX)));
        }
        Self {
            entries: entries.into(),
            text: text.into(),
        }
    }

    /// The value at a place; `""` is one that was cleared.
    pub(crate) fn get(&self, place: u16) -> Option<&str> {
        let at = self
            .entries
            .binary_search_by_key(&place, |entry| entry.0)
            .ok()?;
        self.slice(at)
    }

    fn slice(&self, at: usize) -> Option<&str> {
        let end = self.entries.get(at)?.1 as usize;
        let start = match at.checked_sub(1) {
            Some(before) => self.entries.get(before)?.1 as usize,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// All values by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &str)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(at, &(place, _))| Some((place, self.slice(at)?)))
    }

    /// Sets values: `None` takes one out, `""` clears it and stays visible.
    pub(crate) fn set(&mut self, changes: &[(u16, Option<&str>)]) {
        let mut all: Vec<(u16, &str)> = self
            .iter()
            .filter(|(place, _)| changes.iter().all(|(p, _)| p != place))
            .collect();
        all.extend(
            changes
                .iter()
                .filter_map(|&(place, value)| Some((place, value?))),
        );
        all.sort_by_key(|(place, _)| *place);
        *self = Self::pack(all);
    }
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) archived_ms: Option<i64>,
    pub(crate) values: Values,
    /// The object with all properties, and the version of the definitions.
    rendered: Option<(u32, Bytes)>,
}

impl Record {
    pub(crate) fn new(id: u64, created_ms: i64, updated_ms: i64, values: Values) -> Self {
        Self {
            id,
            created_ms,
            updated_ms,
            archived_ms: None,
            values,
            rendered: None,
        }
    }

    /// Must follow each change of a field.
    pub(crate) fn touch(&mut self) {
        self.rendered = None;
    }

    /// Writes the object as it is now, with the properties selected.
    pub(crate) fn write_selected(
        &mut self,
        definitions: &Definitions,
        selection: &Selection,
        out: &mut Vec<u8>,
    ) {
        match selection {
            Selection::All => self.write_all(definitions, out),
            Selection::Some(places) => {
                self.write(definitions, places.iter().copied(), self.updated_ms, out);
            }
        }
    }

    /// Writes the object with all properties of the portal.
    pub(crate) fn write_all(&mut self, definitions: &Definitions, out: &mut Vec<u8>) {
        if let Some((version, bytes)) = &self.rendered
            && *version == definitions.version
        {
            out.extend_from_slice(bytes);
            return;
        }
        let start = out.len();
        self.write(
            definitions,
            definitions.all_active().map(|(place, _)| place),
            self.updated_ms,
            out,
        );
        if let Some(written) = out
            .get(start..)
            .filter(|it| it.len() <= KEEP_RENDERED_BELOW)
        {
            self.rendered = Some((definitions.version, Bytes::copy_from_slice(written)));
        }
    }

    /// Writes the object with some properties; one without value is `null`.
    ///
    /// The time of the last change is a parameter because the search index
    /// may still show an older one.
    pub(crate) fn write(
        &self,
        definitions: &Definitions,
        places: impl IntoIterator<Item = u16>,
        updated_ms: i64,
        out: &mut Vec<u8>,
    ) {
        let mut number = itoa::Buffer::new();
        let id = number.format(self.id);
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\",\"properties\":{");
        let mut first = true;
        for place in places {
            let Some(definition) = definitions.at(place) else {
                continue;
            };
            if !first {
                out.push(b',');
            }
            first = false;
            quote(out, &definition.name);
            out.push(b':');
            match definition.source {
                Source::Stored => match self.values.get(place) {
                    Some(value) => quote(out, value),
                    None => out.extend_from_slice(b"null"),
                },
                Source::Id => {
                    out.push(b'"');
                    out.extend_from_slice(id.as_bytes());
                    out.push(b'"');
                }
                Source::Created => write_time(out, self.created_ms),
                Source::Modified => write_time(out, updated_ms),
            }
        }
        out.extend_from_slice(b"},\"createdAt\":");
        write_time(out, self.created_ms);
        out.extend_from_slice(b",\"updatedAt\":");
        write_time(out, updated_ms);
        if let Some(archived_ms) = self.archived_ms {
            out.extend_from_slice(b",\"archived\":true,\"archivedAt\":");
            write_time(out, archived_ms);
            out.push(b'}');
        } else {
            out.extend_from_slice(b",\"archived\":false}");
        }
    }

    /// The properties that are set, as HubSpot's REST interface writes them.
    pub(crate) fn set_properties(&self, definitions: &Definitions) -> Vec<(String, String)> {
        definitions
            .all_active()
            .filter_map(|(place, definition)| {
                let value = match definition.source {
                    Source::Stored => self
                        .values
                        .get(place)
                        .filter(|value| !value.is_empty())?
                        .to_owned(),
                    Source::Id => self.id.to_string(),
                    Source::Created => stamp::iso(self.created_ms),
                    Source::Modified => stamp::iso(self.updated_ms),
                };
                Some((definition.name.clone(), value))
            })
            .collect()
    }
}

fn write_time(out: &mut Vec<u8>, ms: i64) {
    out.push(b'"');
    stamp::write_iso(out, ms);
    out.push(b'"');
}
