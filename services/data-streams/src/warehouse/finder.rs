//! Which column of a layout a property has, found without hashing its name.
//!
//! It must not know what is done with the values.

use super::layout::Layout;

/// How far a property is looked for along the chain: so many in a row may be
/// unset before their successor costs a hash.
const CHAIN_STEPS: usize = 8;

/// Finds a property's column. Properties come in the same order in every
/// record, with some left out: each column knows which one follows it in that
/// order, as far as the rows before have shown it.
#[derive(Debug)]
pub(crate) struct Finder<'l> {
    layout: &'l Layout,
    /// By place, plus one for the start of a row: the place that follows.
    follows: Vec<usize>,
    last: usize,
}

impl<'l> Finder<'l> {
    /// With the table's order as the first guess.
    pub(crate) fn new(layout: &'l Layout) -> Self {
        let start = layout.columns.len();
        let mut follows: Vec<usize> = (1..=start).collect();
        follows.push(0);
        Self {
            layout,
            follows,
            last: start,
        }
    }

    /// A record begins.
    pub(crate) fn start_row(&mut self) {
        self.last = self.layout.columns.len();
    }

    /// Place of the column that takes the property's values; `None` where there
    /// is none.
    pub(crate) fn place(&mut self, name: &[u8]) -> Option<usize> {
        let mut guess = self.last;
        for _ in 0..CHAIN_STEPS {
            guess = *self.follows.get(guess)?;
            let Some(column) = self.layout.columns.get(guess) else {
                break;
            };
            // A guess may be a column of an earlier type, which takes no more.
            if column.note.property.as_bytes() == name && self.layout.is_current(guess) {
                self.last = guess;
                return Some(guess);
            }
        }
        let (place, _) = self.layout.current(std::str::from_utf8(name).ok()?)?;
        // It goes into the chain behind the last one. A circle that this may
        // make only costs steps.
        let after = self.follows.get(self.last).copied();
        if let (Some(after), Some(slot)) = (after, self.follows.get_mut(place)) {
            *slot = after;
        }
        if let Some(slot) = self.follows.get_mut(self.last) {
            *slot = place;
        }
        self.last = place;
        Some(place)
    }
}
