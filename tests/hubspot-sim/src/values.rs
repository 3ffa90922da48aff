//! The values of an object or of several that share them, packed, with their
//! cached rendering.

use std::sync::{Arc, PoisonError, RwLock};

use crate::rendering::Rendering;

/// Renderings of this many bytes or more are cached only where objects share them:
/// with 1,000 properties an object has tens of kilobytes of nulls.
const KEEP_RENDERED_BELOW: usize = 8 * 1024;

/// Values by slot of their property, in two allocations.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// Slot of the property and end of its value in the text, ordered by slot.
    entries: Box<[(u16, u32)]>,
    text: Box<str>,
    /// Whether several objects share them.
    shared: bool,
    /// The rendering with all properties, with the version of the definitions.
    rendered: RwLock<Option<(u32, Arc<Rendering>)>>,
}

impl Values {
    /// Packs values, which must be ordered by slot.
    pub(crate) fn pack<'a>(values: impl IntoIterator<Item = (u16, &'a str)>) -> Self {
        let (mut entries, mut text) = (Vec::new(), String::new());
        for (slot, value) in values {
            text.push_str(value);
            entries.push((slot, u32::try_from(text.len()).unwrap_or(u32::MAX)));
        }
        Self {
            entries: entries.into(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// Marks the values as shared by several objects.
    pub(crate) fn shared(self) -> Self {
        Self {
            shared: true,
            ..self
        }
    }

    /// The value of a slot; `""` is one that was cleared.
    pub(crate) fn get(&self, slot: u16) -> Option<&str> {
        let at = self
            .entries
            .binary_search_by_key(&slot, |entry| entry.0)
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

    /// All values with their slots, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &str)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(at, &(slot, _))| Some((slot, self.slice(at)?)))
    }

    /// A changed copy: `None` removes a value, `""` clears it and stays visible.
    pub(crate) fn with(&self, changes: &[(u16, Option<&str>)]) -> Self {
        let mut all: Vec<(u16, &str)> = self
            .iter()
            .filter(|(slot, _)| changes.iter().all(|(p, _)| p != slot))
            .collect();
        all.extend(
            changes
                .iter()
                .filter_map(|&(slot, value)| Some((slot, value?))),
        );
        all.sort_by_key(|(slot, _)| *slot);
        Self::pack(all)
    }

    /// The rendering with all properties, made by `render` unless it is cached for
    /// this version of the definitions.
    pub(crate) fn rendered(
        &self,
        version: u32,
        render: impl FnOnce() -> Rendering,
    ) -> Arc<Rendering> {
        let kept = self.rendered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept_version, rendering)) = &*kept
            && *kept_version == version
        {
            return Arc::clone(rendering);
        }
        drop(kept);
        let rendering = Arc::new(render().shrink());
        if self.shared || rendering.len() <= KEEP_RENDERED_BELOW {
            let kept = Some((version, Arc::clone(&rendering)));
            *self
                .rendered
                .write()
                .unwrap_or_else(PoisonError::into_inner) = kept;
        }
        rendering
    }
}
