//! Finds the column of a property, mostly without hashing the property's name.

use super::layout::Layout;

/// Number of columns compared before the name is hashed: so many properties in a
/// row may be unset.
const CHAIN_STEPS: usize = 8;

/// Finds the column of a property. Records list their properties in the same
/// order, with some left out; so each column remembers which column followed it
/// in earlier records.
#[derive(Debug)]
pub(super) struct ColumnFinder<'l> {
    layout: &'l Layout,
    /// By column index: the index of the next column. The last entry is for the
    /// start of a record.
    follows: Vec<usize>,
    last: usize,
}

impl<'l> ColumnFinder<'l> {
    /// Starts with the order of the table's columns.
    pub(super) fn new(layout: &'l Layout) -> Self {
        let start = layout.columns.len();
        let mut follows: Vec<usize> = (1..=start).collect();
        follows.push(0);
        Self {
            layout,
            follows,
            last: start,
        }
    }

    /// Starts a record.
    pub(super) fn start_row(&mut self) {
        self.last = self.layout.columns.len();
    }

    /// Index of the column that takes the property's values; `None` where no
    /// column does.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<usize> {
        let mut guess = self.last;
        for _ in 0..CHAIN_STEPS {
            guess = *self.follows.get(guess)?;
            let Some(column) = self.layout.columns.get(guess) else {
                break;
            };
            // The column may have an earlier type of the property.
            if column.note.property.as_bytes() == name && self.layout.is_current(guess) {
                self.last = guess;
                return Some(guess);
            }
        }
        let (index, _) = self.layout.current(std::str::from_utf8(name).ok()?)?;
        // Links the column behind the last one. This may create a cycle, which
        // only costs comparisons.
        let after = self.follows.get(self.last).copied();
        if let (Some(after), Some(slot)) = (after, self.follows.get_mut(index)) {
            *slot = after;
        }
        if let Some(slot) = self.follows.get_mut(self.last) {
            *slot = index;
        }
        self.last = index;
        Some(index)
    }
}
