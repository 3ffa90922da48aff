//! Rendered JSON with holes: the part that many objects share, and the positions
//! of what differs.

/// What fills a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hole {
    /// The id of the object.
    Id,
    /// Its time of creation.
    Created,
    /// Its time of last change.
    Modified,
    /// The number of the read.
    Read,
}

/// Text with holes.
#[derive(Debug, Default)]
pub(crate) struct Rendering {
    text: Vec<u8>,
    /// Offset of each hole in the text, in order.
    holes: Vec<(usize, Hole)>,
}

impl Rendering {
    /// Adds text.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// The text so far, to add to.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Adds a hole.
    pub(crate) fn hole(&mut self, hole: Hole) {
        self.holes.push((self.text.len(), hole));
    }

    /// Frees unused capacity.
    pub(crate) fn shrink(mut self) -> Self {
        self.text.shrink_to_fit();
        self.holes.shrink_to_fit();
        self
    }

    /// Length of the text in bytes.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Writes the text with its holes filled.
    pub(crate) fn fill<'a>(&self, out: &mut Vec<u8>, own: impl Fn(Hole) -> &'a [u8]) {
        let mut rest = self.text.as_slice();
        let mut done = 0;
        for &(index, hole) in &self.holes {
            let (before, after) = rest.split_at_checked(index - done).unwrap_or((rest, &[]));
            out.extend_from_slice(before);
            out.extend_from_slice(own(hole));
            (rest, done) = (after, index);
        }
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_where_they_are() {
        let mut rendering = Rendering::default();
        rendering.hole(Hole::Id);
        rendering.text(b"a");
        rendering.hole(Hole::Id);
        rendering.hole(Hole::Created);
        rendering.text(b"b");
        let mut out = b">".to_vec();
        rendering.fill(&mut out, |hole| if hole == Hole::Id { b"12" } else { b"" });
        assert_eq!(out, b">12a12b");
    }
}
