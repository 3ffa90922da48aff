//! The names of properties in one answer. Nearly all objects have them in the same
//! order, so the next name is guessed and only compared.

use std::{borrow::Cow, collections::HashMap};

use schemas::PropertyName;

use super::scan::{Scanner, Unexpected};

/// Names compared after a wrong guess: properties are left out more often than they
/// change their order.
const LOOK_AHEAD: usize = 8;
/// Names kept at most; a portal has about 1,000 properties per type.
const MAX_NAMES: usize = 8_192;

/// A property's name.
#[derive(Debug)]
pub(super) struct Name {
    /// As in the text, with quotes and colon. `None` if it has escapes, as two
    /// texts could then mean the same name.
    text: Option<Vec<u8>>,
    /// As in a record.
    pub(super) encoded: PropertyName,
    /// What its value means for the object.
    pub(super) role: Role,
    /// The index of the name that came after it the last time.
    next_index: usize,
}

/// What a property's value means for its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing beyond the property.
    Plain,
    /// The ids of objects that were merged into it.
    MergedIds,
    /// The time of its creation.
    CreatedAt,
    /// The time of its last modification.
    UpdatedAt,
}

/// The names so far, each with the one that comes after it.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Vec<Name>,
    indexes: HashMap<String, usize>,
    first: usize,
    last: Option<usize>,
}

impl Names {
    /// Starts the next object.
    pub(super) fn rewind(&mut self) {
        self.last = None;
    }

    /// Consumes a name and its colon.
    #[inline]
    pub(super) fn next(&mut self, scanner: &mut Scanner<'_>) -> Result<&Name, Unexpected> {
        let guess = match self.last.and_then(|last| self.known.get(last)) {
            Some(last) => last.next_index,
            None => self.first,
        };
        let index = match self.known.get(guess) {
            Some(name) if name.is_next(scanner) => guess,
            _ => self.find(guess, scanner)?,
        };
        self.last = Some(index);
        self.known.get(index).ok_or_else(|| scanner.unexpected())
    }

    #[cold]
    fn find(&mut self, guess: usize, scanner: &mut Scanner<'_>) -> Result<usize, Unexpected> {
        let mut index = guess;
        for _ in 0..LOOK_AHEAD {
            let Some(name) = self.known.get(index) else {
                break;
            };
            if name.is_next(scanner) {
                return Ok(index);
            }
            index = name.next_index;
        }
        let name = scanner.string()?;
        scanner.require(b':')?;
        let index = match self.indexes.get(&*name) {
            Some(index) => *index,
            None => self.add(&name, matches!(name, Cow::Borrowed(_))),
        };
        match self.last.and_then(|last| self.known.get_mut(last)) {
            Some(last) => last.next_index = index,
            None => self.first = index,
        }
        Ok(index)
    }

    fn add(&mut self, name: &str, is_plain: bool) -> usize {
        if self.known.len() >= MAX_NAMES {
            *self = Self::default();
        }
        let index = self.known.len();
        self.known.push(Name {
            text: is_plain.then(|| format!("\"{name}\":").into_bytes()),
            encoded: PropertyName::new(name),
            role: match name {
                "hs_merged_object_ids" => Role::MergedIds,
                "createdate" | "hs_createdate" => Role::CreatedAt,
                "lastmodifieddate" | "hs_lastmodifieddate" => Role::UpdatedAt,
                _ => Role::Plain,
            },
            next_index: index + 1,
        });
        self.indexes.insert(name.to_owned(), index);
        index
    }
}

impl Name {
    fn is_next(&self, scanner: &mut Scanner<'_>) -> bool {
        let text = self.text.as_deref();
        text.is_some_and(|text| scanner.take_exactly(text))
    }
}
