//! One object, and its rendering as HubSpot's JSON.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    definitions::{Definitions, Source},
    json::quote,
    rendering::{Hole, Rendering},
    selection::Selection,
    timestamps,
    values::Values,
};

/// Objects written so far, which makes the values of read-time properties differ.
static READS: AtomicU64 = AtomicU64::new(1);

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) archived_ms: Option<i64>,
    /// Shared by objects of a large portal.
    pub(crate) values: Arc<Values>,
}

impl Record {
    pub(crate) fn new(
        id: u64,
        created_ms: i64,
        updated_ms: i64,
        values: impl Into<Arc<Values>>,
    ) -> Self {
        Self {
            id,
            created_ms,
            updated_ms,
            archived_ms: None,
            values: values.into(),
        }
    }

    /// Sets values: `None` removes one, `""` clears it and stays visible.
    pub(crate) fn set(&mut self, changes: &[(u16, Option<&str>)]) {
        self.values = Arc::new(self.values.with(changes));
    }

    /// Writes the object with the selected properties.
    pub(crate) fn write_selected(
        &self,
        definitions: &Definitions,
        selection: &Selection,
        out: &mut Vec<u8>,
    ) {
        match selection {
            Selection::All => self.write_all(definitions, out),
            Selection::Some(slots) => {
                self.write(definitions, slots.iter().copied(), self.updated_ms, out);
            }
        }
    }

    /// Writes the object with all properties of the portal. The part that objects
    /// share is rendered once.
    pub(crate) fn write_all(&self, definitions: &Definitions, out: &mut Vec<u8>) {
        let rendering = self.values.rendered(definitions.version, || {
            let slots = definitions.all_active().map(|(slot, _)| slot);
            render(&self.values, definitions, slots)
        });
        self.fill(&rendering, self.updated_ms, out);
    }

    /// Writes the object with some properties; one without a value is `null`.
    ///
    /// The time of the last change is a parameter, as the search index may show an
    /// older one.
    pub(crate) fn write(
        &self,
        definitions: &Definitions,
        slots: impl IntoIterator<Item = u16>,
        updated_ms: i64,
        out: &mut Vec<u8>,
    ) {
        self.fill(&render(&self.values, definitions, slots), updated_ms, out);
    }

    /// Writes a rendering of the values, with id and times of this object.
    fn fill(&self, rendering: &Rendering, updated_ms: i64, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        let id = number.format(self.id).as_bytes();
        let mut number = itoa::Buffer::new();
        let read = number
            .format(READS.fetch_add(1, Ordering::Relaxed))
            .as_bytes();
        let (created, updated) = (
            timestamps::iso_bytes(self.created_ms),
            timestamps::iso_bytes(updated_ms),
        );
        rendering.fill(out, |hole| match hole {
            Hole::Id => id,
            Hole::Created => &created,
            Hole::Modified => &updated,
            Hole::Read => read,
        });
        if let Some(archived_ms) = self.archived_ms {
            out.extend_from_slice(b",\"archived\":true,\"archivedAt\":\"");
            timestamps::write_iso(out, archived_ms);
            out.extend_from_slice(b"\"}");
        } else {
            out.extend_from_slice(b",\"archived\":false}");
        }
    }

    /// The properties that are set, as HubSpot's API writes them.
    pub(crate) fn set_properties(&self, definitions: &Definitions) -> Vec<(String, String)> {
        definitions
            .all_active()
            .filter_map(|(slot, definition)| {
                let value = match definition.source {
                    Source::Stored => self
                        .values
                        .get(slot)
                        .filter(|value| !value.is_empty())?
                        .to_owned(),
                    Source::Id => self.id.to_string(),
                    Source::Created => timestamps::iso(self.created_ms),
                    Source::Modified => timestamps::iso(self.updated_ms),
                    Source::ReadTime => return None,
                };
                Some((definition.name.clone(), value))
            })
            .collect()
    }
}

/// The JSON of the object up to `archived`.
fn render(
    values: &Values,
    definitions: &Definitions,
    slots: impl IntoIterator<Item = u16>,
) -> Rendering {
    let mut out = Rendering::default();
    out.text(b"{\"id\":\"");
    out.hole(Hole::Id);
    out.text(b"\",\"properties\":{");
    let mut first = true;
    for slot in slots {
        let Some(definition) = definitions.at(slot) else {
            continue;
        };
        if !first {
            out.text(b",");
        }
        first = false;
        quote(out.bytes(), &definition.name);
        out.text(b":");
        let hole = match definition.source {
            Source::Stored => {
                match values.get(slot) {
                    Some(value) => quote(out.bytes(), value),
                    None => out.text(b"null"),
                }
                continue;
            }
            Source::Id => Hole::Id,
            Source::Created => Hole::Created,
            Source::Modified => Hole::Modified,
            Source::ReadTime => Hole::Read,
        };
        out.text(b"\"");
        out.hole(hole);
        out.text(b"\"");
    }
    out.text(b"},\"createdAt\":\"");
    out.hole(Hole::Created);
    out.text(b"\",\"updatedAt\":\"");
    out.hole(Hole::Modified);
    out.text(b"\"");
    out
}
